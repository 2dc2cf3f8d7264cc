"""Guarantee G33 for S3: one instance of each error, and what it means."""

from typing import Any

import aiohttp
import pytest
from botocore import exceptions as boto
from botocore.parsers import ResponseParserError
from s3fs.errors import translate_boto_error

from storage.s3_errors import read_error


def answer(status: int, code: str, **headers: str) -> boto.ClientError:
    said: Any = {"Error": {"Code": code, "Message": "in the server's words"},
                 "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers}}
    return boto.ClientError(said, "PutObject")


@pytest.mark.parametrize(("error", "kind"), [
    (answer(500, "InternalError"), "again"),
    (answer(503, "ServiceUnavailable"), "again"),
    (answer(503, "503"), "again"),  # a HEAD has no body to name it
    (answer(502, "Bad Gateway"), "again"),
    (answer(400, "RequestTimeout"), "again"),
    (answer(409, "ConditionalRequestConflict"), "again"),
    (answer(409, "OperationAborted"), "again"),
    (answer(503, "SlowDown"), "throttled"),
    (answer(429, "TooManyRequests"), "throttled"),
    (answer(429, "anything"), "throttled"),
    (answer(404, "NoSuchKey"), "missing"),
    (answer(404, "404"), "missing"),
    (answer(412, "PreconditionFailed"), "condition"),
    (answer(404, "NoSuchBucket"), "refused"),
    (answer(403, "AccessDenied"), "refused"),
    (answer(403, "403"), "refused"),
    (answer(403, "InvalidAccessKeyId"), "refused"),
    (answer(403, "SignatureDoesNotMatch"), "refused"),
    (answer(400, "ExpiredToken"), "refused"),
    (answer(403, "RequestTimeTooSkewed"), "refused"),
    (answer(501, "NotImplemented"), "refused"),
    (answer(400, "NeverHeardOf"), "refused"),
    (boto.ConnectionClosedError(endpoint_url="http://s3"), "again"),
    (boto.EndpointConnectionError(endpoint_url="http://s3", error="refused"), "again"),
    (boto.ReadTimeoutError(endpoint_url="http://s3"), "again"),
    (boto.ConnectTimeoutError(endpoint_url="http://s3"), "again"),
    (boto.ResponseStreamingError(error="cut"), "again"),
    (boto.IncompleteReadError(actual_bytes=1, expected_bytes=2), "again"),
    (ResponseParserError("cut"), "again"),
    (aiohttp.ClientPayloadError("cut"), "again"),
    (aiohttp.ServerDisconnectedError(), "again"),
    (TimeoutError(), "again"),
    (ConnectionResetError(), "again"),
    (boto.SSLError(endpoint_url="https://s3", error="self-signed"), "refused"),
    (boto.NoCredentialsError(), "refused"),
    (boto.PartialCredentialsError(provider="env", cred_var="secret"), "refused"),
    (boto.ProfileNotFound(profile="shop"), "refused"),
    (TypeError("a bug"), "unknown"),
    (OSError(28, "No space left on device"), "unknown"),
], ids=lambda value: value if isinstance(value, str) else None)
def test_each_error_has_one_meaning_also_as_s3fs_hands_it_on(error: Exception, kind: str) -> None:
    assert read_error(error).kind == kind
    assert read_error(translate_boto_error(error)).kind == kind


def test_a_refusal_says_what_to_do_and_repeats_nothing_that_the_server_said() -> None:
    for code in ("AccessDenied", "InvalidAccessKeyId", "NeverHeardOf"):
        why = read_error(answer(403, code))
        assert why.message
        assert why.remedy
        assert "in the server's words" not in f"{why}"


def test_where_the_server_asks_to_wait_the_time_is_read() -> None:
    assert read_error(answer(503, "SlowDown", **{"retry-after": "7"})).seconds == 7
    assert read_error(answer(503, "SlowDown", **{"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"})).seconds == 0
