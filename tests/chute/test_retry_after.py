import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.retry_after import read_duration, retry_after_s

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3", 3.0),
        ("1.5", 1.5),
        ("-1", 0.0),
        ("20s", 20.0),
        ("6m0s", 360.0),
        ("1h2m3.5s", 3723.5),
        ("120ms", 0.12),
        ("1700000060", 60.0),
        ("Tue, 14 Nov 2023 22:13:50 GMT", 30.0),
        ("Tue, 14 Nov 2023 22:13:00 GMT", 0.0),
        ("2023-11-14T22:13:25Z", 5.0),
        ("2023-11-14T22:13:25.250000+00:00", 5.25),
        ("soon", None),
        ("", None),
        ("nan", None),
        ("inf", None),
        ("5 apples", None),
    ],
)
def test_every_form_of_a_duration_is_read(text: str, seconds: float | None) -> None:
    assert read_duration(text, NOW) == seconds


@given(st.text(max_size=40))
def test_no_text_raises(text: str) -> None:
    assert read_duration(text, NOW) is None or read_duration(text, NOW) >= 0  # type: ignore[operator]


@given(st.binary(max_size=200))
def test_no_body_raises(body: bytes) -> None:
    retry_after_s(429, {b"retry-after": body[:20]}, b'{"retryDelay":' + body)


def test_milliseconds_go_before_seconds() -> None:
    assert retry_after_s(429, {b"retry-after": b"2", b"retry-after-ms": b"1500"}) == 1.5


def test_the_reset_of_a_used_up_limit_counts_and_that_of_another_does_not() -> None:
    headers = {
        b"x-ratelimit-reset-requests": b"1s",
        b"x-ratelimit-remaining-requests": b"0",
        b"x-ratelimit-reset-tokens": b"6m0s",
        b"x-ratelimit-remaining-tokens": b"149984",
    }
    assert retry_after_s(429, headers) == 1.0
    assert retry_after_s(500, headers) is None


def test_googles_retry_delay_is_found_in_the_body() -> None:
    body = b'[{"error": {"details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.5s"}]}}]'
    assert retry_after_s(429, {}, body) == 34.5


@pytest.mark.parametrize(
    ("words", "seconds"),
    [
        ("Please try again in 20s.", 20.0),
        ("try again in 1m12s", 72.0),
        ("Please retry after 86 seconds.", 86.0),
        ("Try again in 350ms", 0.35),
    ],
)
def test_a_wait_in_words_is_understood(words: str, seconds: float) -> None:
    assert retry_after_s(
        429, {}, b'{"error": {"message": "Rate limit reached. ' + words.encode() + b'"}}'
    ) == pytest.approx(seconds)


def test_nothing_said_is_nothing() -> None:
    assert retry_after_s(503, {}, b"<html>") is None


def test_replicate_openrouter_and_azure_say_it_their_own_way() -> None:
    throttled = b'{"detail":"Request was throttled. Expected available in 12 seconds.","status":429}'
    assert retry_after_s(429, {}, throttled) == 12
    assert retry_after_s(429, {}, b'{"detail":"slow down","retry_after":7}') == 7
    reset = b'{"error":{"metadata":{"headers":{"X-RateLimit-Reset":"1700000030000"}}}}'
    assert retry_after_s(429, {}, reset, 1_700_000_000.0) == 30
    assert retry_after_s(429, {b"x-ms-retry-after-ms": b"1500"}) == 1.5
