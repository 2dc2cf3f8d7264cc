"""What a store can do is measured: a server that ignores a condition, a key that may not delete, a full disk."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from places import Place
from s3 import DENIED, S3, Fault, Request, proxy

import storage.probe
from storage.errors import StorageError, StoreUnavailable
from storage.probe import Probe, probe

pytest_plugins = ["store_fixtures"]
OF_A_BUCKET = ("conditional_create", "list_after_write", "ranged_read", "delete")
OF_A_FOLDER = ("exclusive_create", "rename", "fsync", "free_space")


def missing(found: Probe) -> dict[str, str]:
    return {one.name: one.why for one in found.capabilities if not one.ok}


def test_a_real_server_can_do_all_of_it_in_eight_requests_and_nothing_is_left(s3: S3) -> None:
    with proxy(s3.endpoint) as between:
        found = probe(f"{s3.url}/store", "artifacts_url", s3_endpoint_url=between.url)
    assert (found.setting, found.url, found.usable) == ("artifacts_url", f"{s3.url}/store", True)
    assert tuple(one.name for one in found.capabilities) == OF_A_BUCKET
    assert missing(found) == {}
    assert len(between.seen) == 8
    assert s3.names() == set()


def test_a_server_that_ignores_a_conditional_create_is_found_out(s3: S3) -> None:
    """Guarantee G37; two of four servers tried do so."""
    with proxy(s3.endpoint, without=("If-None-Match",)) as between:
        found = probe(s3.url, "artifacts_url", s3_endpoint_url=between.url)
    assert list(missing(found)) == ["conditional_create"]
    assert "replaced what was there" in missing(found)["conditional_create"]
    assert found.usable


def test_a_server_that_ignores_ranges_is_found_out(s3: S3) -> None:
    with proxy(s3.endpoint, without=("Range",)) as between:
        found = probe(s3.url, "artifacts_url", s3_endpoint_url=between.url)
    assert list(missing(found)) == ["ranged_read"]


@pytest.mark.parametrize(("capability", "meets"), [
    ("list_after_write", lambda request: "list-type" in request.path),
    ("delete", lambda request: request.method == "DELETE"),
])
def test_what_a_key_may_not_do_is_found_out(s3: S3, capability: str, meets: Callable[[Request], bool]) -> None:
    def plan(request: Request) -> Fault | None:
        return DENIED if meets(request) else None

    with proxy(s3.endpoint) as between:
        between.plan = plan
        found = probe(s3.url, "artifacts_url", s3_endpoint_url=between.url)
    assert list(missing(found)) == [capability]
    assert "the server forbids it" in missing(found)[capability]
    assert found.usable


def test_a_bucket_that_cannot_be_written_is_one_clear_error(s3: S3) -> None:
    with pytest.raises(StorageError, match=r"outputs_url='s3://no-such-bucket-here/.*there is no such bucket"):
        probe("s3://no-such-bucket-here", "outputs_url", s3_endpoint_url=s3.endpoint)


def test_a_server_that_is_not_there_is_known_within_seconds() -> None:
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match="tried 3 times"):
        probe("s3://bucket", "artifacts_url", s3_endpoint_url="http://127.0.0.1:1")
    assert time.monotonic() - begun < 10


def test_a_folder_is_measured_and_left_as_it_was(folder: Place) -> None:
    found = probe(folder.url, "artifacts_url")
    assert tuple(one.name for one in found.capabilities) == OF_A_FOLDER
    assert set(missing(found)) <= {"free_space"}  # the machine that tests may be short of it
    assert "GB are free" in found.capabilities[-1].why
    assert list(Path(folder.url).iterdir()) == []


def test_a_disk_that_is_nearly_full_is_not_usable(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.probe, "LEAST_FREE", 10**18)
    found = probe(folder.url, "artifacts_url")
    assert "fewer than 1000000000: make room" in missing(found)["free_space"]
    assert not found.usable


def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"no folder")
    with pytest.raises(StorageError, match=r"artifacts_url='.*/file': cannot be written \(Not a directory\)"):
        probe(str(tmp_path / "file"), "artifacts_url")
