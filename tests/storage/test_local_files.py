"""A document reaches the plain files under its roots and nothing else, whatever is swapped meanwhile (G25)."""

import errno
import os
import socket
import threading
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from storage import local_files
from storage.errors import SourceError, SourceUnavailable
from storage.local_files import LocalFile, read_local


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with a photo; beside it a secret."""
    folder = tmp_path / "in"
    (folder / "deep").mkdir(parents=True)
    (folder / "a.jpg").write_bytes(b"photo")
    (folder / "deep" / "b.jpg").write_bytes(b"deeper")
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (tmp_path / "in-other").mkdir()
    (tmp_path / "in-other" / "secret.jpg").write_bytes(b"secret")
    return folder


def read(path: object, *roots: Path, most_bytes: int = 1000) -> LocalFile:
    return read_local(str(path), roots, image=str(path), most_bytes=most_bytes)


def test_a_file_is_read_once_with_its_facts(root: Path) -> None:
    os.utime(root / "a.jpg", ns=(1_500_000_000, 1_500_000_001))
    assert read(root / "a.jpg", root) == LocalFile(path=root / "a.jpg", data=b"photo", size=5, mtime_ns=1_500_000_001)


def test_what_lies_under_any_of_the_roots_is_read_also_by_a_winding_path_or_a_link(root: Path, tmp_path: Path) -> None:
    (root / "link.jpg").symlink_to("deep/b.jpg")
    (tmp_path / "door").symlink_to(root)
    for path in (root / "deep" / ".." / "deep" / "b.jpg", root / "link.jpg", tmp_path / "door" / "deep" / "b.jpg"):
        assert read(path, tmp_path / "in-other", root) == read(root / "deep" / "b.jpg", root)
    assert read(root / "a.jpg", tmp_path / "door").path == root / "a.jpg"


def test_a_folder_that_may_be_passed_but_not_listed_is_passed(root: Path) -> None:
    (root / "deep").chmod(0o311)
    assert read(root / "deep" / "b.jpg", root).data == b"deeper"


@pytest.mark.parametrize("name", [
    "../secret.jpg", "deep/../../secret.jpg", "../in-other/secret.jpg", "../in/../secret.jpg", "/etc/hostname",
    "link.jpg",
    "linked/secret.jpg", "..", "../../../../../../etc/passwd", "/dev/zero", "/proc/self/environ",
    "/proc/self/root/etc/hostname",
    "chain.jpg", "//etc/hostname", "deep/../..//secret.jpg", "linked/../secret.jpg", "../none.jpg", "/none/none.jpg"])
def test_no_path_leads_out_and_none_tells_what_is_there(root: Path, name: str) -> None:
    (root / "link.jpg").symlink_to("../secret.jpg")
    (root / "linked").symlink_to("..")
    (root / "chain.jpg").symlink_to("link.jpg")
    with pytest.raises(SourceError, match=r"lies outside the folders a document may read.*BACKLOT_INPUT_ROOTS"):
        read(os.path.join(root, name), root)


@pytest.mark.parametrize("name", [
    "．．/secret.jpg", "‥/secret.jpg", "..％2fsecret.jpg", "%2e%2e/secret.jpg", "..%2fsecret.jpg", "..∕secret.jpg",
    "..⁄secret.jpg", "....//secret.jpg", ".../secret.jpg", "..;/secret.jpg", "~/secret.jpg", "$HOME/secret.jpg",
    "a.jpg/../../secret.jpg/.", "..\u200b/secret.jpg"])
def test_what_only_looks_like_a_way_out_is_a_name_like_any_other(root: Path, name: str) -> None:
    with pytest.raises(SourceError, match=r"there is no such file|lies outside|cannot be read"):
        read(f"{root}/{name}", root)


def test_without_roots_nothing_is_read(root: Path) -> None:
    with pytest.raises(SourceError, match="lies outside"):
        read(root / "a.jpg")


@pytest.fixture
def odd(root: Path) -> Generator[dict[str, Path]]:
    """Things that are no plain files, under the root."""
    found = {name: root / name for name in ("pipe", "socket", "folder", "empty.jpg", "huge.jpg", "loop", "null")}
    os.mkfifo(found["pipe"])
    found["folder"].mkdir()
    found["empty.jpg"].touch()
    found["huge.jpg"].write_bytes(bytes(1001))
    found["loop"].symlink_to("loop")
    found["null"].symlink_to("/dev/null")
    with socket.socket(socket.AF_UNIX) as listener:
        here = os.getcwd()
        os.chdir(root)  # the name of a socket may have 107 characters
        listener.bind("socket")
        os.chdir(here)
        yield found


@pytest.mark.parametrize(("name", "said"), [
    ("pipe", "is not a file"), ("socket", "is not a file"), ("folder", "is not a file"), ("empty.jpg", "has 0 bytes"),
    ("huge.jpg", "has 1001 bytes. Give a file of 1 to 1000 bytes"), ("none.jpg", "there is no such file"),
    ("loop", "is not a file"), ("null", "is not a file"), ("a.jpg/b", "cannot be read"), ("x" * 300, "cannot be read"),
    ("/", "is not a file"), ("/proc/self/environ", "has 0 bytes"), ("/dev/zero", "is not a file")])
def test_what_is_not_a_photo_is_refused_at_once_even_where_every_path_is_allowed(
        root: Path, odd: dict[str, Path], name: str, said: str) -> None:
    before = time.monotonic()
    with pytest.raises(SourceError, match=said) as refused:
        read(os.path.join(root, name), Path("/"))
    assert not isinstance(refused.value, SourceUnavailable)
    assert time.monotonic() - before < 20


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_we_may_not_read_is_refused(root: Path) -> None:
    (root / "a.jpg").chmod(0)
    with pytest.raises(SourceError, match="cannot be read"):
        read(root / "a.jpg", root)


def swap(monkeypatch: pytest.MonkeyPatch, replace: Any) -> None:
    """Run `replace` between the check of the path and its opening, where an attacker would."""
    real = os.path.realpath

    def and_then(path: Any, **options: Any) -> Any:
        found = real(path, **options)
        if str(path).endswith(".jpg"):
            replace()
        return found

    monkeypatch.setattr(local_files.os.path, "realpath", and_then)


def test_a_file_swapped_for_a_link_after_the_check_is_not_followed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace() -> None:
        (root / "a.jpg").unlink()
        (root / "a.jpg").symlink_to("../secret.jpg")

    swap(monkeypatch, replace)
    with pytest.raises(SourceError, match="is not a file"):
        read(root / "a.jpg", root)


def test_a_folder_swapped_for_a_link_after_the_check_is_not_followed(
        root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace() -> None:
        (root / "deep").rename(root / "gone")
        (root / "deep").symlink_to("../in-other")
        (root.parent / "in-other" / "b.jpg").write_bytes(b"secret")

    swap(monkeypatch, replace)
    with pytest.raises(SourceError, match="cannot be read"):
        read(root / "deep" / "b.jpg", root)


@pytest.mark.parametrize("to", ["pipe", "link"])
def test_a_file_swapped_between_look_and_open_neither_hangs_nor_is_followed(
        root: Path, to: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.stat

    def and_then(path: Any, **options: Any) -> os.stat_result:
        facts = real(path, **options)
        if path == "a.jpg":
            (root / "a.jpg").unlink()
            os.mkfifo(root / "a.jpg") if to == "pipe" else (root / "a.jpg").symlink_to("../secret.jpg")
        return facts

    monkeypatch.setattr(local_files.os, "stat", and_then)
    with pytest.raises(SourceError, match=r"is not a file" if to == "pipe" else "cannot be read"):
        read(root / "a.jpg", root)


@pytest.mark.parametrize("change", ["grows", "shrinks", "is rewritten"])
def test_a_file_that_changes_while_it_is_read_may_be_tried_again(
        root: Path, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fdopen

    def and_then(*args: Any, **options: Any) -> Any:
        if change == "grows":
            with (root / "a.jpg").open("ab") as file:
                file.write(bytes(10_000))
        elif change == "shrinks":
            os.truncate(root / "a.jpg", 2)
        else:
            (root / "a.jpg").write_bytes(b"PHOTO")
            os.utime(root / "a.jpg", ns=(1, 1))
        return real(*args, **options)

    monkeypatch.setattr(local_files.os, "fdopen", and_then)
    with pytest.raises(SourceUnavailable, match=r"changes while it is read. Run the job again"):
        read(root / "a.jpg", root)


def test_a_file_that_is_cut_and_whole_again_while_it_is_read_may_be_tried_again(
        root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photo = root / "a.jpg"
    facts = photo.stat()
    real_open, real_facts = os.fdopen, os.fstat

    def cut(*args: Any, **options: Any) -> Any:
        os.truncate(photo, 2)
        return real_open(*args, **options)

    def whole_again(file: int) -> os.stat_result:
        if photo.stat().st_size == 2:
            photo.write_bytes(b"photo")
            os.utime(photo, ns=(facts.st_mtime_ns, facts.st_mtime_ns))
        return real_facts(file)

    monkeypatch.setattr(local_files.os, "fdopen", cut)
    monkeypatch.setattr(local_files.os, "fstat", whole_again)
    with pytest.raises(SourceUnavailable, match="changes while it is read"):
        read(photo, root)


def test_a_machine_without_file_handles_is_not_the_documents_fault(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none_left(*args: object, **options: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(local_files.os, "open", none_left)
    with pytest.raises(OSError, match="Too many open files") as error:
        read(root / "a.jpg", root)
    assert not isinstance(error.value, SourceError)


def test_no_descriptor_stays_open_whatever_happens(root: Path, odd: dict[str, Path]) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = opened()
    for name in ("a.jpg", "deep/b.jpg", "deep/none.jpg", "none/b.jpg", *odd):
        try:
            read(root / name, Path("/"))
        except SourceError:
            continue
    assert opened() == before


def test_links_swapped_all_the_time_never_let_the_secret_out(root: Path) -> None:
    """The race itself, run for a third of a second."""
    over = threading.Event()
    (root / "out").symlink_to("../secret.jpg")
    (root / "fine").write_bytes(b"photo")

    def flip() -> None:
        for number in range(10**9):
            if over.is_set():
                return
            source = root / ("out" if number % 2 else "fine")
            new = root / "new"
            if number % 2:
                new.symlink_to("../secret.jpg")
            else:
                os.link(source, new)
            new.replace(root / "a.jpg")
            new.unlink(missing_ok=True)  # a rename of two links to one file does nothing

    flipping = threading.Thread(target=flip)
    flipping.start()
    seen = set()
    until = time.monotonic() + 0.3
    while time.monotonic() < until:
        try:
            seen.add(read(root / "a.jpg", root).data)
        except SourceError:
            seen.add(b"refused")
    over.set()
    flipping.join()
    assert seen == {b"photo", b"refused"}
