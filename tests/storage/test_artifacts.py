"""Bytes under their digest, in a folder and in a bucket: what comes back is what went in, or a named error."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from places import Place
from s3 import S3, proxy

from storage.artifacts import ArtifactStore
from storage.digests import sha256_hex
from storage.errors import ArtifactCorrupt, ArtifactMissing, StorageError
from storage.files import open_files, put_whole
from storage.records import Artifact

pytest_plugins = ["store_fixtures"]
DATA = b"a picture" * 1000
DIGEST = sha256_hex(DATA)
NAME = f"sha256/{DIGEST[:2]}/{DIGEST}"


def open_store(place: Place) -> ArtifactStore:
    return ArtifactStore(place.url, s3_endpoint_url=place.endpoint)


@pytest.fixture
def store(place: Place) -> ArtifactStore:
    return open_store(place)


def put(store: ArtifactStore, data: bytes = DATA) -> Artifact:
    return store.put(data, media_type="image/png", width=3, height=2)


def test_what_was_put_comes_back_under_its_digest(store: ArtifactStore, place: Place) -> None:
    assert put(store) == Artifact(digest=DIGEST, media_type="image/png", bytes=9000, width=3, height=2)
    assert store.get(DIGEST) == DATA
    assert place.names() == {NAME}
    assert store.uri(DIGEST) == place.uri(NAME)


def test_the_same_bytes_twice_are_written_once(folder: Place) -> None:
    put(open_store(folder))
    path = Path(folder.url) / NAME
    before = path.stat()
    put(open_store(folder))
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_the_same_bytes_twice_are_sent_to_a_bucket_once(s3: S3) -> None:
    with proxy(s3.endpoint) as between:
        store = ArtifactStore(s3.url, s3_endpoint_url=between.url)
        put(store)
        put(store)
    assert between.methods() == ["GET", "PUT", "GET"]


def test_missing_bytes_are_a_named_error(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactMissing) as missing:
        store.get(DIGEST)
    assert missing.value.value == DIGEST
    assert not store.intact(DIGEST)


@pytest.mark.parametrize("damage", [DATA[:-1], b"", b"x" + DATA[1:], DATA + b"x"],
                         ids=["truncated", "empty", "flipped", "longer"])
def test_damaged_bytes_are_set_aside_and_never_returned(store: ArtifactStore, place: Place, damage: bytes) -> None:
    put(store)
    place.write(NAME, damage)
    with pytest.raises(ArtifactCorrupt) as corrupt:
        store.get(DIGEST)
    assert (corrupt.value.digest, corrupt.value.found) == (DIGEST, sha256_hex(damage))
    assert place.read(f"quarantine/{DIGEST}.{sha256_hex(damage)}") == damage
    with pytest.raises(ArtifactMissing):
        store.get(DIGEST)


def test_intact_reads_the_bytes_and_does_not_trust_the_name(store: ArtifactStore, place: Place) -> None:
    put(store)
    assert store.intact(DIGEST)
    place.write(NAME, b"x" * len(DATA))
    assert not store.intact(DIGEST)
    assert place.names() == {f"quarantine/{DIGEST}.{sha256_hex(b'x' * len(DATA))}"}


def test_putting_over_damaged_bytes_heals_them_and_keeps_the_damage(store: ArtifactStore, place: Place) -> None:
    put(store)
    place.write(NAME, b"torn")
    put(store)
    assert store.get(DIGEST) == DATA
    assert place.names() == {NAME, f"quarantine/{DIGEST}.{sha256_hex(b'torn')}"}


def test_two_damages_of_one_digest_are_both_kept(store: ArtifactStore, place: Place) -> None:
    for damage in (b"one", b"two"):
        put(store)
        place.write(NAME, damage)
        assert not store.intact(DIGEST)
    assert sorted(place.read(name) for name in place.names()) == [b"one", b"two"]


@pytest.mark.parametrize("digest", ["", "abc", "A" * 64, "../" * 21 + "a", "a" * 64 + "\n", "/" + "a" * 63])
def test_only_a_digest_names_an_artifact(store: ArtifactStore, digest: str) -> None:
    for ask in (store.get, store.intact, store.uri):
        with pytest.raises(ValueError, match="64 lower-case hex digits"):
            ask(digest)


def test_a_third_of_the_objects_damaged_or_deleted_is_found_and_heals(store: ArtifactStore, place: Place) -> None:
    """Guarantee G3."""
    pictures = {put(store, f"picture {number} ".encode() * 50).digest: f"picture {number} ".encode() * 50
                for number in range(60)}
    dice = random.Random(3)
    harmed = dice.sample(sorted(pictures), 18)
    for number, digest in enumerate(harmed):
        name, data = f"sha256/{digest[:2]}/{digest}", bytearray(pictures[digest])
        if number % 3 == 0:
            place.remove(name)
        elif number % 3 == 1:
            place.write(name, bytes(data[:dice.randrange(len(data))]))
        else:
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
            place.write(name, bytes(data))

    assert sorted(digest for digest in pictures if not store.intact(digest)) == sorted(harmed)
    assert len([name for name in place.names() if name.startswith("quarantine/")]) == 12

    for data in pictures.values():
        put(store, data)
    assert {digest: store.get(digest) for digest in pictures} == pictures
    assert len([name for name in place.names() if name.startswith("quarantine/")]) == 12


def test_sixteen_writers_of_each_of_sixty_keys_agree_on_its_digest(place: Place) -> None:
    """Guarantee G8, the store's half."""
    keys = [f"key {number} ".encode() * 200 for number in range(60)]

    def write_all(number: int) -> list[str]:
        store = open_store(place)
        return [put(store, data).digest for data in keys]

    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(write_all, range(16)))

    assert answers == [[sha256_hex(data) for data in keys]] * 16
    assert place.names() == {f"sha256/{digest[:2]}/{digest}" for digest in answers[0]}
    assert [open_store(place).get(digest) for digest in answers[0]] == keys


def test_of_sixteen_exclusive_creates_of_each_of_sixty_keys_one_wins(bucket: Place) -> None:
    """Guarantee G8, the server's half: its condition is honoured, and s3fs hands it on."""
    fs, root = open_files(bucket.url, "artifacts_url", s3_endpoint_url=bucket.endpoint)

    def create_all(number: int) -> list[int]:
        won = []
        for key in range(60):
            try:
                put_whole(fs, f"{root}/{key}", f"writer {number}".encode(), new=True)
                won.append(key)
            except FileExistsError:
                continue
        return won

    with ThreadPoolExecutor(16) as pool:
        won = list(pool.map(create_all, range(16)))

    assert sorted(key for keys in won for key in keys) == list(range(60))
    assert {key: bucket.read(str(key)) for key in range(60)} == {
        key: f"writer {number}".encode() for number, keys in enumerate(won) for key in keys}


def test_processes_that_put_the_same_bytes_at_once_all_succeed(place: Place, race: Callable[..., list[str]]) -> None:
    script = f"""
from storage.artifacts import ArtifactStore
store = ArtifactStore({place.url!r}, s3_endpoint_url={place.endpoint!r})
wait()
made = [store.put(bytes([i]) * 500_000, media_type="image/png", width=1, height=1).digest for i in range(20)]
print(sum(store.intact(digest) for digest in made))
"""
    assert race(script, 3) == ["20\n"] * 3
    assert len(place.names()) == 20


def test_a_write_that_fails_leaves_nothing_behind(folder: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        put(open_store(folder))
    assert folder.names() == set()


def test_a_write_that_is_killed_before_its_end_leaves_no_artifact(folder: Place) -> None:
    killed = subprocess.run([sys.executable, "-c", f"""
import os, signal
from storage.artifacts import ArtifactStore
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
ArtifactStore({folder.url!r}).put(b"a picture", media_type="image/png", width=1, height=1)
"""], check=False)
    assert killed.returncode == -9
    store = open_store(folder)
    assert not store.intact(sha256_hex(b"a picture"))
    assert put(store, b"a picture").digest == sha256_hex(b"a picture")
    assert store.intact(sha256_hex(b"a picture"))


@pytest.mark.parametrize("plant", ["link to the right bytes", "link to a device", "pipe", "folder"])
def test_what_is_no_plain_file_is_not_read_and_gives_way(folder: Place, tmp_path: Path, plant: str) -> None:
    """Guarantee G25, the store's part: such a name would else lead out of the store, or be read for ever."""
    path = Path(folder.url) / NAME
    path.parent.mkdir(parents=True)
    (tmp_path / "elsewhere").write_bytes(DATA)
    {"link to the right bytes": lambda: path.symlink_to(tmp_path / "elsewhere"),
     "link to a device": lambda: path.symlink_to("/dev/zero"),
     "pipe": lambda: os.mkfifo(path), "folder": path.mkdir}[plant]()
    writer = os.open(path, os.O_RDWR) if plant == "pipe" else None  # one that never writes, so that a reader would wait
    store = open_store(folder)

    assert not store.intact(DIGEST)
    put(store)

    assert store.get(DIGEST) == DATA
    if writer is not None:
        os.close(writer)
    assert path.is_file()
    assert not path.is_symlink()
    assert (tmp_path / "elsewhere").read_bytes() == DATA


def test_a_forked_child_is_told_to_open_its_own_store_and_can(bucket: Place) -> None:
    script = f"""
import os
from storage.artifacts import ArtifactStore
from storage.errors import StorageError
store = ArtifactStore({bucket.url!r}, s3_endpoint_url={bucket.endpoint!r})
digest = store.put(b"before the fork", media_type="image/png", width=1, height=1).digest
if (child := os.fork()) == 0:
    try:
        store.get(digest)
    except StorageError as error:
        told = str(error)
    own = ArtifactStore({bucket.url!r}, s3_endpoint_url={bucket.endpoint!r})
    print(told, own.get(digest), flush=True)
    os._exit(0)
os.waitpid(child, 0)
print(store.get(digest))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    told, after = done.stdout.splitlines()
    assert "this store was opened before the process forked. Open it in the child" in told
    assert told.endswith("b'before the fork'")
    assert after == "b'before the fork'"


def test_an_error_of_the_store_names_the_setting(s3: S3) -> None:
    store = ArtifactStore(f"{s3.url}-that-is-not-there", s3_endpoint_url=s3.endpoint)
    with pytest.raises(StorageError, match=r"artifacts_url='s3://test-.*there is no such bucket. Make it"):
        put(store)


def test_who_only_looks_learns_of_damage_and_leaves_it_where_it_lies(store: ArtifactStore, place: Place) -> None:
    with pytest.raises(ArtifactMissing):
        store.look(DIGEST)
    put(store)
    assert store.look(DIGEST) == DATA
    place.write(NAME, b"rot")
    with pytest.raises(ArtifactCorrupt) as error:
        store.look(DIGEST)
    assert error.value.found == sha256_hex(b"rot")
    assert place.names() == {NAME}
    assert place.read(NAME) == b"rot"
