"""Bytes under their digest: what comes back is what went in, or a named error."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import fsspec
import pytest

from storage.artifacts import ArtifactStore
from storage.digests import sha256_hex
from storage.errors import ArtifactCorrupt, ArtifactMissing
from storage.records import Artifact

DATA = b"a picture" * 1000
DIGEST = sha256_hex(DATA)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "artifacts"


@pytest.fixture
def store(root: Path) -> ArtifactStore:
    return ArtifactStore(str(root))


def put(store: ArtifactStore, data: bytes = DATA) -> Artifact:
    return store.put(data, media_type="image/png", width=3, height=2)


def files(root: Path) -> set[str]:
    return {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()}


def test_what_was_put_comes_back_under_its_digest(store: ArtifactStore, root: Path) -> None:
    assert put(store) == Artifact(digest=DIGEST, media_type="image/png", bytes=9000, width=3, height=2)
    assert store.get(DIGEST) == DATA
    assert files(root) == {f"sha256/{DIGEST[:2]}/{DIGEST}"}
    assert store.uri(DIGEST) == f"file://{root}/sha256/{DIGEST[:2]}/{DIGEST}"


def test_the_same_bytes_twice_are_written_once(store: ArtifactStore, root: Path) -> None:
    put(store)
    path = root / "sha256" / DIGEST[:2] / DIGEST
    before = path.stat()
    put(store)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_missing_bytes_are_a_named_error(store: ArtifactStore) -> None:
    with pytest.raises(ArtifactMissing) as missing:
        store.get(DIGEST)
    assert missing.value.value == DIGEST
    assert not store.intact(DIGEST)


@pytest.mark.parametrize("damage", [DATA[:-1], b"", b"x" + DATA[1:], DATA + b"x"],
                         ids=["truncated", "empty", "flipped", "longer"])
def test_damaged_bytes_are_set_aside_and_never_returned(store: ArtifactStore, root: Path, damage: bytes) -> None:
    put(store)
    (root / "sha256" / DIGEST[:2] / DIGEST).write_bytes(damage)
    with pytest.raises(ArtifactCorrupt) as corrupt:
        store.get(DIGEST)
    assert (corrupt.value.digest, corrupt.value.found) == (DIGEST, sha256_hex(damage))
    assert (root / "quarantine" / f"{DIGEST}.{sha256_hex(damage)}").read_bytes() == damage
    with pytest.raises(ArtifactMissing):
        store.get(DIGEST)


def test_intact_reads_the_bytes_and_does_not_trust_the_name(store: ArtifactStore, root: Path) -> None:
    put(store)
    assert store.intact(DIGEST)
    (root / "sha256" / DIGEST[:2] / DIGEST).write_bytes(b"x" * len(DATA))
    assert not store.intact(DIGEST)
    assert files(root) == {f"quarantine/{DIGEST}.{sha256_hex(b'x' * len(DATA))}"}


def test_putting_over_damaged_bytes_heals_them_and_keeps_the_damage(store: ArtifactStore, root: Path) -> None:
    put(store)
    (root / "sha256" / DIGEST[:2] / DIGEST).write_bytes(b"torn")
    put(store)
    assert store.get(DIGEST) == DATA
    assert len(list((root / "quarantine").iterdir())) == 1


def test_two_damages_of_one_digest_are_both_kept(store: ArtifactStore, root: Path) -> None:
    for damage in (b"one", b"two"):
        put(store)
        (root / "sha256" / DIGEST[:2] / DIGEST).write_bytes(damage)
        assert not store.intact(DIGEST)
    assert sorted(path.read_bytes() for path in (root / "quarantine").iterdir()) == [b"one", b"two"]


@pytest.mark.parametrize("digest", ["", "abc", "A" * 64, "../" * 21 + "a", "a" * 64 + "\n", "/" + "a" * 63])
def test_only_a_digest_names_an_artifact(store: ArtifactStore, digest: str) -> None:
    for ask in (store.get, store.intact, store.uri):
        with pytest.raises(ValueError, match="64 lower-case hex digits"):
            ask(digest)


def test_a_write_that_fails_leaves_nothing_behind(
        store: ArtifactStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", disk_full)
    with pytest.raises(OSError, match="No space left"):
        put(store)
    assert files(root) == set()


def test_a_write_that_is_killed_before_its_end_leaves_no_artifact(root: Path) -> None:
    killed = subprocess.run([sys.executable, "-c", f"""
import os, signal
from storage.artifacts import ArtifactStore
os.fsync = lambda handle: os.kill(os.getpid(), signal.SIGKILL)
ArtifactStore({str(root)!r}).put(b"a picture", media_type="image/png", width=1, height=1)
"""], check=False)
    assert killed.returncode == -9
    store = ArtifactStore(str(root))
    assert not store.intact(sha256_hex(b"a picture"))
    assert put(store, b"a picture").digest == sha256_hex(b"a picture")
    assert store.intact(sha256_hex(b"a picture"))


def test_processes_that_put_the_same_bytes_at_once_all_succeed(root: Path, race: Callable[..., list[str]]) -> None:
    script = f"""
from storage.artifacts import ArtifactStore
store = ArtifactStore({str(root)!r})
wait()
made = [store.put(bytes([i]) * 500_000, media_type="image/png", width=1, height=1).digest for i in range(20)]
print(sum(store.intact(digest) for digest in made))
"""
    assert race(script, 3) == ["20\n"] * 3
    assert len(files(root)) == 20


def test_an_object_store_serves_as_well_as_a_folder() -> None:
    store = ArtifactStore("memory://artifacts")
    memory = fsspec.filesystem("memory")
    try:
        artifact = put(store)
        assert store.get(artifact.digest) == DATA
        memory.pipe_file(f"/artifacts/sha256/{DIGEST[:2]}/{DIGEST}", b"torn")
        assert not store.intact(DIGEST)
        assert memory.cat_file(f"/artifacts/quarantine/{DIGEST}.{sha256_hex(b'torn')}") == b"torn"
        put(store)
        assert store.intact(DIGEST)
    finally:
        memory.rm("/artifacts", recursive=True)
