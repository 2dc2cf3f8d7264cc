"""Where no connection may ever go (G23): a listener on every address of this machine counts what reaches it."""

from collections.abc import Sequence

import pytest
from photo_server import PHOTO, PUBLIC, Canary, PhotoServer, redirect, seems_public

from storage.errors import SourceError, SourceUnavailable
from storage.fetch import Fetched, fetch

pytest_plugins = ["photo_server_fixtures"]

INSIDE = ["127.0.0.1", "127.0.0.53", "127.8.9.1", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1",
          "100.100.100.200", "169.254.169.254", "169.254.170.2", "168.63.129.16", "192.0.0.192", "192.0.0.8",
          "192.0.2.1", "198.18.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1", "::1", "::", "::ffff:127.0.0.1",
          "::ffff:a00:1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::",
          "fe80::1",
          "fc00::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1", "2606:4700::5efe:7f00:1"]
ODD_HOSTS = [
    "127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.1", "0x7f.0x0.0x0.0x1", "0177.0.0.1", "017700000001",
    "127.0.0.1.", "127.0.0.01", "127.000.000.001", "1.2.3.4.5", "256.256.256.256", "0", "0x", "1.1.1.0x1",
    "１２７.0.0.1", "127。0。0。1", "127．0．0．1", "127｡0｡0｡1", "①②⑦.0.0.1", "localhost", "LOCALHOST", "localhost.",
    "ⓛocalhost", "localhost.localdomain", "metadata", "metadata.google.internal", "intranet", "127.0.0.1.nip.example",
    "shop.example..", ".shop.example", "shop..example", "-shop.example", "shop .example", "shop%2eexample",
    "127.0.0.1%00.shop.example", "shop.example%40127.0.0.1", "[127.0.0.1]", "[::1", "::1", "[::1%25lo]",
    "[::ffff:0x7f.1]", "[v1.::1]", "a" * 64 + ".example", "a." * 130 + "example", "", "*.example", "shop_example",
    "shop@127.0.0.1", "127.0.0.1@shop.example", "shop.example@127.0.0.1", "shop.example\\@127.0.0.1", "shop.example:x",
    "shop.example:", "shop.example:443:443", "shop.example&@127.0.0.1#@shop.example"]


def urls(port: int) -> list[str]:
    """Urls that some reader of urls takes for one of this machine's, at `port`."""
    literals = [f"[{address}]" if ":" in address else address for address in INSIDE]
    return [*(f"https://{host}{end}" for host in literals + ODD_HOSTS for end in (f":{port}/a.jpg", "/a.jpg")),
            f"https:127.0.0.1:{port}/", f"https:/127.0.0.1:{port}/", f"https:///127.0.0.1:{port}/",
            f"https:\\\\127.0.0.1:{port}/", f"http://127.0.0.1:{port}/", f"//127.0.0.1:{port}/",
            f" https://127.0.0.1:{port}/", f"https://127.0.0.1:{port}\\@shop.example/", f"https://127.0.0.1:{port}\t/",
            f"ht\ntps://127.0.0.1:{port}/", f"gopher://127.0.0.1:{port}/_", f"file://127.0.0.1:{port}/a.jpg"]


def inside(host: str) -> Sequence[str]:
    """As the worst resolver would answer, but for the shop itself."""
    return [PUBLIC] if host == "shop.example" else ["127.0.0.1"]


def test_no_url_leads_inside(shop: PhotoServer, canary: Canary) -> None:
    for url in urls(canary.port):
        with pytest.raises(SourceError) as error:
            fetch(url, limits=shop.limits(), resolver=inside, ssl_context=shop.trust)
        assert not isinstance(error.value, SourceUnavailable), url
    assert (canary.hits, shop.connections) == (0, 0)


def test_no_redirect_leads_inside(shop: PhotoServer, canary: Canary) -> None:
    sent = [url for url in urls(canary.port) if not set(url) & set("\t\n")]  # those two cannot stand in a header
    for number, url in enumerate(sent):
        shop.answers[f"/{number}"] = redirect(url)
        with pytest.raises(SourceError):
            fetch(shop.url(f"/{number}"), limits=shop.limits(), resolver=inside, allowed=seems_public,
                  ssl_context=shop.trust)
        assert canary.hits == 0, url
        assert f"/{number}" in {request.target for request in shop.seen}


@pytest.mark.parametrize("address", INSIDE)
def test_no_name_leads_inside_alone_or_among_public_addresses(
        shop: PhotoServer, canary: Canary, address: str) -> None:
    for answers in ([address], [PUBLIC, address], [address, PUBLIC], ["1.1.1.1", address, "2606:4700::1111"]):
        with pytest.raises(SourceError, match="has a host with an address outside the public internet") as error:
            fetch(f"https://shop.example:{canary.port}/", limits=shop.limits(), allowed=seems_public,
                  resolver=lambda host, answers=answers: answers, ssl_context=shop.trust)  # type: ignore[misc]
        assert address not in str(error.value)
    assert (canary.hits, shop.connections) == (0, 0)


@pytest.mark.parametrize("then", INSIDE)
def test_a_name_that_changes_its_answer_leads_nowhere_new(shop: PhotoServer, canary: Canary, then: str) -> None:
    """DNS rebinding: public while it is looked at, inside afterwards."""
    def get(target: str) -> Fetched:
        answers = iter([[PUBLIC], [then], [then]])
        return fetch(shop.url(target), limits=shop.limits(), allowed=seems_public, ssl_context=shop.trust,
                     resolver=lambda host: next(answers))

    shop.answers["/r"] = redirect(f"https://shop.example:{canary.port}/")
    assert get("/a.jpg").data == PHOTO
    with pytest.raises(SourceError, match=r"redirects to .*outside the public internet"):
        get("/r")
    assert (canary.hits, shop.connections) == (0, 2)


def test_the_listener_would_have_told(shop: PhotoServer, canary: Canary) -> None:
    with pytest.raises(SourceUnavailable):
        fetch(f"https://127.0.0.1:{canary.port}/", limits=shop.limits(), allowed=lambda address: True)
    assert canary.hits == 1
