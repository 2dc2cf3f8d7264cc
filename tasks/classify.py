"""The one place that decides what a failure means: may it be tried again, and whom does it concern?

Classes and examples are spec/reliability.md 6.1. Exceptions are recognised by the names in their class hierarchy, so
that nothing needs importing (torch, botocore) to classify an error that never happened.

Where a system has a retry layer of its own, what rises from it has been tried enough and is an operator's error, tried
once here: S3 (storage/s3.py), the database (storage/database.py) and Prefect's API (its client, which waits out 429,
502 and 503). Retrying those again would multiply: docs/decisions/0008.
"""

from __future__ import annotations

import errno
import reprlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from models.errors import PhotoRefused
from models.onnx_errors import out_of_memory as onnx_out_of_memory
from storage.redaction import redacted

Kind = Literal["transient", "out_of_memory", "permanent", "operator", "cancelled", "unknown"]

_TRIES: dict[Kind, int] = {"transient": 4, "out_of_memory": 2, "unknown": 2}
"""spec/reliability.md 6.1; 1 for all other kinds. The largest is how often anything at all may run."""


@dataclass(frozen=True, kw_only=True)
class Failure:
    """kind decides what happens next; code is the finer class that lineage records.

    transient: tried again with backoff and jitter. out_of_memory: within a pass it goes down the ladder
    (tasks/ladder.py), elsewhere it is tried once more. permanent: never tried again. operator: stops the batch, a
    person must act. cancelled: not a failure. unknown: tried once more, then permanent.
    """

    kind: Kind
    code: str

    @property
    def tries(self) -> int:
        """How often the pass may run in all, 1 to 4."""
        return _TRIES.get(self.kind, 1)


def _rows(kind: Kind, code: str, *names: str) -> dict[str, Failure]:
    return {name: Failure(kind=kind, code=code) for name in names}


BY_CLASS: dict[str, Failure] = {
    **_rows("cancelled", "cancelled", "builtins.KeyboardInterrupt", "builtins.SystemExit",
            "asyncio.exceptions.CancelledError", "concurrent.futures._base.CancelledError",
            "prefect.exceptions.TerminationSignal", "prefect.exceptions.CancelledRun"),
    # ours
    **_rows("permanent", "permanent-input", "models.errors.InputError", "storage.errors.SourceError",
            "storage.errors.JobConflict", "storage.errors.JobNotFound", "storage.errors.OutputNotFound",
            "storage.errors.MaskNotFound", "storage.errors.MaskLost",
            "storage.words.NotText",
            "flows.documents.DocumentError", "flows.documents.ConflictError"),
    **_rows("operator", "permanent-config", "models.errors.PassError", "storage.errors.StorageError",
            "storage.errors.NoBucket",
            "flows.prefect_home.PrefectUnavailableError"),
    **_rows("operator", "store-unavailable", "storage.errors.StoreUnavailable"),
    **_rows("operator", "database-unavailable", "storage.errors.DatabaseUnavailable"),
    **_rows("permanent", "lost-bytes", "storage.errors.ArtifactMissing", "storage.errors.ArtifactCorrupt"),
    **_rows("transient", "fenced-off", "storage.errors.FencedOff"),
    # a photo's server; the host of an https:// photo has no other retry layer than the step that reads it
    **_rows("transient", "transient-fast", "storage.errors.SourceUnavailable", "httpcore.NetworkError",
            "httpcore.TimeoutException", "httpcore.RemoteProtocolError", "builtins.ConnectionError",
            "builtins.TimeoutError"),
    # systems that have been asked often enough
    **_rows("operator", "store-unavailable", "botocore.exceptions.HTTPClientError",
            "botocore.exceptions.ConnectionError", "botocore.exceptions.IncompleteReadError",
            "aiohttp.client_exceptions.ClientError"),
    **_rows("operator", "permanent-config", "botocore.exceptions.BotoCoreError"),
    **_rows("operator", "database-unavailable", "sqlalchemy.exc.TimeoutError"),
    **_rows("operator", "permanent-config", "sqlalchemy.exc.SQLAlchemyError", "sqlite3.Error", "psycopg.Error"),
    **_rows("operator", "prefect-unavailable", "httpx.HTTPError"),
    # computing
    **_rows("out_of_memory", "gpu-oom", "torch.OutOfMemoryError"),
    **_rows("operator", "gpu-fatal", "torch.AcceleratorError"),
    **_rows("out_of_memory", "resource", "builtins.MemoryError"),
    **_rows("permanent", "gpu-oom", "models.errors.MemoryExhausted"),  # the whole ladder was tried in one attempt
    **_rows("operator", "permanent-config", "builtins.FloatingPointError",
            "safetensors._safetensors_rust.SafetensorError"),
    **_rows("permanent", "permanent-input", "pydantic_core._pydantic_core.ValidationError",
            "PIL.UnidentifiedImageError", "PIL.Image.DecompressionBombError"),
    **_rows("unknown", "bug", "builtins.TypeError", "builtins.AssertionError", "builtins.KeyError"),
}
"""Class -> what it means; for an error the nearest of its own class and its bases counts."""

_ERRNO = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE, errno.ENOMEM), "resource"),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), "permanent-config")}
_S3_CODES = {
    **dict.fromkeys(("InternalError", "ServiceUnavailable", "RequestTimeout", "ConditionalRequestConflict",
                     "OperationAborted", "500", "502", "503", "504", "SlowDown", "Throttling", "ThrottlingException",
                     "RequestLimitExceeded", "TooManyRequests", "429"), "store-unavailable"),
    **dict.fromkeys(("NoSuchBucket", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken",
                     "RequestTimeTooSkewed"), "permanent-config")}
_FULL = ("53100", "53200")  # PostgreSQL: disk_full, out_of_memory
_BUSY = ("08", "40", "53", "55", "57")
"""SQLSTATE classes: connection, rollback (serialization, deadlock), resources, not in this state, operator's doing."""


def classify(error: BaseException) -> Failure:
    """The class of `error`; by what it says first (words of CUDA and of onnxruntime, codes of S3 and SQL), then by
    its class."""
    return _by_content(error) or _by_class(error) or Failure(kind="unknown", code="unlisted")


REMEDIES: Mapping[str, str] = {
    "resource": "Make room (disk, memory, open files), then run the same document again: what is finished is reused"}
"""code -> what to do, for errors of others that name nothing themselves."""


def brief(value: object) -> str:
    """`value` as Python would write it, cut short and without secrets: it may be long, deep, or a YAML alias bomb."""
    value = redacted(value) if isinstance(value, str) else value
    short = reprlib.Repr()
    short.maxstring = short.maxother = 120
    short.maxlevel = 2
    return short.repr(value)


def _by_content(error: BaseException) -> Failure | None:
    names = _names(error)
    if "builtins.RuntimeError" in names and (gpu := _by_words_of_cuda(str(error).lower())):
        return gpu
    if where := onnx_out_of_memory(error):
        return Failure(kind="out_of_memory", code="gpu-oom" if where == "gpu" else "resource")
    if "cv2.error" in names and "insufficient memory" in str(error).lower():
        return Failure(kind="out_of_memory", code="resource")
    if "botocore.exceptions.ClientError" in names:
        code = _S3_CODES.get(str(getattr(error, "response", {}).get("Error", {}).get("Code", "")))
        return Failure(kind="operator", code=code) if code else Failure(kind="permanent", code="permanent-input")
    if "httpx.HTTPStatusError" in names:
        status = int(error.response.status_code)  # type: ignore[attr-defined]
        waits = status in (408, 429) or status >= 500
        return Failure(kind="operator", code="prefect-unavailable" if waits else "permanent-config")
    if {"sqlalchemy.exc.DBAPIError", "sqlite3.Error", "psycopg.Error"} & set(names):
        return _by_sqlstate(error)
    if isinstance(error, OSError) and error.errno in _ERRNO:
        return Failure(kind="operator", code=_ERRNO[error.errno])
    return None


def _by_words_of_cuda(text: str) -> Failure | None:
    if "out of memory" in text:
        return Failure(kind="out_of_memory", code="gpu-oom")
    if "defaultcpuallocator" in text:
        return Failure(kind="out_of_memory", code="resource")
    if "cuda error" in text or "nccl" in text:
        return Failure(kind="operator", code="gpu-fatal")
    return None


def _by_sqlstate(error: BaseException) -> Failure:
    """Every error of a database is an operator's; the code tells one that did not answer from one that is wrong."""
    original = getattr(error, "orig", None) or error
    state = str(getattr(original, "sqlstate", None) or "")
    text = str(original).lower()
    if state in _FULL or "disk is full" in text:
        return Failure(kind="operator", code="resource")
    operational = any(name.endswith(".OperationalError") for name in _names(error))
    missing = "no such table" in text or "unable to open" in text or "readonly" in text
    if operational and not missing and (not state or state.startswith(_BUSY)):
        return Failure(kind="operator", code="database-unavailable")
    return Failure(kind="operator", code="permanent-config")


def _by_class(error: BaseException) -> Failure | None:
    return next((BY_CLASS[name] for name in _names(error) if name in BY_CLASS), None)


def _names(error: BaseException) -> tuple[str, ...]:
    return tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)


def error_facts(error: BaseException) -> dict[str, Any]:
    """An error as stored and as `--json` prints it: its class, and field, value and remedy where it names them.

    code: a refused photo's verdict, one word of models.photos.VERDICTS; else None.
    """
    value = getattr(error, "value", None)
    if value is not None:
        value = redacted(value) if isinstance(value, str) else brief(value)
    code = classify(error).code
    return {"class": code, "type": type(error).__name__, "message": str(error),
            "code": error.code if isinstance(error, PhotoRefused) else None,
            "field": getattr(error, "field", None), "value": value,
            "remedy": getattr(error, "remedy", None) or REMEDIES.get(code)}
