"""What an https:// url says, read once and strictly: libraries disagree about odd urls (spec/reliability.md 3.2), and
what was vetted must be what is connected to."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote

import idna

PORT = 443

_URL = re.compile(r"https://([^/?#]*)(/[^?#]*)?(\?[^#]*)?(?:#.*)?", re.IGNORECASE)
_ODD = re.compile(r"[\x00-\x1f\x7f-\x9f\\\ud800-\udfff]")
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_KEPT = "%/:@!$&'()*+,;=~"
_REMEDY = "Give https://host/path, as a browser's address line shows it"


class Refusal(Exception):
    """Why a url is not fetched: a clause whose subject is the url, and a remedy. passing: trying again may help.
    Who knows the document's image makes a SourceError of it."""

    def __init__(self, message: str, remedy: str, *, passing: bool = False) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.passing = passing


@dataclass(frozen=True, kw_only=True)
class HttpsUrl:
    """host: a name in lower case ASCII without a final dot, or an address in its canonical form, IPv6 without
    brackets. path and query: percent-encoded ASCII; query with its '?', or empty."""

    host: str
    port: int
    path: str
    query: str

    @property
    def authority(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == PORT else f"{host}:{self.port}"

    @property
    def uri(self) -> str:
        """Without the query: what may be stored."""
        return f"https://{self.authority}{self.path}"


def split_https(url: str) -> HttpsUrl:
    """Raises Refusal for another scheme, user info, odd characters, and for hosts that are neither a full name nor an
    address in its one canonical form: 127.1, 0x7f.1, 2130706433, full-width digits. A fragment is dropped."""
    found = _URL.fullmatch(url)
    if _ODD.search(url) or found is None:
        raise Refusal("is not an https:// url", _REMEDY)
    authority, path, query = found.groups(default="")
    if "@" in authority:
        raise Refusal("holds a user name or a password", "Give a url that needs none, or put the photo into a bucket")
    host, port = _host_and_port(authority)
    return HttpsUrl(host=host, port=port, path=quote(path or "/", safe=_KEPT), query=quote(query, safe=f"{_KEPT}?"))


def _host_and_port(authority: str) -> tuple[str, int]:
    found = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", authority, re.ASCII)
    if found is None:
        raise Refusal("has no host and port that can be read", _REMEDY)
    host, port = found.groups()
    return _literal_6(host[1:-1]) if host.startswith("[") else _name_or_literal_4(host), int(port or PORT)


def _literal_6(text: str) -> str:
    try:
        address = IPv6Address(text)
    except AddressValueError:
        raise Refusal("has no IPv6 address between its brackets", _REMEDY) from None
    if address.scope_id is not None:
        raise Refusal("has an address of one network only", _REMEDY)
    return str(address)


def _name_or_literal_4(text: str) -> str:
    host = _ascii(text).lower().removesuffix(".")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):  # then systems read it as an address, and each reads more forms than another
        try:
            return str(IPv4Address(host))
        except AddressValueError:
            raise Refusal("has a host of numbers that is not an address a.b.c.d", _REMEDY) from None
    if len(labels) < 2 or len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise Refusal("has no full host name", "Give the whole name of a public host, such as shop.example.com")
    return host


def _ascii(text: str) -> str:
    """International names by IDNA 2008 without the mappings of UTS 46: those turn full-width digits into addresses."""
    if text.isascii():
        return text
    try:
        return idna.encode(text, strict=True).decode("ascii")
    except (idna.IDNAError, UnicodeError):
        raise Refusal("has a host name with characters that names do not have", "Give its xn-- form") from None
