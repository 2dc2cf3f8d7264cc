"""What of an image's uri may stand in messages, logs and rows: nothing that lets its reader in (G28)."""

from __future__ import annotations

import re
from urllib.parse import unquote_plus

SHOWN = 300
"""Characters of a uri that a message repeats."""

_URI_LIKE = re.compile(r"\s*(?:[A-Za-z][A-Za-z0-9+.-]*:|[/\\]{2}|[^?#]*://)")
_PLAIN = re.compile(r"(?:https?|s3|file)://[^/\\@:?#;]*(?:/|$)", re.IGNORECASE)
_USER_INFO = re.compile(r"^(\s*(?:[A-Za-z][A-Za-z0-9+.-]*:)?[/\\]{2,})?.*@", re.DOTALL)
_PARAMETERS = re.compile(r"([?#;]).*", re.DOTALL)
_FORGOTTEN = re.compile(r"([?#])[^?#]*=.*", re.DOTALL)
_PARAMETER = re.compile(r"[?&;#]([^=&;#?]*)=([^&;#]*)")
_RANDOM = re.compile(r"(?=.*[0-9])(?=.*[A-Za-z])[\w+/=.~-]{32,}")

_NAMES = frozenset({
    "sig", "key", "auth", "authorization", "policy", "sid", "pass", "pwd", "code", "hdnea", "hdnts", "hdntl", "gda",
    "googleaccessid", "keypairid", "qak", "md5", "hm", "oh", "oe", "pw", "ticket", "verify", "expires", "expiry",
})
_PARTS = ("signature", "credential", "token", "secret", "password", "passwd", "accesskey", "apikey", "session", "jwt",
          "hmac", "bearer")
"""Names, and parts of names, of parameters that let in whoever holds the uri, in lower case and with nothing but
letters and digits: of SigV4 and SigV2 (X-Amz-…, AWSAccessKeyId), Google (X-Goog-…, GoogleAccessId), Azure SAS (sig),
CloudFront (Policy, Key-Pair-Id), Alibaba (x-oss-…, OSSAccessKeyId), Tencent (q-ak, q-signature), Akamai (hdnea, hdnts,
hdntl, __gda__), Dropbox and Google Drive (rlkey, resourcekey), nginx (md5 and expires), Facebook (oh, oe), and the
names that services give to keys of their own, most of which end in "key"."""
_VERSIONS = frozenset({"v", "ver", "version", "rev", "hash", "etag", "id"})
"""Names whose long values only tell one state of a file from another."""


def redacted(image: str) -> str:
    """`image` without user info, query, fragment and parameters, cut to 300 characters. Of a local path only what looks
    like a query goes: it may be a uri whose scheme was forgotten.

    Where it is not clear what is the host, everything before the last @ goes: passwords hold slashes and colons.
    """
    if _URI_LIKE.match(image):
        shown = image if _PLAIN.match(image) else _USER_INFO.sub(r"\1***@", image)
        shown = _PARAMETERS.sub(r"\1***", shown)
    else:
        shown = _FORGOTTEN.sub(r"\1***", image)
    return shown if len(shown) <= SHOWN else f"{shown[:SHOWN]}…"


def holds_user_info(uri: str) -> bool:
    """Of an s3:// or file:// uri. AWS's secret keys hold slashes, so what comes before the first one is not all."""
    return "@" in uri and not _PLAIN.match(uri)


def lets_in(uri: str) -> bool:
    """Whether a parameter of the uri is a signature, a token or a key: who holds such a uri needs nothing else. By its
    name, or as a long random value; a short one under a name that says nothing is not known for one."""
    for parameter in _PARAMETER.finditer(uri):
        name = re.sub(r"[^a-z0-9]", "", unquote_plus(parameter[1]).lower())
        if name in _NAMES or name.endswith("key") or any(part in name for part in _PARTS):
            return True
        if name not in _VERSIONS and _RANDOM.fullmatch(unquote_plus(parameter[2])):
            return True
    return False
