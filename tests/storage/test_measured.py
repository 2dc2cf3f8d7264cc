"""A bucket is measured by the first worker that meets it, and the record is read by all others (G37)."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from s3 import DENIED, S3, Fault, Request, proxy

import storage.measured
from storage.errors import NoBucket, StoreUnavailable
from storage.measured import RECORD, shortcomings
from storage.settings import Settings
from storage.verify import verify
from tasks.services import Services

pytest_plugins = ["store_fixtures"]


def asked(s3: S3, url: str) -> tuple[str, ...]:
    return shortcomings(f"{s3.url}/store", "artifacts_url", s3_endpoint_url=url)


def test_a_new_bucket_is_measured_once_and_then_only_its_record_is_read(s3: S3) -> None:
    with proxy(s3.endpoint) as between:
        assert asked(s3, between.url) == ()
        assert len(between.seen) == 10
        assert s3.names() == {f"store/{RECORD}"}
        assert asked(s3, between.url) == ()
        assert between.methods()[10:] == ["GET"]


def test_what_a_bucket_cannot_do_is_told_to_every_worker_and_logged_by_the_first(
        s3: S3, caplog: pytest.LogCaptureFixture) -> None:
    with proxy(s3.endpoint, without=("If-None-Match",)) as between, caplog.at_level(logging.INFO):
        [line] = asked(s3, between.url)
        assert "artifacts_url: a create with If-None-Match replaced what was there" in line
        said = {record.levelname for record in caplog.records if "conditional_create" in record.message}
        assert said == {"WARNING"}
        assert any("ranged_read: two bytes were read alone" in record.message for record in caplog.records)
        caplog.clear()
        assert asked(s3, between.url) == (line,)
        assert caplog.records == []


@pytest.mark.parametrize("record", [b"", b"no JSON", b"[]", b'{"at": 0, "missing": []}', b'{"at": 1e12, "missing": []}',
                                    b'{"at": "soon", "missing": []}', b'{"missing": []}', b"\xff"])
def test_a_record_that_is_old_or_none_is_made_anew(s3: S3, record: bytes) -> None:
    s3.files.pipe_file(f"{s3.bucket}/store/{RECORD}", record)
    assert asked(s3, s3.endpoint) == ()
    assert json.loads(s3.files.cat_file(f"{s3.bucket}/store/{RECORD}"))["capabilities"] == dict.fromkeys(
        ("conditional_create", "list_after_write", "ranged_read", "delete"), True)


def test_a_worker_that_may_not_measure_goes_on_and_says_so(s3: S3) -> None:
    def plan(request: Request) -> Fault | None:
        return DENIED if "probe/" in request.path else None

    with proxy(s3.endpoint) as between:
        between.plan = plan
        [line] = asked(s3, between.url)
    assert line.startswith("artifacts_url could not be measured: ")
    assert "the server forbids it" in line


def test_a_store_that_is_not_there_is_an_error_before_anything_is_computed(
        s3: S3, monkeypatch: pytest.MonkeyPatch, short_pauses: object) -> None:
    with pytest.raises(StoreUnavailable):
        asked(s3, "http://127.0.0.1:1")


@pytest.mark.parametrize("missing", ["artifacts_url", "outputs_url"])
def test_a_bucket_that_is_not_there_is_an_error_before_anything_is_computed(
        tmp_path: Path, s3: S3, missing: str) -> None:
    urls = {"artifacts_url": f"{s3.url}/cas", "outputs_url": f"{s3.url}/out", missing: "s3://no-such-bucket-here/x"}
    here = Services(settings=Settings(home=tmp_path, s3_endpoint_url=s3.endpoint, **urls))
    with pytest.raises(NoBucket, match=rf"{missing}='s3://no-such-bucket-here/.*there is no such bucket"):
        _ = here.shortcomings


def test_a_publisher_need_not_read_where_it_delivers_and_leaves_nothing_there(tmp_path: Path, s3: S3) -> None:
    def plan(request: Request) -> Fault | None:
        return DENIED if request.method == "GET" and "/out/" in request.path else None

    with proxy(s3.endpoint) as between:
        between.plan = plan
        settings = Settings(home=tmp_path, outputs_url=f"{s3.url}/out", s3_endpoint_url=between.url)
        assert Services(settings=settings).shortcomings == ()
        assert between.methods() == ["GET"]
    assert s3.names() == set()


def test_a_folder_is_not_measured_and_a_process_asks_once(
        tmp_path: Path, s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Services(settings=Settings(home=tmp_path)).shortcomings == ()
    assert list(tmp_path.iterdir()) == []
    with proxy(s3.endpoint) as between:
        here = Services(settings=Settings(home=tmp_path, artifacts_url=f"{s3.url}/cas", s3_endpoint_url=between.url))
        assert here.shortcomings == here.shortcomings == ()
        assert len(between.seen) == 10


def test_the_record_is_no_stray_file_to_the_checker(tmp_path: Path, s3: S3) -> None:
    with_s3 = Settings(home=tmp_path, artifacts_url=f"{s3.url}/cas", s3_endpoint_url=s3.endpoint)
    here = Services(settings=with_s3)
    here.database, here.shortcomings  # noqa: B018  # made by being asked for
    assert s3.names() == {f"cas/{storage.measured.RECORD}"}
    assert verify(here.database, with_s3).findings == ()
