"""What `image` may say: refused at the door by its text alone, and no message repeats a secret."""

import re

import pytest

from storage.errors import SourceError
from storage.images import MOST_CHARACTERS, check_image
from storage.redaction import SHOWN, redacted

SECRET = "CANARY5ECRET"


@pytest.mark.parametrize(("image", "scheme"), [
    ("a.jpg", "path"), ("/photos/a b.jpg", "path"), ("./10:30.jpg", "path"), ("photos/é?.jpg", "path"),
    ("../a.jpg", "path"), ("a@b.jpg", "path"), ("50%.jpg", "path"), ("a&key=b.jpg", "path"),
    ("file:///photos/a%20b.jpg", "file"), ("FILE:///a.jpg", "file"), ("file://localhost/a.jpg", "file"),
    ("s3://bucket/in/a b+c.jpg", "s3"), ("S3://bucket/ключ/%2e%2e/a.jpg", "s3"), ("s3://buc.ket/a@b.jpg", "s3"),
    ("https://shop.example/a.jpg", "https"), ("HTTPS://Shop.Example./a.jpg?v=2&width=1000", "https"),
    ("https://shop.example", "https"), ("https://bücher.example/ä b.jpg", "https"), ("https://1.1.1.1/a.jpg", "https"),
    ("https://cdn.example/@scope/a.jpg", "https"), ("https://[2606:4700::1111]:443/a.jpg", "https")])
def test_a_path_and_three_schemes_are_read(image: str, scheme: str) -> None:
    assert check_image(image) == scheme


@pytest.mark.parametrize(("image", "said"), [
    ("", "names no picture"), (" \t", "names no picture"),
    ("http://shop.example/a.jpg", "without encryption. Give its https:// uri"),
    *((uri, "a kind of uri that is not read") for uri in (
        "ftp://shop.example/a.jpg", "data:image/png;base64,AAAA", "javascript:alert(1)", "gopher://shop.example/_x",
        "smb://host/a.jpg", "jar:file:///a!/b", "s3n://bucket/a.jpg", "gs://bucket/a.jpg", "https+file://x/y",
        "https:shop.example/a.jpg", "https:/shop.example/a.jpg", "file:/a.jpg", "s3:bucket/a.jpg", "a:b.jpg",
        "urn:x", "view-source:https://shop.example/")),
    ("//shop.example/a.jpg", "neither a path nor a uri"), (" https://shop.example/a.jpg", "neither a path nor a uri"),
    ("é://shop.example", "neither a path nor a uri"),
    *((image, "control character or a backslash") for image in (
        "a\0b.jpg", "a\nb.jpg", "https://shop.example/\ra.jpg", "C:\\photos\\a.jpg", "https:\\\\shop.example\\a.jpg",
        "\\\\host\\share\\a.jpg", "https://shop.example\\@evil.example/", "s3://bucket/a\\b.jpg", "a\x85b.jpg",
        "\x7f")),
    ("a" * (MOST_CHARACTERS + 1), "has 4097 characters"),
    ("https://shop.example/a.jpg#top", "holds a fragment"), ("file:///a#b.jpg", "holds a fragment"),
    ("file:///a.jpg?x=1", r"holds a query \(\?\). Leave it out; in a file's name write %3F"),
    ("s3://bucket/a.jpg?versionId=3", "holds a query"), ("file://host/a.jpg", "names another host"),
    ("file://127.0.0.1/a.jpg", "names another host"), ("file://", "names another host"),
    ("s3://bucket", "names no object"), ("s3://bucket/", "names no object"), ("s3://bucket//a.jpg", "names no object"),
    ("s3://bucket/in/", "names no object"), ("s3://bucket/in//a.jpg", "empty part"), ("s3://bucket/../a.jpg",
    "empty part"),
    ("s3://bucket/in/../../a.jpg", "empty part"), ("s3://bucket/./a.jpg", "empty part"), ("s3:///a.jpg",
    "not a bucket"),
    ("s3://BUCKET/a.jpg", "not a bucket"), ("s3://127.0.0.1/a.jpg", "not a bucket"), ("s3://bucket:80/a",
    "not a bucket"),
    ("https://", "no full host name"), ("https:///a.jpg", "no full host name"),
    ("https://localhost/", "no full host name"), ("https://" + "a." * 130 + "example/", "no full host name"),
    ("https://shop。example/", "names do not have"), ("https://１.1.1.1/", "names do not have"),
    ("https://ⓢhop.example/", "names do not have"), ("https://user@shop.example/", "a user name or a password"),
    ("s3://user@bucket/a.jpg", "a user name or a password"), ("https://0x7f.1/", "host of numbers"),
    ("https://2130706433/", "host of numbers"),
    ("https://[::1%25lo]/", "one network only"), ("https://shop.example:99999999/", "host and port"),
    ("https://\ud800.example/", "not an https:// url")])
def test_everything_else_is_refused_by_its_text(image: str, said: str) -> None:
    with pytest.raises(SourceError, match=said) as refused:
        check_image(image)
    assert refused.value.field == "image"
    assert "\n" not in str(refused.value)


USER_INFO = [
    f"https://user:{SECRET}@shop.example/a.jpg", f"https://{SECRET}@shop.example/a.jpg",
    f"https://:{SECRET}@shop.example/",
    f"https://user:{SECRET}/pass@shop.example/", f"https://user:pa/{SECRET}@shop.example/a.jpg?x=1",
    f"https://user:{SECRET}?@shop.example/", f"https://user:1#{SECRET}@shop.example/",
    f"https:/u:{SECRET}@shop.example/",
    f"https://user:{SECRET}%40@shop.example/", f"https://u:{SECRET}@a@b.example/", f"HTTPS://U:{SECRET}@SHOP.EXAMPLE/",
    f"http://user:{SECRET}@shop.example/a.jpg", f"ftp://user:{SECRET}@shop.example/a.jpg",
    f"user:{SECRET}@shop.example/a",
    f"s3://AKID:{SECRET}@bucket/a.jpg", f"s3://AKID:12/{SECRET}@bucket/a.jpg", f"file://user:{SECRET}@host/a.jpg",
    f"//user:{SECRET}@shop.example/a.jpg",
    f" https://user:{SECRET}@shop.example/", f"https:\\\\user:{SECRET}@shop.example/", f"\\\\user:{SECRET}@host\\share",
    f"https://user:{SECRET}@shop.example/\n", f"https://user:{SECRET}@" + "a" * 5000, f"https://user:{SECRET}@[::1]/"]
SIGNED = [
    *(f"https://shop.example/a.jpg?v=1&{name}={SECRET}" for name in (
        "X-Amz-Signature", "x-amz-signature", "X-Amz-Credential", "X-Amz-Security-Token", "AWSAccessKeyId", "Signature",
        "X-Goog-Signature", "GoogleAccessId", "sig", "token", "access_token", "auth", "api_key", "apikey", "api-key",
        "key",
        "Key-Pair-Id", "Policy", "OSSAccessKeyId", "x-oss-signature", "q-ak", "q-signature", "hdnea", "__gda__",
        "__token__",
        "password", "client_secret", "session_id", "sid", "jwt", "authorization", "pass", "pwd", "passwd", "code",
        "hdnts", "hdntl", "bearer", "X-Credential", "hmac", "rlkey", "resourcekey", "authkey", "subscription-key",
        "md5", "hm", "oh", "pw", "ticket", "verify", "expires",
        "app_secret", "x-oss-security-token", "X%2DAmz%2DSignature", "%73ig", "to%6ben", "SIG")),
    f"https://shop.example/a.jpg?s={SECRET}0123456789abcdefghijklmnopqrstuv",
    f"https://shop.example/a.jpg;jsessionid={SECRET}", f"https://shop.example/a.jpg?a=1;token={SECRET}",
    f"https://shop.example/a.jpg#access_token={SECRET}", f"s3://bucket/a.jpg?X-Amz-Signature={SECRET}",
    f"http://bucket.s3.amazonaws.com/a.jpg?AWSAccessKeyId={SECRET}", f"shop.example/a.jpg?X-Amz-Signature={SECRET}",
    f"//shop.example/a.jpg?sig={SECRET}", f"file:///a.jpg?sig={SECRET}", f"/photos/a.jpg?sig={SECRET}"]


@pytest.mark.parametrize("image", USER_INFO + SIGNED)
def test_a_uri_that_lets_its_reader_in_is_refused_and_its_secret_never_repeated(image: str) -> None:
    with pytest.raises(SourceError) as refused:
        check_image(image)
    error = refused.value
    assert SECRET.lower() not in f"{error}{error.args}{vars(error)}{error.__cause__!r}".lower()


def test_a_refusal_says_what_to_do_instead() -> None:
    with pytest.raises(SourceError, match=re.escape(
            "image='https://shop.example/a.jpg?***': carries a signature, a token or a key. Put the photo into a "
            "bucket of BACKLOT_INPUT_BUCKETS and give its s3:// uri, or one that needs none")):
        check_image("https://shop.example/a.jpg?X-Amz-Signature=abc")


@pytest.mark.parametrize("query", [
    "width=800&fit=crop", "v=d41d8cd98f00b204e9800998ecf8427e", "v=1616161616", "s=1200x800",
    "name=a-long-name-without-a-number-in-it"])
def test_an_ordinary_query_is_no_secret(query: str) -> None:
    assert check_image(f"https://shop.example/a.jpg?{query}") == "https"


@pytest.mark.parametrize(("image", "shown"), [
    ("https://shop.example/a.jpg?v=1#x", "https://shop.example/a.jpg?***"),
    ("https://cdn.example/@scope/a.jpg", "https://cdn.example/@scope/a.jpg"),
    ("s3://bucket/a@b.jpg", "s3://bucket/a@b.jpg"), ("/photos/what?.jpg", "/photos/what?.jpg"),
    ("/photos/a@b.jpg", "/photos/a@b.jpg"), ("https://u:p@shop.example/a", "https://***@shop.example/a"),
    ("/" + "a" * 400, "/" + "a" * (SHOWN - 1) + "…")])
def test_what_is_no_secret_stays_readable(image: str, shown: str) -> None:
    assert redacted(image) == shown
