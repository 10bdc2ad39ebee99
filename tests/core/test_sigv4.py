"""The signer against AWS's published Signature Version 4 test suite (its requests, its signatures)."""

from datetime import UTC, datetime

import pytest

from instance.core.sigv4 import Credentials, canonical_path, signed_headers

EXAMPLE = Credentials("AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")
TOKEN = "6e86291e8372ff2a2260956d9b8aae1d763fbf315fa00fa31553b73ebf194267"
AT = datetime(2015, 8, 30, 12, 36, tzinfo=UTC)
HOST = ("Host", "example.amazonaws.com")

VECTORS = {
    "get-vanilla": (
        ("GET", "/", "", [HOST], b""),
        "host;x-amz-date",
        "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31",
    ),
    "post-vanilla": (
        ("POST", "/", "", [HOST], b""),
        "host;x-amz-date",
        "5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b",
    ),
    "get-utf8": (
        ("GET", "/ሴ", "", [HOST], b""),
        "host;x-amz-date",
        "8318018e0b0f223aa2bbf98705b62bb787dc9c0e678f255a891fd03141be5d85",
    ),
    "get-space-normalized": (
        ("GET", "/example space/", "", [HOST], b""),
        "host;x-amz-date",
        "652487583200325589f1fba4c7e578f72c47cb61beeca81406b39ddec1366741",
    ),
    "get-vanilla-query-order-key-case": (
        ("GET", "/", "Param2=value2&Param1=value1", [HOST], b""),
        "host;x-amz-date",
        "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500",
    ),
    "get-header-value-trim": (
        ("GET", "/", "", [HOST, ("My-Header1", " value1"), ("My-Header2", ' "a   b   c"')], b""),
        "host;my-header1;my-header2;x-amz-date",
        "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736",
    ),
    "post-x-www-form-urlencoded": (
        (
            "POST",
            "/",
            "",
            [
                ("Content-Type", "application/x-www-form-urlencoded"),
                HOST,
                ("Content-Length", "13"),
                ("x-amz-content-sha256", "9095672bbd1f56dfc5b65f3e153adc8731a4a654192329106275f4c7b24d0b6e"),
            ],
            b"Param1=value1",
        ),
        "content-length;content-type;host;x-amz-content-sha256;x-amz-date",
        "d3875051da38690788ef43de4db0d8f280229d82040bfac253562e56c3f20e0b",
    ),
}


@pytest.mark.parametrize("name", VECTORS)
def test_the_signature_is_the_published_one(name: str) -> None:
    (method, path, query, headers, body), names, signature = VECTORS[name]
    made = signed_headers(
        EXAMPLE,
        method=method,
        path=path,
        query=query,
        headers=headers,
        body=body,
        region="us-east-1",
        service="service",
        at=AT,
    )
    assert dict(made) == {
        "x-amz-date": "20150830T123600Z",
        "authorization": (
            "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
            f"SignedHeaders={names}, Signature={signature}"
        ),
    }


def test_a_sessions_token_is_signed_too() -> None:
    made = dict(
        signed_headers(
            Credentials(EXAMPLE.access_key, EXAMPLE.secret_key, TOKEN),
            method="GET",
            path="/",
            headers=[HOST],
            body=b"",
            region="us-east-1",
            service="service",
            at=AT,
        )
    )
    assert made["x-amz-security-token"] == TOKEN
    assert made["authorization"].endswith(
        "SignedHeaders=host;x-amz-date;x-amz-security-token, "
        "Signature=07ec1639c89043aa0e3e2de82b96708f198cceab042d4a97044c66dd9f74e7f8"
    )


def test_what_is_encoded_on_the_wire_is_encoded_once_more() -> None:
    path = "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ax%2Fy-v1%3A0/converse"
    expected = "/model/arn%253Aaws%253Abedrock%253Aus-east-1%253A1%253Ax%252Fy-v1%253A0/converse"
    assert canonical_path(path) == expected


def test_dots_and_doubled_slashes_are_resolved() -> None:
    assert [canonical_path(path) for path in ("", "/", "//", "/./", "/a/../b", "//a//b/", "/a/..")] == [
        "/",
        "/",
        "/",
        "/",
        "/b",
        "/a/b/",
        "/",
    ]


def test_credentials_do_not_show_their_secrets() -> None:
    shown = repr(Credentials("AKID", "very-secret", "token-secret"))
    assert "secret" not in shown.replace("secret_key", "")
