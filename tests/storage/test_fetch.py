"""A photo is fetched from a public host within its bounds, from a real TLS server over real sockets."""

import gzip
import itertools
import logging
import socket
import ssl
import time
from collections.abc import Callable

import pytest
from photo_server import PHOTO, PUBLIC, Canary, PhotoServer, Visit, answer, redirect, seems_public

from storage.errors import SourceError, SourceUnavailable
from storage.fetch import LIMITS, fetch
from storage.guarded_network import resolve
from storage.https_urls import Refusal

pytest_plugins = ["photo_server_fixtures"]

SECRET = "CANARY5ECRET"


def refused(shop: PhotoServer, said: str, target: str = "/a.jpg", **limits: float) -> SourceError:
    """The error of a fetch that is not to be tried again."""
    with pytest.raises(SourceError, match=said) as error:
        shop.fetch(target, **limits)
    assert not isinstance(error.value, SourceUnavailable)
    return error.value


def unavailable(shop: PhotoServer, said: str, target: str = "/a.jpg", **limits: float) -> SourceUnavailable:
    """The error of a fetch that may succeed later."""
    with pytest.raises(SourceUnavailable, match=said) as error:
        shop.fetch(target, **limits)
    return error.value


def test_a_photo_is_fetched_by_name_with_sni_and_without_credentials(shop: PhotoServer) -> None:
    shop.answers["/a.jpg?v=2&size=large"] = answer()
    assert shop.fetch("/a.jpg?v=2&size=large").data == PHOTO
    [request] = shop.seen
    assert request.server_name == "shop.example"
    assert request.target == "/a.jpg?v=2&size=large"
    assert set(request.headers) == {"Host", "User-Agent", "Accept", "Accept-Encoding", "Connection"}
    assert request.headers["Host"] == f"shop.example:{shop.port}"
    assert request.headers["Accept-Encoding"] == "identity"
    assert request.headers["User-Agent"].startswith("backlot/")


def test_the_limits_are_those_that_the_guarantee_names() -> None:
    assert (LIMITS.bytes, LIMITS.seconds, LIMITS.connect_seconds, LIMITS.redirects, LIMITS.ports) == (
        25_000_000, 10.0, 3.0, 3, (443,))


@pytest.mark.parametrize(("headers", "version", "mtime"), [
    ({"etag": '"abc"', "last_modified": "Sat, 21 Nov 2026 10:00:00 GMT"}, '"abc"', 1795255200.0),
    ({"etag": 'W/"abc"'}, 'W/"abc"', None),
    ({"last_modified": "Sat, 21 Nov 2026 10:00:00 GMT"}, "Sat, 21 Nov 2026 10:00:00 GMT", 1795255200.0),
    ({"last_modified": "yesterday"}, "", None),
    ({"etag": '"' + "x" * 5000 + '"'}, "", None),
    ({}, "", None)])
def test_what_the_server_says_of_its_version_is_kept_if_it_can_be(
        shop: PhotoServer, headers: dict[str, str], version: str, mtime: float | None) -> None:
    shop.answers["/a.jpg"] = answer(**headers)
    fetched = shop.fetch()
    assert (fetched.version, fetched.mtime) == (version, mtime)


@pytest.mark.parametrize("host", ["SHOP.example", "shop.example.", "bücher.example", "xn--bcher-kva.example"])
def test_one_name_written_differently_is_one_host(shop: PhotoServer, host: str) -> None:
    assert fetch(shop.url(host=host), limits=shop.limits(), resolver=shop.resolve, allowed=seems_public,
                 ssl_context=shop.trust).data == PHOTO
    assert shop.asked == [shop.seen[0].server_name]
    assert shop.asked[0] in ("shop.example", "xn--bcher-kva.example")


def test_a_public_address_may_stand_for_a_name(shop: PhotoServer) -> None:
    assert shop.fetch(f"https://{PUBLIC}:{shop.port}/a.jpg").data == PHOTO
    assert shop.asked == []


@pytest.mark.parametrize("host", ["other.example", "cdn.example.evil.example"])
def test_a_certificate_of_another_name_is_refused(shop: PhotoServer, host: str) -> None:
    refused(shop, "certificate is not valid", shop.url(host=host))
    assert shop.seen == []


def test_a_certificate_that_nobody_vouches_for_is_refused(shop: PhotoServer) -> None:
    shop.trust = ssl.create_default_context()
    refused(shop, "certificate is not valid")


def test_a_host_of_several_addresses_is_reached_at_the_one_that_answers(shop: PhotoServer) -> None:
    shop.resolve = lambda host: ["127.0.0.3", PUBLIC]  # type: ignore[method-assign]
    fetched = fetch(shop.url(), limits=shop.limits(), resolver=shop.resolve, ssl_context=shop.trust,
                    allowed=lambda address: True)
    assert fetched.data == PHOTO


def test_no_proxy_of_the_environment_is_used(
        shop: PhotoServer, canary: Canary, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    assert shop.fetch().data == PHOTO
    assert canary.hits == 0


def test_any_other_port_than_443_is_refused(shop: PhotoServer) -> None:
    with pytest.raises(SourceError, match=f"names port {shop.port}. Give a url of port 443"):
        fetch(shop.url(), resolver=shop.resolve, allowed=seems_public, ssl_context=shop.trust)
    assert (shop.asked, shop.connections) == ([], 0)


# Redirects


def test_three_redirects_are_followed_and_not_a_fourth(shop: PhotoServer) -> None:
    shop.answers |= {"/1": redirect("/2"), "/2": redirect(shop.url("/3", "cdn.example"), "301 Moved"),
                     "/3": redirect("a.jpg#top", "308 Permanent Redirect"), "/0": redirect("/1", "307 Temporary")}
    assert shop.fetch("/1").data == PHOTO
    assert shop.asked == ["shop.example", "shop.example", "cdn.example", "cdn.example"]
    refused(shop, "redirects more than 3 times", "/0")


def test_a_redirect_that_leads_to_itself_ends(shop: PhotoServer) -> None:
    shop.answers["/a.jpg"] = redirect("/a.jpg")
    refused(shop, "redirects more than 3 times")
    assert len(shop.seen) == 4


@pytest.mark.parametrize("to", [
    "http://shop.example/a.jpg", "file:///etc/passwd", "s3://bucket/a.jpg", "data:image/png;base64,AA==", "gopher://x/",
    "https://user:pass@shop.example/a.jpg", "https://shop.example:22/", "//user@shop.example/a.jpg", "https://[/"])
def test_a_redirect_elsewhere_than_https_is_refused(shop: PhotoServer, to: str) -> None:
    shop.answers["/a.jpg"] = redirect(to)
    error = refused(shop, "redirects to .*which holds a user name" if "@" in to else "redirects to ")
    assert "pass@" not in str(error)
    assert len(shop.seen) == 1


def test_a_redirect_without_a_place_to_go_is_refused(shop: PhotoServer) -> None:
    shop.answers["/a.jpg"] = answer(b"", "302 Found")
    refused(shop, "answers 302 without a place to go")


def test_a_signature_in_a_redirect_is_used_and_never_told(
        shop: PhotoServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    signed = f"/b.jpg?X-Amz-Signature={SECRET}"
    shop.answers |= {"/a.jpg": redirect(signed), signed: answer()}
    assert shop.fetch().data == PHOTO
    shop.answers[signed] = answer(b"", "403 Forbidden")
    error = refused(shop, r"redirects to 'https://shop.example:\d+/b.jpg\?\*\*\*', which answers 403")
    shop.answers["/a.jpg"] = f"HTTP/1.1 302 Found\r\nlocation {SECRET}\r\n\r\n".encode()
    broken = unavailable(shop, "RemoteProtocolError")
    assert SECRET not in f"{vars(error)}{error}{caplog.text}{vars(broken)}{broken}{broken.__cause__!r}"


def test_a_message_never_repeats_the_query(shop: PhotoServer) -> None:
    error = refused(shop, r"'https://shop.example:\d+/none.jpg\?\*\*\*': answers 404", f"/none.jpg?customer={SECRET}")
    assert SECRET not in f"{vars(error)}{error}{error.__cause__!r}"


# Answers


@pytest.mark.parametrize("status", ["204 No Content", "206 Partial Content", "304 Not Modified", "400 Bad Request",
                                    "401 Unauthorized", "403 Forbidden", "404 Not Found", "410 Gone", "451 Taken down"])
def test_an_answer_that_no_repetition_changes_is_refused(shop: PhotoServer, status: str) -> None:
    shop.answers["/a.jpg"] = answer(b"", status)
    refused(shop, f"answers {status[:3]}")


@pytest.mark.parametrize("status", ["408 Request Timeout", "429 Too Many Requests", "500 Oops", "502 Bad Gateway",
                                    "503 Service Unavailable", "504 Gateway Timeout"])
def test_an_answer_that_may_be_another_one_later_is_told_apart(shop: PhotoServer, status: str) -> None:
    shop.answers["/a.jpg"] = answer(b"", status)
    unavailable(shop, f"answers {status[:3]}")


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "deflate", "br", "zstd", "identity, gzip"])
def test_compressed_bytes_are_refused_unread(shop: PhotoServer, encoding: str) -> None:
    bomb = gzip.compress(bytes(20_000_000))
    shop.answers["/a.jpg"] = answer(bomb, content_encoding=encoding)
    refused(shop, "compressed bytes")


def test_identity_is_no_compression_and_the_told_type_means_nothing(shop: PhotoServer) -> None:
    shop.answers["/a.jpg"] = answer(content_encoding="identity", content_type="text/html")
    assert shop.fetch().data == PHOTO


def test_a_photo_told_to_be_too_large_is_refused_unread(shop: PhotoServer) -> None:
    def told(visit: Visit) -> None:
        visit.connection.sendall(answer(b"", content_length="1001"))
        visit.stop.wait(20)

    shop.answers["/a.jpg"] = told
    before = time.monotonic()
    refused(shop, r"has more than 1000 bytes. Give a file of 1 to 1000 bytes", bytes=1000)
    assert time.monotonic() - before < 10


def test_an_endless_photo_is_refused_at_the_limit(shop: PhotoServer) -> None:
    sent = []

    def endless(visit: Visit) -> None:
        visit.connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        for _ in itertools.count():
            sent.append(visit.connection.send(bytes(10_000)))

    shop.answers["/a.jpg"] = endless
    refused(shop, "has more than 200000 bytes", bytes=200_000)
    assert sum(sent) < 10_000_000  # what the sockets held


def test_a_photo_of_exactly_the_limit_is_taken(shop: PhotoServer) -> None:
    shop.answers |= {"/a.jpg": answer(bytes(100_000)), "/b.jpg": answer(bytes(100_001))}
    assert len(shop.fetch(bytes=100_000).data) == 100_000
    refused(shop, "has more than 100000 bytes", "/b.jpg", bytes=100_000)


def test_a_photo_in_chunks_is_put_together_and_bounded(shop: PhotoServer) -> None:
    shop.answers["/a.jpg"] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    assert shop.fetch().data == b"abcde"
    refused(shop, "has more than 4 bytes", bytes=4)


def test_an_empty_photo_is_refused(shop: PhotoServer) -> None:
    shop.answers["/a.jpg"] = answer(b"")
    refused(shop, "has 0 bytes")


def test_a_photo_shorter_than_was_told_is_a_broken_connection(shop: PhotoServer) -> None:
    shop.answers["/a.jpg"] = answer(b"half", content_length="8")
    unavailable(shop, "broke the connection")


def test_of_a_photo_longer_than_was_told_nothing_more_is_read(shop: PhotoServer) -> None:
    shop.answers["/a.jpg"] = answer(b"half and more", content_length="4")
    assert shop.fetch().data == b"half"


@pytest.mark.parametrize("garbage", [b"", b"\r\n", b"SSH-2.0-OpenSSH\r\n\r\n",
                                     b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
                                     b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
                                     b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000])
def test_what_is_not_http_is_a_broken_connection(shop: PhotoServer, garbage: bytes) -> None:
    shop.answers["/a.jpg"] = garbage
    unavailable(shop, "broke the connection")


# Time


def _never(visit: Visit) -> None:
    visit.stop.wait(20)


def _drip_head(visit: Visit) -> None:
    visit.send_every(0.05, (b"HTTP/1.1 200 OK\r\nX: " if n == 0 else b"x" for n in itertools.count()))


def _drip_early_hints(visit: Visit) -> None:
    visit.send_every(0.05, itertools.repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n"))


def _drip_body(visit: Visit) -> None:
    visit.send_every(0.05, itertools.chain([b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n"], itertools.repeat(b"x")))


def _drip_chunks(visit: Visit) -> None:
    visit.send_every(0.05, itertools.chain([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"],
                                           itertools.repeat(b"1\r\nx\r\n")))


def _drip_redirects(visit: Visit) -> None:
    visit.stop.wait(0.2)
    visit.connection.sendall(redirect("/a.jpg"))


@pytest.mark.parametrize("slow", [_never, _drip_head, _drip_early_hints, _drip_body, _drip_chunks, _drip_redirects])
def test_the_whole_fetch_ends_in_time_however_the_server_dawdles(
        shop: PhotoServer, slow: Callable[[Visit], None]) -> None:
    shop.answers["/a.jpg"] = slow
    before = time.monotonic()
    unavailable(shop, r"did not answer in time \(at most 1 s to connect, 0.4 s in all\)", seconds=0.4)
    assert 0.3 < time.monotonic() - before < 10


def test_a_server_that_never_speaks_tls_ends_in_time(shop: PhotoServer) -> None:
    with socket.create_server((PUBLIC, 0)) as mute:  # the kernel accepts, nobody answers
        shop.also = (mute.getsockname()[1],)
        before = time.monotonic()
        unavailable(shop, "in time", f"https://shop.example:{shop.also[0]}/", seconds=0.4)
        assert time.monotonic() - before < 10


def test_a_host_that_does_not_take_the_connection_ends_at_its_own_limit(shop: PhotoServer) -> None:
    with socket.create_server((PUBLIC, 0), backlog=0) as full:  # a full queue drops what comes, as a dead host does
        address = full.getsockname()
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex(address)
        shop.also = (address[1],)
        before = time.monotonic()
        unavailable(shop, "in time", f"https://shop.example:{address[1]}/", seconds=20.0, connect_seconds=0.3)
        assert 0.2 < time.monotonic() - before < 10
        for one in waiting:
            one.close()


def test_a_host_that_refuses_the_connection_may_answer_later(shop: PhotoServer) -> None:
    with socket.create_server((PUBLIC, 0)) as gone:
        shop.also = (gone.getsockname()[1],)
    unavailable(shop, r"broke the connection \(ConnectError\)", f"https://shop.example:{shop.also[0]}/")


def test_a_resolver_that_never_answers_ends_in_time(shop: PhotoServer) -> None:
    def slow(host: str) -> list[str]:
        time.sleep(8)
        return [PUBLIC]

    shop.resolve = slow  # type: ignore[method-assign]
    before = time.monotonic()
    unavailable(shop, "in time", seconds=0.3)
    assert time.monotonic() - before < 7
    assert shop.connections == 0


# Names


@pytest.mark.parametrize(("number", "passing"), [
    (socket.EAI_NONAME, False), (socket.EAI_NODATA, False), (socket.EAI_AGAIN, True), (socket.EAI_FAIL, True)])
def test_a_name_that_does_not_exist_is_told_from_one_that_cannot_be_asked_for(
        number: int, passing: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(host: str, *_: object, **__: object) -> None:
        assert host == "shop.example."  # with a dot, so that no search domain of this machine is tried
        raise socket.gaierror(number, "resolver")

    monkeypatch.setattr(socket, "getaddrinfo", failing)
    with pytest.raises(Refusal) as error:
        resolve("shop.example")
    assert error.value.passing == passing
    with pytest.raises(SourceUnavailable if passing else SourceError, match=r"image='https://shop.example/a.jpg'"):
        fetch("https://shop.example/a.jpg")


def test_a_name_resolves_to_all_its_addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [(socket.AF_INET6, 1, 6, "", ("2606:4700::1111", 0, 0, 0)), (socket.AF_INET, 1, 6, "", ("1.1.1.1", 0))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert resolve("one.example") == ["2606:4700::1111", "1.1.1.1"]


def test_a_name_without_an_address_does_not_exist(shop: PhotoServer) -> None:
    shop.resolve = lambda host: []  # type: ignore[method-assign]
    refused(shop, "does not exist")
