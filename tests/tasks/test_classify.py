"""One instance of each class of failure goes through the one classifier (spec reliability 6.1)."""

import errno
from types import SimpleNamespace

import httpx
import pytest
import sqlalchemy.exc
from botocore.exceptions import ClientError, EndpointConnectionError
from prefect import task
from prefect.exceptions import TerminationSignal
from prefect.states import Failed

from flows.documents import refused
from models.errors import InputError, PassError, WeightsError
from storage.errors import ArtifactCorrupt, ArtifactMissing, FencedOff, StorageError
from tasks.classify import classify, error_facts
from tasks.passes import may_retry


class OutOfMemoryError(RuntimeError):
    """Stands for torch's, whose module is "torch": the classifier goes by name and never imports torch."""


OutOfMemoryError.__module__ = "torch"
OutOfMemoryError.__qualname__ = "OutOfMemoryError"


def sql(text: str, sqlstate: str | None = None, kind: type[Exception] = sqlalchemy.exc.OperationalError) -> Exception:
    original = Exception(text)
    original.sqlstate = sqlstate  # type: ignore[attr-defined]
    return kind("SELECT 1", {}, original)  # type: ignore[call-arg]


def s3(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code}}, "PutObject")


def http(status: int) -> httpx.HTTPStatusError:
    request = httpx.Request("GET", "http://localhost")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(status, request=request))


TABLE = [
    (ConnectionResetError("reset"), "transient", "transient-fast"),
    (TimeoutError("late"), "transient", "transient-fast"),
    (httpx.ConnectError("no"), "transient", "transient-fast"),
    (httpx.ReadTimeout("late"), "transient", "transient-fast"),
    (http(503), "transient", "transient-fast"),
    (http(429), "transient", "throttle"),
    (http(404), "permanent", "permanent-input"),
    (EndpointConnectionError(endpoint_url="x"), "transient", "transient-fast"),
    (s3("InternalError"), "transient", "transient-fast"),
    (s3("SlowDown"), "transient", "throttle"),
    (s3("AccessDenied"), "operator", "permanent-config"),
    (s3("NoSuchBucket"), "operator", "permanent-config"),
    (s3("NoSuchKey"), "permanent", "permanent-input"),
    (sql("database is locked"), "transient", "db-transient"),
    (sql("serialization", "40001"), "transient", "db-transient"),
    (sql("deadlock", "40P01"), "transient", "db-transient"),
    (sql("connection lost", "08006"), "transient", "db-transient"),
    (sql("no such table: job"), "operator", "permanent-config"),
    (sql("database or disk is full"), "operator", "resource"),
    (sql("bad", "42P01"), "operator", "permanent-config"),
    (sql("syntax", kind=sqlalchemy.exc.ProgrammingError), "operator", "permanent-config"),
    (sql("unique", kind=sqlalchemy.exc.IntegrityError), "operator", "permanent-config"),
    (OutOfMemoryError("CUDA out of memory"), "out_of_memory", "gpu-oom"),
    (RuntimeError("CUDA error: out of memory"), "out_of_memory", "gpu-oom"),
    (RuntimeError("CUDA error: an illegal memory access"), "operator", "gpu-fatal"),
    (MemoryError(), "operator", "resource"),
    (OSError(errno.ENOSPC, "full"), "operator", "resource"),
    (OSError(errno.EMFILE, "too many"), "operator", "resource"),
    (PermissionError(errno.EACCES, "denied"), "operator", "permanent-config"),
    (InputError("broken", field="image", value="a", remedy="mend"), "permanent", "permanent-input"),
    (refused("seed", 1, "no", "yes"), "permanent", "permanent-input"),
    (WeightsError("missing", field="profile", value="a", remedy="get"), "operator", "permanent-config"),
    (FloatingPointError("the VAE decoded to nan"), "operator", "permanent-config"),
    (ArtifactMissing("0" * 64), "permanent", "lost-bytes"),
    (FencedOff("x"), "transient", "fenced-off"),
    (PassError("no GPU", field="device", value="cuda", remedy="cpu"), "operator", "permanent-config"),
    (StorageError("no", field="database_url", value="x", remedy="y"), "operator", "permanent-config"),
    (TypeError("bug"), "unknown", "bug"),
    (RuntimeError("who knows"), "unknown", "unlisted"),
    (KeyboardInterrupt(), "cancelled", "cancelled"),
    (TerminationSignal(15), "cancelled", "cancelled"),
]


@pytest.mark.parametrize(("error", "kind", "code"), TABLE, ids=lambda item: repr(item)[:60])
def test_every_listed_failure_has_its_class(error: BaseException, kind: str, code: str) -> None:
    failure = classify(error)
    assert (failure.kind, failure.code) == (kind, code)


def test_torchs_own_out_of_memory_error_is_recognised() -> None:
    import torch

    assert classify(torch.OutOfMemoryError("CUDA out of memory")).code == "gpu-oom"


def test_corrupt_bytes_heal_by_walking_again_not_by_retrying_in_place() -> None:
    assert classify(ArtifactCorrupt("0" * 64, "1" * 64)).tries == 1


@task
def nothing() -> None: ...


@pytest.mark.parametrize(("error", "tries"), [
    (ConnectionResetError(), 4), (sql("database is locked"), 8), (s3("SlowDown"), 6),
    (OutOfMemoryError("CUDA out of memory"), 2), (TypeError(), 2), (InputError("a", field="a", value=1, remedy="b"), 1),
    (MemoryError(), 1)])
def test_prefect_may_run_a_pass_as_often_as_its_class_allows(error: Exception, tries: int) -> None:
    allowed = 1
    while may_retry(nothing, SimpleNamespace(run_count=allowed), Failed(data=error)):  # type: ignore[arg-type]
        allowed += 1
    assert allowed == tries


def test_an_error_is_reported_with_its_class_field_value_and_remedy() -> None:
    facts = error_facts(InputError("is broken", field="image", value="a.jpg", remedy="Give another"))
    assert facts == {"class": "permanent-input", "type": "InputError", "field": "image", "value": "a.jpg",
                     "message": "image='a.jpg': is broken. Give another", "remedy": "Give another"}
