"""The one door to folders and buckets: whole or not at all, also on a full disk; good bytes are never set aside."""

import errno
import subprocess
import sys
from collections.abc import Generator
from pathlib import Path

import pytest
from places import Place

from storage.artifacts import ArtifactStore
from storage.digests import sha256_hex
from storage.errors import StorageError
from storage.files import NotPlain, open_files, put_whole, read_whole, set_aside

pytest_plugins = ["store_fixtures"]
PICTURES = [f"picture {number} ".encode() * 10_000 for number in range(40)]  # 120 kB each


@pytest.mark.parametrize("url", ["foo://x", "memory://x", "http://host/x", "gs://bucket/x", "ftp://nowhere.invalid/x",
                                 "simplecache::file:///tmp/x"])
def test_what_is_neither_a_folder_nor_a_bucket_is_refused_unasked(url: str) -> None:
    with pytest.raises(StorageError) as refused:
        open_files(url, "outputs_url")
    assert str(refused.value) == (f"outputs_url='{url}': is neither a folder nor a bucket. "
                                  "Give the path of a folder, or s3://bucket/prefix")


def test_a_folder_may_be_given_as_a_uri(tmp_path: Path) -> None:
    assert open_files(f"file://{tmp_path}/store/", "outputs_url")[1] == f"{tmp_path}/store"


def test_opening_a_folder_loads_no_s3_library() -> None:
    code = "import sys; from storage.files import open_files; open_files('.', 'x'); print('s3fs' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"


def test_bytes_that_turn_out_good_are_not_set_aside(place: Place) -> None:
    """A reader saw damage; before it acts, a writer has healed it."""
    fs, root = open_files(place.url, "artifacts_url", s3_endpoint_url=place.endpoint)
    put_whole(fs, f"{root}/name", b"good")
    assert not set_aside(fs, f"{root}/name", f"{root}/quarantine/name", lambda data: data != b"good")
    assert {name: place.read(name) for name in place.names()} == {"name": b"good"}


def test_damage_that_another_reader_was_quicker_to_set_aside_is_no_error(place: Place) -> None:
    fs, root = open_files(place.url, "artifacts_url", s3_endpoint_url=place.endpoint)
    assert not set_aside(fs, f"{root}/name", f"{root}/quarantine/name", lambda data: True)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"elsewhere")
    (tmp_path / "link").symlink_to("file")
    fs, root = open_files(str(tmp_path), "artifacts_url")
    assert read_whole(fs, f"{root}/file") == b"elsewhere"
    with pytest.raises(NotPlain):
        read_whole(fs, f"{root}/link")


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A disk of 3 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(disk)], capture_output=True,
                             text=True, check=False)
    if mounted.returncode != 0:
        pytest.skip(f"a small disk cannot be mounted here: {mounted.stderr.strip()}")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def fill(store: ArtifactStore) -> tuple[list[str], list[OSError]]:
    """Put every picture; what was stored and what failed."""
    stored, failed = [], []
    for data in PICTURES:
        try:
            stored.append(store.put(data, media_type="image/png", width=1, height=1).digest)
        except OSError as error:
            failed.append(error)
    return stored, failed


def test_a_full_disk_tears_nothing_and_the_store_goes_on_when_there_is_room(small_disk: Path) -> None:
    """Guarantee G14, the store's half."""
    (small_disk / "ballast").write_bytes(bytes(2_000_000))
    store = ArtifactStore(str(small_disk / "store"))

    stored, failed = fill(store)

    assert {error.errno for error in failed} == {errno.ENOSPC}
    assert stored
    there = {path.name: path.read_bytes() for path in (small_disk / "store").rglob("*") if path.is_file()}
    assert there == {sha256_hex(data): data for data in PICTURES if sha256_hex(data) in stored}

    (small_disk / "ballast").unlink()
    more, _ = fill(store)
    assert len(more) > len(stored)
    assert all(store.intact(digest) for digest in more)


def test_a_write_cut_short_by_a_limit_tears_nothing(tmp_path: Path) -> None:
    """The same where no disk can be mounted: the system stops each write after 64 kB, in the middle of a picture."""
    code = f"""
import resource
from storage.artifacts import ArtifactStore
store = ArtifactStore({str(tmp_path)!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, resource.RLIM_INFINITY))
for data in (b"small", b"large" * 100_000):
    try:
        store.put(data, media_type="image/png", width=1, height=1)
    except OSError as error:
        print(error.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
before = sum(path.is_file() for path in __import__("pathlib").Path({str(tmp_path)!r}).rglob("*"))
print(before, store.get(store.put(b"large" * 100_000, media_type="image/png", width=1, height=1).digest)[:5])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "File too large\n1 b'large'\n"
