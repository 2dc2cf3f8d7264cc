"""SHA-256 and the one spelling of a value that is hashed."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

_DIGEST = re.compile(r"[0-9a-f]{64}")


def sha256_hex(data: bytes) -> str:
    """64 lower-case hex digits."""
    return hashlib.sha256(data).hexdigest()


def is_hex(text: str) -> bool:
    """Could it be a digest, or the beginning of one?"""
    return re.fullmatch(r"[0-9a-f]{1,64}", text) is not None


def is_digest(text: str) -> bool:
    return _DIGEST.fullmatch(text) is not None


def canonical_json(value: Any) -> bytes:
    """The one spelling of a JSON value: the same value gives the same bytes on every machine and in every version.

    A contract: keys are made of it, so a change here forgets every result. Objects sorted by key (by code point),
    no spaces, UTF-8 without escapes of non-ASCII and without Unicode normalisation, tuples as arrays. Numbers that
    compare equal are written equally: 1 and 1.0, 0 and -0.0 (YAML, JSON and command lines disagree about "1" for a
    float field); other floats in Python's shortest form that reads back the same. true is not 1.
    Raises ValueError for NaN, infinities and keys that are not text, TypeError for what JSON has no word for.
    """
    return json.dumps(_canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False,
                      allow_nan=False).encode()


def _canonical(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        if wrong := [key for key in value if not isinstance(key, str)]:
            raise ValueError(f"key {wrong[0]!r} is not text, so it has no canonical spelling")
        return {key: _canonical(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_canonical(item) for item in value]
    return value


def pass_key(parts: Mapping[str, Any]) -> str:
    """The cache key of {pass, version, params, inputs, weights}."""
    return sha256_hex(canonical_json(parts))
