"""The one place that decides what a failure means: may it be tried again, and whom does it concern?

Classes and examples are spec/reliability.md 6.1. Exceptions are recognised by the names in their class hierarchy, so
that nothing needs importing (torch, botocore) to classify an error that never happened.
"""

from __future__ import annotations

import errno
import reprlib
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["transient", "out_of_memory", "permanent", "operator", "cancelled", "unknown"]


@dataclass(frozen=True, kw_only=True)
class Failure:
    """kind decides what happens next; code is the finer class that lineage records.

    transient: tried again with backoff and jitter. out_of_memory: tried once more, after every model that nobody uses
    has left the memory. permanent: never tried again. operator: stops the batch, a person must act. cancelled: not a
    failure. unknown: tried once more, then permanent.
    """

    kind: Kind
    code: str

    @property
    def tries(self) -> int:
        """How often the pass may run in all (spec/reliability.md 6.1)."""
        patient = {"throttle": 6, "db-transient": 8}
        return patient.get(self.code, {"transient": 4, "out_of_memory": 2, "unknown": 2}.get(self.kind, 1))


def _rows(kind: Kind, code: str, *names: str) -> dict[str, Failure]:
    return {name: Failure(kind=kind, code=code) for name in names}


_BY_CLASS: dict[str, Failure] = {
    **_rows("cancelled", "cancelled", "asyncio.exceptions.CancelledError", "prefect.exceptions.TerminationSignal",
            "builtins.KeyboardInterrupt", "builtins.SystemExit"),
    **_rows("permanent", "permanent-input", "models.errors.InputError", "flows.documents.DocumentError",
            "pydantic_core._pydantic_core.ValidationError", "storage.errors.JobConflict", "storage.errors.SourceError",
            "storage.errors.JobNotFound", "storage.errors.OutputNotFound"),
    **_rows("operator", "permanent-config", "models.errors.WeightsError", "builtins.FloatingPointError",
            "storage.errors.SchemaOutdated",
            "storage.errors.DatabaseNewer", "sqlalchemy.exc.ProgrammingError", "sqlalchemy.exc.IntegrityError",
            "storage.errors.SettingsError", "flows.prefect_home.PrefectUnavailableError"),
    **_rows("operator", "permanent-config", "models.errors.PassError", "storage.errors.StorageError"),
    **_rows("permanent", "lost-bytes", "storage.errors.ArtifactMissing", "storage.errors.ArtifactCorrupt"),
    **_rows("transient", "fenced-off", "storage.errors.FencedOff"),
    **_rows("out_of_memory", "gpu-oom", "torch.OutOfMemoryError", "torch.cuda.OutOfMemoryError"),
    **_rows("operator", "resource", "builtins.MemoryError"),
    **_rows("transient", "transient-fast", "aiohttp.client_exceptions.ServerDisconnectedError",
            "aiohttp.client_exceptions.ClientOSError", "aiohttp.client_exceptions.ClientPayloadError",
            "httpx.ConnectError", "httpx.ReadError", "httpx.WriteError", "httpx.RemoteProtocolError",
            "httpx.TimeoutException", "botocore.exceptions.ConnectionClosedError",
            "botocore.exceptions.EndpointConnectionError", "botocore.exceptions.ReadTimeoutError",
            "botocore.exceptions.ConnectTimeoutError", "botocore.exceptions.ResponseStreamingError",
            "botocore.exceptions.IncompleteReadError", "builtins.ConnectionError", "builtins.TimeoutError"),
    **_rows("unknown", "bug", "builtins.TypeError", "builtins.AssertionError", "builtins.KeyError"),
}
_OPERATOR_ERRNO = {errno.ENOSPC: "resource", errno.EMFILE: "resource", errno.EDQUOT: "resource",
                   errno.EACCES: "permanent-config"}
_TRANSIENT_SQLSTATES = ("40001", "40P01", "55P03", "57P01", "57P02", "57P03", "53300")
_S3_CODES: dict[str, Failure] = {
    **_rows("transient", "transient-fast", "InternalError", "ServiceUnavailable", "RequestTimeout", "500", "502", "503",
            "504", "ConditionalRequestConflict", "OperationAborted"),
    **_rows("transient", "throttle", "SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded",
            "TooManyRequests", "429"),
    **_rows("operator", "permanent-config", "NoSuchBucket", "AccessDenied", "InvalidAccessKeyId",
            "SignatureDoesNotMatch", "ExpiredToken", "RequestTimeTooSkewed"),
}


def classify(error: BaseException) -> Failure:
    """The class of `error`; by what it says first (messages of CUDA, codes of S3 and SQL), then by its class."""
    return _by_content(error) or _by_class(error) or Failure(kind="unknown", code="unlisted")


def brief(value: object) -> str:
    """`value` as Python would write it, cut short: it may be long, deep, or a YAML alias bomb."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = 120
    short.maxlevel = 2
    return short.repr(value)


def _by_content(error: BaseException) -> Failure | None:
    names = _names(error)
    text = str(error).lower()
    if "builtins.RuntimeError" in names and "out of memory" in text:
        return Failure(kind="out_of_memory", code="gpu-oom")
    if "builtins.RuntimeError" in names and ("cuda error" in text or "nccl" in text):
        return Failure(kind="operator", code="gpu-fatal")
    if "botocore.exceptions.ClientError" in names:
        code = str(getattr(error, "response", {}).get("Error", {}).get("Code", ""))
        return _S3_CODES.get(code, Failure(kind="permanent", code="permanent-input"))
    if "httpx.HTTPStatusError" in names:
        return _by_status(int(error.response.status_code))  # type: ignore[attr-defined]
    if "sqlalchemy.exc.DBAPIError" in names and "sqlalchemy.exc.OperationalError" in names:
        return _by_sqlstate(error)
    if isinstance(error, OSError) and error.errno in _OPERATOR_ERRNO:
        return Failure(kind="operator", code=_OPERATOR_ERRNO[error.errno])
    return None


def _by_status(status: int) -> Failure:
    if status == 429:
        return Failure(kind="transient", code="throttle")
    if status == 408 or status >= 500:
        return Failure(kind="transient", code="transient-fast")
    return Failure(kind="permanent", code="permanent-input")


def _by_sqlstate(error: BaseException) -> Failure:
    """OperationalError covers a locked database (try again) and a missing table (do not)."""
    state = getattr(getattr(error, "orig", None), "sqlstate", None)
    text = str(error).lower()
    if "disk is full" in text:
        return Failure(kind="operator", code="resource")
    if "no such table" in text or "unable to open" in text or "readonly" in text:
        return Failure(kind="operator", code="permanent-config")
    if state is None or state.startswith("08") or state in _TRANSIENT_SQLSTATES:
        return Failure(kind="transient", code="db-transient")
    return Failure(kind="operator", code="permanent-config")


def _by_class(error: BaseException) -> Failure | None:
    return next((_BY_CLASS[name] for name in _names(error) if name in _BY_CLASS), None)


def _names(error: BaseException) -> tuple[str, ...]:
    return tuple(f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__)


def error_facts(error: BaseException) -> dict[str, Any]:
    """An error as stored and as `--json` prints it: its class, and field, value and remedy where it names them."""
    value = getattr(error, "value", None)
    if not (value is None or isinstance(value, str)):
        value = brief(value)
    return {"class": classify(error).code, "type": type(error).__name__, "message": str(error),
            "field": getattr(error, "field", None), "value": value,
            "remedy": getattr(error, "remedy", None)}
