from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.provider_errors import MESSAGE_MAX_CHARACTERS, ProviderError, classify, read_provider_error, redact


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({"error": {"message": "no", "type": "t", "code": "c", "param": "p"}}, "no"),
        ({"error": "just text"}, "just text"),
        ({"error": "invalid_request", "error_description": "more"}, "more"),
        ({"message": "mistral", "object": "error"}, "mistral"),
        ({"detail": "fastapi"}, "fastapi"),
        ({"detail": [{"loc": ["body", "model"], "msg": "field required"}]}, "body.model: field required"),
        ([{"error": {"message": "google"}}], "google"),
        ({"errors": [{"message": "cloudflare"}]}, "cloudflare"),
        ({"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}, "Overloaded"),
        ({"error": {"message": {"message": "nested"}}}, "nested"),
        ({"message": {"detail": [{"loc": ["body", "n"], "msg": "too many"}]}}, "body.n: too many"),
        ({"title": "Unprocessable", "detail": "version is missing", "status": 422}, "version is missing"),
        ({"fault": {"faultstring": "gateway says no", "detail": {}}}, "gateway says no"),
        ({"error": ["one", "two"]}, "one"),
        (
            {"error": {"message": "Provider returned error", "metadata": {"raw": '{"error":{"message":"slow down"}}'}}},
            "Provider returned error: slow down",
        ),
        ({"unknown": 1}, ""),
        ([], ""),
        ({"error": None}, ""),
    ],
)
def test_json_of_every_provider_is_read(body: Any, message: str) -> None:
    assert read_provider_error(orjson.dumps(body)).message == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", ""),
        (b"upstream connect error", "upstream connect error"),
        (b"<html><head><title>502 Bad Gateway</title></head></html>", "502 Bad Gateway"),
        (b"<!DOCTYPE html><h1>Sorry &amp; bye</h1>", "Sorry & bye"),
        (b'data: {"error": {"message": "in a stream"}}\n\n', "in a stream"),
        (b'event: error\ndata: {"type": "error", "error": {"message": "anthropic"}}\n\n', "anthropic"),
        (b'{"error": {"mess', '{"error": {"mess'),
        (b"<Error><Code>AccessDenied</Code><Message>Not &lt;you&gt;</Message></Error>", "Not <you>"),
        (b"\xff\xfe\x00", "\ufffd\ufffd"),
    ],
)
def test_bodies_that_are_no_json_are_read(body: bytes, message: str) -> None:
    assert read_provider_error(body).message == message


def test_a_page_inside_json_leaves_without_its_markup() -> None:
    body = orjson.dumps({"error": {"message": "<html><title>Bad gateway</title><body>x</body></html>"}})
    assert read_provider_error(body).message == "Bad gateway"


def test_long_messages_are_cut() -> None:
    assert len(read_provider_error(b"x" * 100_000).message) == MESSAGE_MAX_CHARACTERS


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=9),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(
                    [
                        "error",
                        "message",
                        "code",
                        "type",
                        "details",
                        "detail",
                        "param",
                        "innererror",
                        "reason",
                        "status",
                        "msg",
                        "loc",
                    ]
                ),
                inner,
                max_size=4,
            )
        ),
        max_leaves=12,
    )
)
def test_no_json_raises(body: Any) -> None:
    error = read_provider_error(orjson.dumps(body))
    classify(400, error)


@given(st.binary(max_size=300))
def test_no_bytes_raise(body: bytes) -> None:
    read_provider_error(body)
    read_provider_error(b"data: " + body)


def test_a_used_up_quota_without_a_code_is_told_from_a_rate_limit() -> None:
    said = ProviderError("You exceeded your current quota, please check your plan and billing details.")
    assert classify(429, said) == "provider_quota"
    assert classify(429, said, asks_to_wait=True) == "rate_limited"
    assert classify(402, ProviderError("Insufficient Balance")) == "provider_quota"
    assert classify(400, ProviderError("Your credit balance is too low to access the API")) == "provider_quota"


def test_a_bad_key_that_comes_as_a_400_is_still_a_bad_key() -> None:
    assert classify(400, ProviderError("API key not valid.", code="api_key_invalid")) == "provider_auth_failed"


@pytest.mark.parametrize(
    "text",
    [
        "Incorrect API key provided: sk-proj-****************************abcd.",
        "Authorization: Bearer abcdef0123456789",
        "key sk-ant-api03-XXXXXXXX is disabled",
        "gsk_abcdef123456 is bad",
        "AIzaSyA-1234567890 expired",
    ],
)
def test_keys_and_parts_of_keys_are_taken_out(text: str) -> None:
    redacted = redact(text)
    assert "[key]" in redacted
    assert not any(part in redacted for part in ("abcd", "abcdef", "XXXX", "123456", "SyA"))


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("dial tcp 10.0.0.7:8000: refused", "dial tcp [internal address]: refused"),
        ("http://localhost:11434/api down", "[internal address] down"),
        ("http://vllm:8000/v1 down", "[internal address] down"),
        ("http://169.254.169.254/meta", "[internal address]"),
        ("see https://platform.openai.com/docs/errors.", "see https://platform.openai.com/docs/errors."),
        ("gpt-4o at 8.8.8.8", "gpt-4o at 8.8.8.8"),
        ("version 1.2.3", "version 1.2.3"),
    ],
)
def test_internal_addresses_are_taken_out_and_public_ones_stay(text: str, redacted: str) -> None:
    assert redact(text) == redacted


AWS = {b"x-amzn-errortype": b"ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/"}


@pytest.mark.parametrize(
    ("status", "body", "headers", "code"),
    [
        (429, {"message": "Too many requests"}, AWS, "rate_limited"),
        (400, {"message": "quota"}, {b"x-amzn-errortype": b"ServiceQuotaExceededException"}, "rate_limited"),
        (400, {"__type": "com.amazon#ThrottlingException", "message": "slow"}, {}, "rate_limited"),
        (403, {"message": "no"}, {b"x-amzn-errortype": b"AccessDeniedException"}, "provider_auth_failed"),
        (
            404,
            {"error": {"code": "DeploymentNotFound", "message": "There is no such resource."}},
            {},
            "model_not_found",
        ),
        (404, {"error": "model 'llama9' not found, try pulling it first"}, {}, "model_not_found"),
        (402, {"title": "Insufficient credit", "detail": "Top up.", "status": 402}, {}, "provider_quota"),
        (402, {"error": {"message": "Insufficient Balance", "code": "invalid_request_error"}}, {}, "provider_quota"),
        (
            400,
            {
                "type": "error",
                "error": {"type": "invalid_request_error", "message": "prompt is too long: 9 tokens > 8"},
            },
            {},
            "context_length_exceeded",
        ),
        (
            400,
            {
                "error": {
                    "status": "INVALID_ARGUMENT",
                    "message": "API key not valid.",
                    "details": [{"reason": "API_KEY_INVALID"}],
                }
            },
            {},
            "provider_auth_failed",
        ),
        (429, {"message": "You are using a Trial key, which is limited to 40 API calls / minute."}, {}, "rate_limited"),
    ],
)
def test_every_providers_own_names_are_known(status: int, body: Any, headers: dict[bytes, bytes], code: str) -> None:
    assert classify(status, read_provider_error(orjson.dumps(body), headers)) == code


def test_the_field_that_replicate_names_is_the_param() -> None:
    body = {"detail": "- input.size: must be 1024", "invalid_fields": [{"field": "input.size", "type": "enum"}]}
    assert read_provider_error(orjson.dumps(body)).param == "input.size"
