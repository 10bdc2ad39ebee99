"""Signature Version 4, as Bedrock's paths of the mock check it."""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime

import httpx2
import pytest

from instance.core.clock import NS_PER_S, FakeClock
from instance.mock_upstream.checking import Refused
from instance.mock_upstream.exchange import Call
from instance.mock_upstream.server import ACCESS_KEY_ID, SECRET_ACCESS_KEY
from instance.mock_upstream.sigv4 import verify
from tests.mock_upstream import MockUpstream
from tests.mock_upstream.talk import bedrock_body

KEYS = {ACCESS_KEY_ID: SECRET_ACCESS_KEY}
PUBLISHED_AT_S = datetime(2015, 8, 30, 12, 36, tzinfo=UTC).timestamp()

# name, method, path, signature: the cases of AWS's published test suite whose signed headers are host and x-amz-date
PUBLISHED = [
    ("get-vanilla", "GET", "/", "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("post-vanilla", "POST", "/", "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b"),
    (
        "get-vanilla-query-order-key-case",
        "GET",
        "/?Param2=value2&Param1=value1",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
]


def published(method: str, path: str, signature: str) -> Call:
    headers = {
        "host": "example.amazonaws.com",
        "x-amz-date": "20150830T123600Z",
        "authorization": (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
            f"SignedHeaders=host;x-amz-date, Signature={signature}"
        ),
    }
    return Call(method, path, headers, b"")


@pytest.mark.parametrize(("name", "method", "path", "signature"), PUBLISHED)
def test_the_published_signatures_hold(name: str, method: str, path: str, signature: str) -> None:
    verify(published(method, path, signature), KEYS, "service", PUBLISHED_AT_S)


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        ({"secret": "other"}, "InvalidSignatureException"),
        ({"path": "/else"}, "InvalidSignatureException"),
        ({"late": 301}, "InvalidSignatureException"),
        ({"service": "bedrock"}, "InvalidSignatureException"),
        ({"key": "AKIDOTHER"}, "UnrecognizedClientException"),
        ({"header": "garbage"}, "IncompleteSignatureException"),
        ({"header": ""}, "MissingAuthenticationTokenException"),
        ({"unsigned": "x"}, "InvalidSignatureException"),
        ({"body": b"x"}, "InvalidSignatureException"),
    ],
)
def test_what_was_changed_after_signing_is_refused(change: dict[str, object], kind: str) -> None:
    call = published("GET", "/", PUBLISHED[0][3])
    secrets = {str(change.get("key", ACCESS_KEY_ID)): str(change.get("secret", SECRET_ACCESS_KEY))}
    call.path = str(change.get("path", "/"))
    call.headers["authorization"] = str(change.get("header", call.headers["authorization"]))
    if "unsigned" in change:
        call.headers["x-amz-security-token"] = "x"
    call.body = bytes(change.get("body", b""))  # type: ignore[call-overload]
    with pytest.raises(Refused) as caught:
        verify(call, secrets, str(change.get("service", "service")), PUBLISHED_AT_S + int(change.get("late", 0)))  # type: ignore[call-overload]
    assert (caught.value.failure.status, caught.value.failure.kind) == (403, kind)


def sign(host: str, wire_path: str, canonical_path: str, body: bytes, stamp: str) -> dict[str, str]:
    """Headers for Bedrock, by the book."""
    scope = f"{stamp[:8]}/us-east-1/bedrock/aws4_request"
    names = "host;x-amz-date"
    request = (
        f"POST\n{canonical_path}\n\nhost:{host}\nx-amz-date:{stamp}\n\n{names}\n{hashlib.sha256(body).hexdigest()}"
    )
    text = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = b"AWS4" + SECRET_ACCESS_KEY.encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    signature = hmac.digest(key, text.encode(), "sha256").hex()
    credential = f"{ACCESS_KEY_ID}/{scope}"
    return {
        "host": host,
        "x-amz-date": stamp,
        "authorization": f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signature}",
    }


@pytest.mark.parametrize(("colon", "status"), [("%253A", 200), ("%3A", 403), (":", 403)])
async def test_the_colon_of_a_model_s_id_is_encoded_twice_where_it_is_signed(colon: str, status: int) -> None:
    clock = FakeClock(int(PUBLISHED_AT_S * NS_PER_S))
    async with MockUpstream(clock=clock) as upstream, httpx2.AsyncClient(base_url=upstream.root) as http:
        path = "/bedrock/model/anthropic.claude-v1%3A0/converse"
        host = upstream.root.removeprefix("http://")
        request = http.build_request("POST", path, json=bedrock_body("hi", False))
        canonical = f"/bedrock/model/anthropic.claude-v1{colon}0/converse"
        request.headers.update(sign(host, path, canonical, request.content, "20150830T123600Z"))
        answer = await http.send(request)
        assert answer.status_code == status, answer.text
        if status == 403:
            assert answer.headers["x-amzn-errortype"].startswith("InvalidSignatureException")
            assert "anthropic.claude-v1%253A0" in answer.json()["message"]
