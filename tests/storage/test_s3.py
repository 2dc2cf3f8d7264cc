"""One patient layer between Backlot and S3: what it bears, how much it asks, and what it refuses at once."""

import time
from collections.abc import Generator

import fsspec.config
import pytest
from s3 import CONFLICT, DENIED, INTERNAL, S3, SECRET, SLOW_DOWN, Fault, Proxy, first, proxy, share

import storage.s3
from storage.artifacts import ArtifactStore
from storage.digests import sha256_hex
from storage.errors import ArtifactCorrupt, StorageError, StoreUnavailable
from storage.files import open_files, put_whole, read_whole
from storage.records import Artifact
from storage.s3 import Patience

pytest_plugins = ["store_fixtures"]
DATA = b"a picture" * 1000
DIGEST = sha256_hex(DATA)
NAME = f"sha256/{DIGEST[:2]}/{DIGEST}"
FAULTS: dict[str, Fault] = {"slow down": SLOW_DOWN, "internal error": INTERNAL, "conflict": CONFLICT, "reset": "reset",
                            "lost answer": "lost answer", "torn body": "torn body"}
every_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())


@pytest.fixture
def between(s3: S3) -> Generator[Proxy]:
    with proxy(s3.endpoint) as opened:
        yield opened


@pytest.fixture
def store(s3: S3, between: Proxy, short_pauses: Patience) -> ArtifactStore:
    """A store that is reached through the proxy."""
    return ArtifactStore(s3.url, s3_endpoint_url=between.url)


def put(store: ArtifactStore, data: bytes = DATA) -> Artifact:
    return store.put(data, media_type="image/png", width=3, height=2)


def longest_run_of_tries(between: Proxy) -> int:
    """The most requests in a row of one kind for one object: an upper bound of what one call has sent."""
    longest = run = 0
    last = None
    for request, _ in between.seen:
        run = run + 1 if (request.method, request.path) == last else 1
        last = (request.method, request.path)
        longest = max(longest, run)
    return longest


def put_and_get(store: ArtifactStore, s3: S3, count: int) -> None:
    """Each of `count` pictures is put and comes back, and nothing else is there."""
    pictures = [f"picture {number} ".encode() * 200 for number in range(count)]
    digests = [put(store, data).digest for data in pictures]
    assert [store.get(digest) for digest in digests] == pictures
    assert s3.names() == {f"sha256/{digest[:2]}/{digest}" for digest in digests}


@every_fault
def test_a_store_that_fails_four_times_in_ten_loses_nothing(
        store: ArtifactStore, s3: S3, between: Proxy, fault: Fault) -> None:
    """Guarantee G10: each put and get succeeds. One call in 1,500 needs a ninth request; with this seed none does."""
    between.plan = share(0.4, fault, seed=5)
    put_and_get(store, s3, 8)
    assert {seen for _, seen in between.seen} == {fault, None}
    assert longest_run_of_tries(between) <= 8


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.4])
def test_a_store_with_every_fault_in_turn_loses_nothing(
        store: ArtifactStore, s3: S3, between: Proxy, rate: float) -> None:
    between.plan = share(rate, *FAULTS.values(), seed=8)
    put_and_get(store, s3, 20)
    assert len({seen for _, seen in between.seen}) >= 5
    assert longest_run_of_tries(between) <= 8


@every_fault
def test_one_call_is_at_most_eight_requests_and_then_one_clear_error(
        store: ArtifactStore, s3: S3, between: Proxy, fault: Fault) -> None:
    """The wire is counted, so a retry hidden in botocore, s3fs or aiohttp would show."""
    s3.files.pipe_file(f"{s3.bucket}/{NAME}", DATA)
    between.plan = lambda request: fault
    with pytest.raises(StoreUnavailable, match=r"artifacts_url='s3://test-.*get_object tried 8 times in .* s, at last"):
        store.get(DIGEST)
    assert between.methods() == ["GET"] * 8


def test_a_server_that_hangs_holds_a_call_no_longer_than_its_time(
        s3: S3, between: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.s3, "PATIENCE", Patience(seconds=4.0, connect=0.5, read=2.0, pause=0.01))
    store = ArtifactStore(s3.url, s3_endpoint_url=between.url)
    assert not store.intact(DIGEST)
    between.plan = lambda request: "hang"
    begun = time.monotonic()
    with pytest.raises(StoreUnavailable, match=r"get_object tried .*Timeout"):
        store.get(DIGEST)
    assert time.monotonic() - begun < 12  # eight hangs would take 16


def test_a_server_that_hangs_once_is_asked_again(s3: S3, between: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage.s3, "PATIENCE", Patience(read=0.3, pause=0.01))
    between.plan = first("hang", "GET")
    store = ArtifactStore(s3.url, s3_endpoint_url=between.url)
    assert put(store).digest == DIGEST
    assert between.methods() == ["GET", "GET", "PUT"]


def test_a_call_ends_at_its_time_though_bytes_still_trickle(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    """No read timeout ever fires where each byte comes in time; the bound of the whole call must."""
    monkeypatch.setattr(storage.s3, "PATIENCE", Patience(seconds=1.0, connect=0.1))
    s3.files.pipe_file(f"{s3.bucket}/{NAME}", DATA)
    with proxy(s3.endpoint, seconds_a_kilobyte=0.4) as between, pytest.raises(StoreUnavailable, match="TimeoutError"):
        ArtifactStore(s3.url, s3_endpoint_url=between.url).get(DIGEST)


def test_the_bounds_are_those_of_the_guarantee() -> None:
    patience = Patience()
    assert (patience.requests, patience.seconds, patience.connect, patience.read) == (8, 60.0, 3.0, 20.0)
    for first_pause, longest in ((patience.pause, patience.longest), (patience.throttled, patience.throttled_longest)):
        ceilings = [min(longest, first_pause * 2 ** number) for number in range(patience.requests - 1)]
        assert sum(ceilings) < patience.seconds - patience.read


@pytest.mark.parametrize("times", [1, 3])
def test_a_create_whose_answer_is_lost_is_found_done_by_looking(
        store: ArtifactStore, s3: S3, between: Proxy, times: int) -> None:
    """Guarantee G11: the next try meets our own object (412), which is then read and found ours."""
    between.plan = first("lost answer", "PUT", times=times)
    assert put(store).digest == DIGEST
    assert s3.names() == {NAME}
    assert between.methods() == ["GET", *["PUT"] * (times + 1), "GET"]


def test_forty_creates_of_which_four_in_ten_answers_are_lost_are_forty_successes(
        store: ArtifactStore, s3: S3, between: Proxy) -> None:
    """Guarantee G11; the naive reading of FileExistsError failed 20 of 40 (spec/reliability.md 0.7)."""
    between.plan = lambda request: lost(request) if request.method == "PUT" else None
    lost = share(0.4, "lost answer", seed=11)
    digests = [put(store, f"picture {number}".encode()).digest for number in range(40)]
    assert s3.names() == {f"sha256/{digest[:2]}/{digest}" for digest in digests}


def test_a_create_that_meets_damaged_bytes_replaces_them(store: ArtifactStore, s3: S3, between: Proxy) -> None:
    """Between our look and our create another process left torn bytes under the name."""
    def plant(request: object) -> None:
        if between.methods() == ["GET"]:
            s3.files.pipe_file(f"{s3.bucket}/{NAME}", b"torn")

    between.plan = plant  # type: ignore[assignment]
    put(store)
    assert store.get(DIGEST) == DATA
    assert s3.names() == {NAME, f"quarantine/{DIGEST}.{sha256_hex(b'torn')}"}


def test_a_store_that_ignores_the_condition_serves_all_the_same(s3: S3, short_pauses: Patience) -> None:
    with proxy(s3.endpoint, without=("If-None-Match",)) as between:
        between.plan = share(0.4, "lost answer", seed=2)
        store = ArtifactStore(s3.url, s3_endpoint_url=between.url)
        digests = [put(store, f"picture {number}".encode()).digest for number in range(20)]
        assert all(store.intact(digest) for digest in digests)


def test_a_large_picture_is_one_put(store: ArtifactStore, between: Proxy) -> None:
    """s3fs would send 100 MiB and more in parts, of which some stores forget the condition."""
    data = bytes(101 * 2**20)
    assert store.get(put(store, data).digest) == data
    assert between.methods() == ["GET", "PUT", "GET"]


@pytest.mark.parametrize("moment", ["PUT", "DELETE"])
def test_good_bytes_put_while_a_reader_sets_damage_aside_stay(
        store: ArtifactStore, s3: S3, between: Proxy, moment: str) -> None:
    """The reader has judged the damaged version; a writer heals it before the copy, or between copy and delete."""
    s3.files.pipe_file(f"{s3.bucket}/{NAME}", b"torn")

    def heal(request: object) -> None:
        if between.methods()[-1:] != [moment] and request.method == moment:  # type: ignore[attr-defined]
            s3.files.pipe_file(f"{s3.bucket}/{NAME}", DATA)

    between.plan = heal  # type: ignore[assignment]
    with pytest.raises(ArtifactCorrupt):
        store.get(DIGEST)
    assert s3.files.cat_file(f"{s3.bucket}/{NAME}") == DATA


def test_good_bytes_put_before_a_reader_looks_again_are_not_moved(store: ArtifactStore, s3: S3, between: Proxy) -> None:
    s3.files.pipe_file(f"{s3.bucket}/{NAME}", b"torn")

    def heal(request: object) -> None:
        if between.methods() == ["GET"]:
            s3.files.pipe_file(f"{s3.bucket}/{NAME}", DATA)

    between.plan = heal  # type: ignore[assignment]
    with pytest.raises(ArtifactCorrupt):
        store.get(DIGEST)
    assert between.methods() == ["GET", "GET"]
    assert s3.names() == {NAME}


def test_damage_that_may_not_be_deleted_is_refused_and_replaced(store: ArtifactStore, s3: S3, between: Proxy) -> None:
    """A worker's key need not be allowed to delete (guarantee G30)."""
    s3.files.pipe_file(f"{s3.bucket}/{NAME}", b"torn")
    between.plan = lambda request: DENIED if request.method == "DELETE" else None
    for _ in range(2):
        with pytest.raises(ArtifactCorrupt):
            store.get(DIGEST)
    put(store)
    assert store.get(DIGEST) == DATA
    assert s3.names() == {NAME, f"quarantine/{DIGEST}.{sha256_hex(b'torn')}"}


@pytest.mark.parametrize(("status", "code", "said"), [
    (404, "NoSuchBucket", "there is no such bucket. Make it, or name another"),
    (403, "AccessDenied", "the server forbids it. Allow this user s3:GetObject"),
    (403, "InvalidAccessKeyId", r"does not know the access key. Check the AWS_\* variables"),
    (403, "SignatureDoesNotMatch", "the signature wrong. The secret key does not fit"),
    (400, "ExpiredToken", "the session token has expired. Renew it"),
    (403, "RequestTimeTooSkewed", r"clock is wrong by 15 minutes or more. Set the clock \(NTP\)"),
    (400, "EntityTooLarge", "takes no object of this size"),
    (403, "QuotaExceeded", "the bucket is full. Make room"),
    (501, "NotImplemented", r"the server refuses it \(NotImplemented, HTTP 501\)"),
    (400, "SomethingNew", r"the server refuses it \(SomethingNew, HTTP 400\)"),
])
def test_what_trying_again_cannot_mend_is_one_clear_error_at_once(
        store: ArtifactStore, between: Proxy, status: int, code: str, said: str) -> None:
    between.plan = lambda request: (status, code)
    with pytest.raises(StorageError, match=f"^artifacts_url='s3://test-.*{said}") as refused:
        put(store)
    assert not isinstance(refused.value, StoreUnavailable)
    assert between.methods() == ["GET"]
    assert SECRET not in str(refused.value)


def test_missing_credentials_are_one_clear_error(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setattr(storage.s3, "PATIENCE", Patience(requests=7))  # else an earlier test's session is shared
    with pytest.raises(StorageError, match=r"there are no credentials. Check the AWS_\* variables"):
        put(ArtifactStore(s3.url, s3_endpoint_url=s3.endpoint))


def test_a_server_that_is_not_there_is_one_clear_error(s3: S3, short_pauses: Patience) -> None:
    with pytest.raises(StoreUnavailable, match=r"tried 8 times in .* s, at last EndpointConnectionError"):
        put(ArtifactStore(s3.url, s3_endpoint_url="http://127.0.0.1:1"))


def test_a_server_that_asks_to_wait_is_given_the_time(s3: S3, between: Proxy, short_pauses: Patience) -> None:
    between.plan = first(SLOW_DOWN, "GET")
    between.retry_after = "1"
    begun = time.monotonic()
    put(ArtifactStore(s3.url, s3_endpoint_url=between.url))
    assert time.monotonic() - begun > 1.0


def test_no_pause_is_begun_that_would_outlast_the_call(s3: S3, between: Proxy, short_pauses: Patience) -> None:
    between.plan = lambda request: SLOW_DOWN
    between.retry_after = "100"
    with pytest.raises(StoreUnavailable, match="tried 1 times"):
        put(ArtifactStore(s3.url, s3_endpoint_url=between.url))


def test_every_call_that_s3fs_builds_on_is_patient(s3: S3, between: Proxy, short_pauses: Patience) -> None:
    fs, root = open_files(s3.url, "artifacts_url", s3_endpoint_url=between.url)
    between.plan = share(0.4, INTERNAL, "reset", seed=4)
    names = [f"{root}/folder/{number}" for number in range(10)]
    for name in names:
        put_whole(fs, name, b"here")
    assert sorted(fs.find(root)) == sorted(names)
    assert fs.cat_file(names[0], start=1, end=3) == b"er"
    for name in names:
        fs.rm_file(name)
    assert fs.find(root) == []
    with pytest.raises(FileNotFoundError):
        read_whole(fs, names[0])


def test_the_users_fsspec_settings_decide_nothing(s3: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(fsspec.config.conf, "s3", {"endpoint_url": "http://127.0.0.1:1", "key": "other", "anon": True})
    store = ArtifactStore(s3.url, s3_endpoint_url=s3.endpoint)
    assert store.get(put(store).digest) == DATA
