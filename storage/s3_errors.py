"""What a failed S3 request means: try again and how soon, a plain answer, or something that a person must mend.

Classes and codes: spec/reliability.md 6.1. Errors are recognised by their S3 code or HTTP status, else by the names in
their class hierarchy: s3fs hands on those of botocore and aiohttp.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["again", "throttled", "missing", "condition", "refused", "unknown"]

_THROTTLED = {"SlowDown", "Throttling", "ThrottlingException", "RequestLimitExceeded", "TooManyRequests", "429"}
_AGAIN = {"InternalError", "ServiceUnavailable", "RequestTimeout", "ConditionalRequestConflict", "OperationAborted",
          "408", "409"}
_MISSING = {"NoSuchKey", "NoSuchVersion", "404"}
_CONDITION = {"PreconditionFailed", "412"}
_AGAIN_CLASSES = {
    "botocore.exceptions.HTTPClientError", "botocore.exceptions.ConnectionError",
    "botocore.exceptions.IncompleteReadError", "botocore.parsers.ResponseParserError",
    "aiohttp.client_exceptions.ClientError", "builtins.ConnectionError", "builtins.TimeoutError",
}
_MAY_WHAT = "Allow this user s3:GetObject, PutObject, ListBucket (a missing object is else called forbidden)"
_WHO = "Check the AWS_* variables or the AWS profile of this process"
_WHERE = "Check the name, and BACKLOT_S3_ENDPOINT_URL"
_REGION = "Set AWS_DEFAULT_REGION to the bucket's region"
_REFUSED: dict[str, tuple[str, str]] = {
    # code or class -> (message, remedy)
    "NoSuchBucket": ("there is no such bucket", f"Make it, or name another. {_WHERE}"),
    "InvalidBucketName": ("the server takes no bucket of this name", _WHERE),
    "PermanentRedirect": ("the bucket is in another region", _REGION),
    "AuthorizationHeaderMalformed": ("the bucket is in another region", _REGION),
    "AccessDenied": ("the server forbids it", _MAY_WHAT),
    "AllAccessDisabled": ("the server forbids it", _MAY_WHAT),
    "403": ("the server forbids it", _MAY_WHAT),
    "InvalidObjectState": ("the object is archived", "Restore it from the archive first"),
    "InvalidAccessKeyId": ("the server does not know the access key", _WHO),
    "SignatureDoesNotMatch": ("the server finds the signature wrong", f"The secret key does not fit. {_WHO}"),
    "ExpiredToken": ("the session token has expired", f"Renew it. {_WHO}"),
    "InvalidToken": ("the session token is not valid", _WHO),
    "TokenRefreshRequired": ("the session token has expired", f"Renew it. {_WHO}"),
    "RequestTimeTooSkewed": ("this machine's clock is wrong by 15 minutes or more", "Set the clock (NTP)"),
    "EntityTooLarge": ("the server takes no object of this size", "Raise its limit"),
    "QuotaExceeded": ("the bucket is full", "Make room, or raise its quota"),
    "botocore.exceptions.SSLError": ("TLS with the server fails", f"Check its certificate (AWS_CA_BUNDLE). {_WHERE}"),
    "botocore.exceptions.NoCredentialsError": ("there are no credentials", _WHO),
    "botocore.exceptions.PartialCredentialsError": ("the credentials are incomplete", _WHO),
    "botocore.exceptions.BotoCoreError": ("the request cannot be made", f"{_WHO}. {_WHERE}"),
}
_INPUTS = {"NoSuchBucket", "InvalidBucketName", "AccessDenied", "AllAccessDisabled", "403", "InvalidObjectState"}


@dataclass(frozen=True, kw_only=True)
class Reading:
    """kind: again and throttled are tried once more; missing and condition (an If-Match or If-None-Match that does not
    hold) are answers; refused needs a person; unknown is no error of S3. name: the S3 code or the class.
    message, remedy: for refused. of_input: a refusal that is due to the object's name and not to who asks.
    seconds: the least the server asks to wait."""

    kind: Kind
    name: str
    message: str = ""
    remedy: str = ""
    of_input: bool = False
    seconds: float = 0.0


def read_error(error: BaseException) -> Reading:
    """Never holds a word of the server's answer but its code: an answer may repeat an access key."""
    answer = _answer(error)
    if answer is None:
        return _by_class(error)
    code = str(answer.get("Error", {}).get("Code", ""))
    facts = answer.get("ResponseMetadata", {})
    status = int(facts.get("HTTPStatusCode", 0))
    if code in _REFUSED:
        message, remedy = _REFUSED[code]
        return Reading(kind="refused", name=code, message=message, remedy=remedy, of_input=code in _INPUTS)
    if code in _THROTTLED or status == 429:
        wait = str(facts.get("HTTPHeaders", {}).get("retry-after", ""))
        return Reading(kind="throttled", name=code, seconds=float(wait) if wait.isdecimal() else 0.0)
    if code in _MISSING:
        return Reading(kind="missing", name=code)
    if code in _CONDITION or status == 412:
        return Reading(kind="condition", name=code)
    if code in _AGAIN or (status >= 500 and status != 501):
        return Reading(kind="again", name=code)
    return Reading(kind="refused", name=code, message=f"the server refuses it ({code}, HTTP {status})", remedy=_WHERE)


def _answer(error: BaseException) -> dict[str, Any] | None:
    """The parsed answer of the server; s3fs puts an OSError before botocore's error."""
    for one in (error, error.__cause__):
        if isinstance(answer := getattr(one, "response", None), dict):
            return answer
    return None


def _by_class(error: BaseException) -> Reading:
    names = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
    for name in names:  # the nearest class first: an SSLError is a ConnectionError too
        if name in _AGAIN_CLASSES:
            return Reading(kind="again", name=type(error).__name__)
        if name in _REFUSED:
            message, remedy = _REFUSED[name]
            return Reading(kind="refused", name=type(error).__name__, message=message, remedy=remedy)
    return Reading(kind="unknown", name=type(error).__name__)
