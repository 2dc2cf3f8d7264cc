"""Job documents: what may be asked, read from YAML, JSON or command-line text, refused early and plainly.

A pipeline's document is one frozen pydantic model. From it come the form in Prefect's UI, the server's refusal, the
command line's flags and help and the stored JSON.
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo

from tasks.classify import brief

TEXT_LIMIT = 2000
JOB_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


class Document(BaseModel):
    """Base of all job documents: strict types, no unknown fields, finite numbers.

    pydantic's own messages repeat no input: Prefect logs them, and what was given may hold a secret.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


D = TypeVar("D", bound=Document)
_TYPES: Mapping[Any, str] = {str: "text", int: "whole number", float: "number", bool: "true or false"}


class Decision(BaseModel):
    """One thing resolving decided: which field, what was asked, what will run, and why."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    field: str
    requested: Any
    resolved: Any
    why: str


class Problem(BaseModel):
    """One fault of a document."""

    model_config = ConfigDict(frozen=True)

    field: str
    value: Any
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.field}={brief(self.value)}: {self.message}. {self.remedy}"


class DocumentError(ValueError):
    """A document was refused before anything ran. `str()` has one line a problem: field, value, what is allowed."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = tuple(problems)
        self.field, self.value, self.remedy = problems[0].field, problems[0].value, problems[0].remedy

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.problems,)


def refused(field: str, value: Any, message: str, remedy: str) -> DocumentError:
    return DocumentError([Problem(field=field, value=value, message=message, remedy=remedy)])


class ConflictError(ValueError):
    """For validators that look at several fields: says itself which are at fault and what to do."""

    def __init__(self, field: str, value: Any, message: str, remedy: str) -> None:
        super().__init__(message)
        self.problem = Problem(field=field, value=value, message=message, remedy=remedy)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(self.problem.model_dump().values())


def validate(kind: type[D], values: Mapping[str, Any]) -> D:
    """`values` as a document of `kind`, or a DocumentError that lists every problem."""
    try:
        return kind.model_validate(dict(values))
    except ValidationError as error:
        items = [item for item in error.errors(include_url=False) if item["type"] != "none_required"]
        raise DocumentError([_problem(kind, item) for item in items]) from None


def read_document(path: Path) -> dict[str, Any]:
    """The mapping in a YAML or JSON file (by suffix; .json is JSON, all else YAML). Duplicate keys are refused."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise refused("DOCUMENT", str(path), "there is no such file", "Give a .yaml or .json file") from None
    except (OSError, UnicodeDecodeError) as error:
        raise refused("DOCUMENT", str(path), f"cannot be read as UTF-8 text ({error})", "Give a text file") from None
    try:
        if path.suffix == ".json":
            values = json.loads(text, object_pairs_hook=_unique_pairs, parse_constant=_no_constant)
        else:
            values = yaml.load(text, Loader=_UniqueKeys)  # a SafeLoader: builds plain values only
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise refused("DOCUMENT", str(path), f"is not valid {_kind(path)}: {reason}", "Mend the file") from None
    if not isinstance(values, dict):
        raise refused("DOCUMENT", str(path), f"holds a {type(values).__name__}, not fields",
                      "Write one 'field: value' a line")
    return {str(name): value for name, value in values.items()}


def parse_text(kind: type[Document], field: str, text: str) -> Any:
    """Command-line `text` as the field's own type ("0.7" -> 0.7, "true" -> True). The document checks it strictly."""
    info = kind.model_fields[field]
    if info.annotation not in (int, float, bool):
        return text
    adapter: TypeAdapter[Any] = TypeAdapter(info.annotation)
    try:
        return adapter.validate_python(text)
    except ValidationError:
        raise refused(field, text, f"is not a {_TYPES[info.annotation]}", _allowed(info)) from None


def derive_seed(seed: int, stage: str) -> int:
    """A stage's own seed in 0..2**32-1, so that skipping one stage leaves the others' noise alone."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stage}".encode()).digest()[:4], "big")


def _kind(path: Path) -> str:
    return "JSON" if path.suffix == ".json" else "YAML"


def _problem(kind: type[Document], item: Any) -> Problem:
    if isinstance(conflict := item.get("ctx", {}).get("error"), ConflictError):
        return conflict.problem
    field = str(item["loc"][0])
    if item["type"] == "string_pattern_mismatch":
        return Problem(field=field, value=item["input"], message="is not a plain id", remedy=(
            "Allowed: letters, digits, '.', '_' and '-', beginning with a letter or digit, at most 128"))
    if item["type"] == "extra_forbidden":
        close = difflib.get_close_matches(field, kind.model_fields, n=1)
        hint = f"Did you mean {close[0]}?" if close else f"See `backlot schema` for the {len(kind.model_fields)} fields"
        return Problem(field=field, value=item["input"], message="is not a field of this document", remedy=hint)
    if item["type"] == "missing":
        return Problem(field=field, value=None, message="is required", remedy=_about(kind.model_fields[field]))
    message = item["msg"].removeprefix("Value error, ")
    return Problem(field=field, value=item["input"], message=message[:1].lower() + message[1:],
                   remedy=_allowed(kind.model_fields[field]))


def _about(info: FieldInfo) -> str:
    return f"Give {info.description[:1].lower()}{info.description[1:]}" if info.description else "Give it"


def _allowed(info: FieldInfo) -> str:
    """The field's type and range in words."""
    low, high = (next((getattr(item, bound) for item in info.metadata if hasattr(item, bound)), None)
                 for bound in ("ge", "le"))
    span = f" from {low} to {high}" if low is not None else ""
    return f"Allowed: {_TYPES.get(info.annotation, 'text')}{span}"


def _unique_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in pairs:
        if name in values:
            raise ValueError(f"the field {name!r} stands twice")
        values[name] = value
    return values


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a finite number")


class _UniqueKeys(yaml.SafeLoader):
    """SafeLoader keeps the last of two equal keys without a word; a job document must not."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        names = [self.construct_object(key, deep=True) for key, _ in node.value]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"the field {name!r} stands twice")
        return super().construct_mapping(node, deep)
