"""One real instance of each class of failure goes through the one classifier (spec reliability 6.1, G33)."""

from __future__ import annotations

import ast
import asyncio
import builtins
import concurrent.futures
import errno
import io
import pickle
import sqlite3
from collections.abc import Callable
from contextlib import closing
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import botocore.exceptions as s3_said
import httpcore
import httpx
import psycopg
import pydantic
import pytest
import sqlalchemy
import sqlalchemy.exc as sql_said
import torch
from PIL import Image
from prefect import task
from prefect.exceptions import CancelledRun, PrefectHTTPStatusError, TerminationSignal
from prefect.states import Failed
from safetensors.numpy import load

from flows.documents import ConflictError, refused
from flows.prefect_home import PrefectUnavailableError
from models.errors import InputError, MemoryExhausted, PassError, PhotoRefused, WeightsError
from storage.errors import (
    ArtifactCorrupt,
    ArtifactMissing,
    DatabaseNewer,
    DatabaseUnavailable,
    FencedOff,
    JobConflict,
    JobNotFound,
    MaskLost,
    MaskNotFound,
    NoBucket,
    OutputNotFound,
    SchemaOutdated,
    SettingsError,
    SourceError,
    SourceUnavailable,
    StorageError,
    StoreUnavailable,
)
from storage.words import NotText
from tasks.classify import BY_CLASS, classify, error_facts
from tasks.gate_child import GateError
from tasks.passes import may_retry

ROOT = Path(__file__).resolve().parents[2]
TRIES = {"transient": 4, "out_of_memory": 2, "unknown": 2, "permanent": 1, "operator": 1, "cancelled": 1}

Expected = tuple[str, str]
FAST, INPUT, CONFIG = ("transient", "transient-fast"), ("permanent", "permanent-input"), ("operator",
                                                                                         "permanent-config")
STORE, DATABASE, PREFECT = (("operator", f"{name}-unavailable") for name in ("store", "database", "prefect"))
RESOURCE, OOM, FATAL = ("operator", "resource"), ("out_of_memory", "gpu-oom"), ("operator", "gpu-fatal")
CANCELLED, LOST, BUG = ("cancelled", "cancelled"), ("permanent", "lost-bytes"), ("unknown", "bug")


def raised(action: Callable[[], object]) -> BaseException:
    try:
        action()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def s3(code: str, status: int = 400) -> Exception:
    return s3_said.ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")


def http(status: int, kind: type[httpx.HTTPStatusError] = PrefectHTTPStatusError) -> Exception:
    request = httpx.Request("GET", "http://localhost/api")
    return kind("no", request=request, response=httpx.Response(status, request=request))


def wrapped(original: BaseException, kind: Any = sql_said.OperationalError) -> Exception:
    error: Exception = kind("SELECT 1", {}, original)
    return error


def in_sqlite(statement: str, **options: Any) -> BaseException:
    """What SQLAlchemy raises of a real SQLite."""
    engine = sqlalchemy.create_engine("sqlite://", **options)
    with engine.connect() as connection:
        return raised(lambda: connection.exec_driver_sql(statement))


def locked() -> BaseException:
    """What SQLite raises where another connection is writing."""
    shared = "file:locked?mode=memory&cache=shared"
    with (closing(sqlite3.connect(shared, uri=True, isolation_level=None)) as holder,
          closing(sqlite3.connect(shared, uri=True, timeout=0)) as other):
        holder.execute("CREATE TABLE t (a)")
        holder.execute("BEGIN IMMEDIATE")
        holder.execute("INSERT INTO t VALUES (1)")
        return raised(lambda: other.execute("INSERT INTO t VALUES (2)"))


def torch_error(name: str, text: str) -> Callable[[], BaseException]:
    """Made late: collecting the tests should not load torch."""
    def make() -> BaseException:
        import torch

        error: BaseException = getattr(torch, name)(text)
        return error

    return make


def onnx_error(text: str, name: str = "RuntimeException") -> Callable[[], BaseException]:
    def make() -> BaseException:
        from onnxruntime.capi import onnxruntime_pybind11_state

        error: BaseException = getattr(onnxruntime_pybind11_state, name)(f"[ONNXRuntimeError] : 6 : {name} : {text}")
        return error

    return make


def onnx_on_this_machine(*, arena: bool) -> Callable[[], BaseException]:
    """What the real runtime raises where a node asks for 4e15 bytes."""
    def make() -> BaseException:
        import numpy as np
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper

        graph = helper.make_graph(
            [helper.make_node("Expand", ["x", "shape"], ["y"])], "large",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.array([10**8, 10**7]), "shape")])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        options = onnxruntime.SessionOptions()
        options.log_severity_level, options.enable_cpu_mem_arena = 4, arena
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        return raised(lambda: session.run(None, {"x": np.ones(1, np.float32)}))

    return make


NODE = "Non-zero status code returned while running Conv node. Name:'Conv_1' Status Message: "


class Number(pydantic.BaseModel):
    number: int


TABLE: list[tuple[BaseException | Callable[[], BaseException], Expected]] = [
    # ours: every class of models/errors.py, storage/errors.py, tasks and flows
    (PassError("no GPU", field="device", value="cuda", remedy="cpu"), CONFIG),
    (InputError("broken", field="image", value="a", remedy="mend"), INPUT),
    (PhotoRefused("truncated", "is cut off", name="a.jpg", remedy="mend"), INPUT),
    (WeightsError("missing", field="profile", value="a", remedy="get"), CONFIG),
    (GateError("does not start", field="photo gate", value=1, remedy="mend"), CONFIG),
    (StorageError("no", field="database_url", value="x", remedy="y"), CONFIG),
    (ArtifactMissing("0" * 64), LOST),
    (ArtifactCorrupt("0" * 64, "1" * 64), LOST),
    (JobConflict("a", ("seed",)), INPUT),
    (JobNotFound("a"), INPUT),
    (OutputNotFound("role", "final", "nothing"), INPUT),
    (MaskNotFound("a.jpg", "no mask counts for it"), INPUT),
    (MaskLost("0" * 64, 2), INPUT),
    (FencedOff("x"), ("transient", "fenced-off")),
    (SourceError("a.jpg", "is missing", "Give another"), INPUT),
    (SourceUnavailable("https://shop.example/a.jpg", "does not answer", "Try later"), FAST),
    (NotText("job_id", "a\0"), INPUT),
    (NoBucket("there is none", field="outputs_url", value="s3://a", remedy="make it"), CONFIG),
    (StoreUnavailable("artifacts_url", "s3://shop", "8 tries"), STORE),
    (DatabaseUnavailable("postgresql://db/backlot", "8 tries"), DATABASE),
    (SettingsError("BACKLOT_X", "1", "is unknown", "Unset it"), CONFIG),
    (SchemaOutdated("sqlite:///a.db", "0001", "0002"), CONFIG),
    (DatabaseNewer("sqlite:///a.db", "0009"), CONFIG),
    (refused("seed", 1, "no", "yes"), INPUT),
    (ConflictError("seed", 1, "no", "yes"), INPUT),
    (PrefectUnavailableError("no server", field="PREFECT_API_URL", value="http://x", remedy="start it"), CONFIG),
    # a photo's server, and what has no layer of its own
    (httpcore.ConnectError("refused"), FAST),
    (httpcore.ConnectTimeout("late"), FAST),
    (httpcore.ReadError("reset"), FAST),
    (httpcore.ReadTimeout("late"), FAST),
    (httpcore.RemoteProtocolError("cut"), FAST),
    (httpcore.LocalProtocolError("our own fault"), ("unknown", "unlisted")),
    (ConnectionResetError("reset"), FAST),
    (BrokenPipeError(errno.EPIPE, "gone"), FAST),
    (TimeoutError("late"), FAST),
    (raised(lambda: asyncio.run(asyncio.wait_for(asyncio.sleep(1), 0))), FAST),
    # S3, past its own layer
    (aiohttp.ServerDisconnectedError(), STORE),
    (aiohttp.ClientOSError(errno.ECONNRESET, "reset"), STORE),
    (aiohttp.ClientPayloadError("cut"), STORE),
    (aiohttp.ServerTimeoutError("late"), STORE),
    (s3_said.EndpointConnectionError(endpoint_url="x"), STORE),
    (s3_said.ConnectionClosedError(endpoint_url="x"), STORE),
    (s3_said.ReadTimeoutError(endpoint_url="x"), STORE),
    (s3_said.ConnectTimeoutError(endpoint_url="x"), STORE),
    (s3_said.ResponseStreamingError(error="cut"), STORE),
    (s3_said.IncompleteReadError(actual_bytes=1, expected_bytes=2), STORE),
    (s3_said.NoCredentialsError(), CONFIG),
    (s3("InternalError", 500), STORE),
    (s3("ServiceUnavailable", 503), STORE),
    (s3("RequestTimeout"), STORE),
    (s3("ConditionalRequestConflict", 409), STORE),
    (s3("OperationAborted", 409), STORE),
    (s3("SlowDown", 503), STORE),
    (s3("RequestLimitExceeded", 503), STORE),
    (s3("NoSuchBucket", 404), CONFIG),
    (s3("AccessDenied", 403), CONFIG),
    (s3("InvalidAccessKeyId", 403), CONFIG),
    (s3("SignatureDoesNotMatch", 403), CONFIG),
    (s3("ExpiredToken"), CONFIG),
    (s3("RequestTimeTooSkewed", 403), CONFIG),
    (s3("NoSuchKey", 404), INPUT),
    # databases, past their own layer
    (locked(), DATABASE),
    (wrapped(locked()), DATABASE),
    (wrapped(psycopg.errors.SerializationFailure("could not serialize")), DATABASE),
    (wrapped(psycopg.errors.DeadlockDetected("deadlock")), DATABASE),
    (wrapped(psycopg.errors.LockNotAvailable("lock timeout")), DATABASE),
    (wrapped(psycopg.errors.AdminShutdown("terminating")), DATABASE),
    (wrapped(psycopg.errors.CannotConnectNow("starting up")), DATABASE),
    (wrapped(psycopg.errors.TooManyConnections("too many clients")), DATABASE),
    (wrapped(psycopg.errors.ConnectionFailure("gone")), DATABASE),
    (wrapped(psycopg.OperationalError("server closed the connection unexpectedly")), DATABASE),
    (psycopg.errors.SerializationFailure("could not serialize"), DATABASE),
    (sql_said.TimeoutError("QueuePool limit reached"), DATABASE),
    (wrapped(psycopg.errors.DiskFull("could not extend file")), RESOURCE),
    (wrapped(sqlite3.OperationalError("database or disk is full")), RESOURCE),
    (in_sqlite("SELECT * FROM job"), CONFIG),
    (raised(lambda: sqlite3.connect("/no/such/folder/a.db").execute("SELECT 1")), CONFIG),
    (raised(lambda: sqlite3.connect("file:new.db?mode=ro", uri=True).execute("SELECT 1")), CONFIG),
    (wrapped(psycopg.errors.UndefinedTable("no"), sql_said.ProgrammingError), CONFIG),
    (wrapped(psycopg.errors.UniqueViolation("taken"), sql_said.IntegrityError), CONFIG),
    (wrapped(sqlite3.DatabaseError("file is not a database"), sql_said.DatabaseError), CONFIG),
    (wrapped(psycopg.errors.InvalidPassword("no"), sql_said.OperationalError), CONFIG),
    (sql_said.ArgumentError("not a url"), CONFIG),
    # Prefect's API, past its client
    (httpx.ConnectError("refused"), PREFECT),
    (httpx.ReadError("reset"), PREFECT),
    (httpx.RemoteProtocolError("cut"), PREFECT),
    (httpx.ReadTimeout("late"), PREFECT),
    (http(503), PREFECT),
    (http(429), PREFECT),
    (http(408), PREFECT),
    (http(401), CONFIG),
    (http(404, httpx.HTTPStatusError), CONFIG),
    # computing
    (torch_error("OutOfMemoryError", "CUDA out of memory"), OOM),
    (RuntimeError("CUDA error: out of memory"), OOM),
    (torch_error("AcceleratorError", "CUDA error: an illegal memory access was encountered"), FATAL),
    (torch_error("AcceleratorError", "the driver is gone"), FATAL),
    (RuntimeError("CUDA error: an illegal memory access"), FATAL),
    (RuntimeError("NCCL communicator was aborted"), FATAL),
    (FloatingPointError("the VAE decoded to nan"), CONFIG),
    (raised(lambda: load(b"\x08\x00\x00\x00\x00\x00\x00\x00notjson!")), CONFIG),
    (onnx_error(f"{NODE}bfc_arena.cc:376 void* onnxruntime::BFCArena::AllocateRawInternal(size_t, bool) "
                "Failed to allocate memory for requested buffer of size 1073741824"), OOM),
    (onnx_error(f"{NODE}bfc_arena.cc:359 Available memory of 1 is smaller than requested bytes of 2", "Fail"), OOM),
    (onnx_error("CUDA failure 2: out of memory ; GPU=0 ; hostname=x ; expr=cudaMalloc(&p, size)", "Fail"), OOM),
    (onnx_error(f"{NODE}CUDNN failure 4: CUDNN_STATUS_ALLOC_FAILED ; GPU=0", "EPFail"), OOM),
    (onnx_error(f"{NODE}std::bad_alloc"), ("out_of_memory", "resource")),
    (onnx_on_this_machine(arena=True), OOM),
    (onnx_on_this_machine(arena=False), ("out_of_memory", "resource")),
    (onnx_error(f"{NODE}the shapes do not broadcast"), ("unknown", "unlisted")),
    (Exception("Failed to allocate memory for requested buffer of size 1, says another"), ("unknown", "unlisted")),
    (MemoryError(), ("out_of_memory", "resource")),
    (raised(lambda: torch.empty(10**15)), ("out_of_memory", "resource")),
    (MemoryExhausted("no room", field="width x height", value="9 x 9", remedy="-"), ("permanent", "gpu-oom")),
    (OSError(errno.ENOSPC, "full"), RESOURCE),
    (OSError(errno.EDQUOT, "quota"), RESOURCE),
    (OSError(errno.EMFILE, "too many"), RESOURCE),
    (PermissionError(errno.EACCES, "denied"), CONFIG),
    (OSError(errno.EROFS, "read-only"), CONFIG),
    (raised(lambda: Number.model_validate({"number": "x"})), INPUT),
    (raised(lambda: Image.open(io.BytesIO(b"no picture"))), INPUT),
    (Image.DecompressionBombError("too many pixels"), INPUT),
    # and the rest
    (TypeError("bug"), BUG),
    (AssertionError("bug"), BUG),
    (KeyError("bug"), BUG),
    (RuntimeError("who knows"), ("unknown", "unlisted")),
    (OSError("without a number"), ("unknown", "unlisted")),
    (KeyboardInterrupt(), CANCELLED),
    (SystemExit(1), CANCELLED),
    (asyncio.CancelledError(), CANCELLED),
    (concurrent.futures.CancelledError(), CANCELLED),
    (TerminationSignal(15), CANCELLED),
    (CancelledRun("cancelled"), CANCELLED),
]


@task
def nothing() -> None: ...


def test_every_failure_of_ours_can_be_sent_between_processes() -> None:
    """Prefect and process pools pickle exceptions."""
    for error, _ in TABLE:
        if type(error).__module__.partition(".")[0] in ("models", "storage", "tasks", "flows"):
            sent = pickle.loads(pickle.dumps(error))
            assert (type(sent), str(sent)) == (type(error), str(error))
            assert error_facts(sent) == error_facts(error)  # type: ignore[arg-type]


IDS = [f"{number}-{getattr(error, '__name__', type(error).__name__)}" for number, (error, _) in enumerate(TABLE)]


@pytest.mark.parametrize(("error", "expected"), TABLE, ids=IDS)
def test_every_failure_has_its_class_and_is_tried_as_often_as_that_allows(
        error: BaseException | Callable[[], BaseException], expected: Expected) -> None:
    error = error if isinstance(error, BaseException) else error()
    failure = classify(error)
    assert (failure.kind, failure.code) == expected
    allowed = 1
    while may_retry(nothing, SimpleNamespace(run_count=allowed), Failed(data=error)):  # type: ignore[arg-type]
        allowed += 1
    assert allowed == TRIES[failure.kind]


INTERNAL = {
    "models.pull._Over": "ends the fetches beside one that failed, whose own error is raised",
    "storage.files.NotPlain": "an answer of open_files' systems; the store makes ArtifactCorrupt of it",
    "storage.https_urls.Refusal": "fetch and check_image know the document's field and make a SourceError of it",
    "storage.s3.ConditionFailed": "an answer of S3Files; put and set_aside make an outcome of it",
    "tasks.gate_child.ChildLost": "the gate asks again, then makes a PhotoRefused of it",
}
"""Exceptions that never leave their package, and what becomes of them."""


def our_exceptions() -> set[str]:
    """module.Name of every exception class in the four packages, by reading them: importing all would cost seconds."""
    bases = {}
    for package in ("models", "storage", "tasks", "flows"):
        for path in sorted((ROOT / package).rglob("*.py")):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef):
                    bases[f"{module}.{node.name}"] = [ast.unparse(base).rpartition(".")[2] for base in node.bases]
    errors = {name for name, value in vars(builtins).items()
              if isinstance(value, type) and issubclass(value, BaseException)}
    found: set[str] = set()
    while new := {full for full, names in bases.items() if set(names) & errors} - found:
        found |= new
        errors |= {full.rpartition(".")[2] for full in new}
    return found


def test_every_exception_of_ours_is_in_the_table_or_never_leaves_its_package() -> None:
    tried = {f"{type(error).__module__}.{type(error).__qualname__}" for error, _ in TABLE}
    assert our_exceptions() - tried == set(INTERNAL)


def test_every_class_the_classifier_names_exists() -> None:
    """A library that renames an exception must not leave a row that never matches."""
    for name in BY_CLASS:
        module, _, attribute = name.rpartition(".")
        kind = getattr(import_module(module), attribute)
        assert f"{kind.__module__}.{kind.__qualname__}" == name


def test_an_error_is_reported_with_its_class_field_value_and_remedy() -> None:
    facts = error_facts(InputError("is broken", field="image", value="a.jpg", remedy="Give another"))
    assert facts == {"class": "permanent-input", "type": "InputError", "code": None, "field": "image",
                     "value": "a.jpg", "message": "image='a.jpg': is broken. Give another", "remedy": "Give another"}


def test_a_refused_photo_is_reported_with_its_verdict_and_nothing_else_has_a_code() -> None:
    facts = error_facts(PhotoRefused("truncated", "is cut off", name="a.jpg", remedy="Give another"))
    assert (facts["class"], facts["code"]) == ("permanent-input", "truncated")
    assert error_facts(SystemExit(3))["code"] is None
    assert error_facts(sql_said.OperationalError("SELECT 1", {}, Exception("gone")))["code"] is None
