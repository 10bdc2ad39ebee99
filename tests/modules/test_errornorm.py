from typing import Any

import orjson
import pytest
from pydantic import ValidationError

from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.modules.core.errornorm import ErrorNorm
from instance.core.errors import StockyardError, error_body
from tests.modules.exchanges import Script, core, exchange, http_failure, target, trail, whole


async def shaped(failure: CallFailed, x: Exchange | None = None, **settings: Any) -> StockyardError:
    module = ErrorNorm(ErrorNorm.Settings(**settings))
    with pytest.raises(StockyardError) as caught:
        await module.around(x or exchange(), Script(failure))
    return caught.value


async def test_a_good_answer_passes_untouched() -> None:
    answer, x = whole(), exchange()
    assert await ErrorNorm(ErrorNorm.Settings()).around(x, Script(answer)) is answer
    assert x.decisions == []


async def test_anthropic_overloaded_becomes_a_provider_error() -> None:
    body = {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}
    error = await shaped(http_failure(529, body, provider="anthropic"))
    assert (error.code, error.status) == ("provider_error", 502)
    assert "'anthropic' answered 529: Overloaded" in error.message


async def test_gemini_resource_exhausted_is_a_rate_limit_with_retry_after() -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.07s"}
    message = "You exceeded your current quota, please check your plan and billing details."
    body = [{"error": {"code": 429, "message": message, "status": "RESOURCE_EXHAUSTED", "details": [detail]}}]
    error = await shaped(http_failure(429, body))
    assert (error.code, error.status, error.headers["Retry-After"]) == ("rate_limited", 429, "35")


async def test_azure_content_filter_keeps_its_400() -> None:
    body = {
        "error": {
            "message": "The response was filtered",
            "type": None,
            "param": "prompt",
            "code": "content_filter",
            "innererror": {"code": "ResponsibleAIPolicyViolation"},
        }
    }
    error = await shaped(http_failure(400, body))
    assert (error.code, error.status, error.param) == ("content_filter", 400, "prompt")


async def test_a_gateway_page_leaves_without_its_markup() -> None:
    page = b"<html><head><title>502 Bad Gateway</title></head><body><center>nginx/1.25</center></body></html>"
    error = await shaped(http_failure(502, page))
    assert (error.code, error.status) == ("provider_error", 502)
    assert "502 Bad Gateway" in error.message
    assert "<" not in orjson.dumps(error_body(error)).decode()


async def test_a_cut_connection_is_a_502() -> None:
    error = await shaped(CallFailed("reset", target(), reason="closed"))
    assert (error.code, error.status) == ("provider_error", 502)


async def test_an_empty_body_still_says_who_and_what() -> None:
    error = await shaped(http_failure(500))
    assert error.message.startswith("The provider 'openai' answered 500.")
    assert error.details == {"provider": "openai", "status": 500, "attempts": 1}


async def test_the_instances_own_key_refused_is_not_the_callers_fault() -> None:
    for status in (401, 403):
        error = await shaped(
            http_failure(status, {"error": {"message": "Incorrect API key provided: sk-proj-12***9f."}})
        )
        assert (error.code, error.status, error.retryable) == ("provider_auth_failed", 502, False)
        assert "sk-proj" not in error.message


async def test_the_status_for_a_refused_key_is_a_setting() -> None:
    assert (await shaped(http_failure(401), provider_auth_status=424)).status == 424


async def test_a_used_up_account_is_provider_quota_and_not_to_be_repeated() -> None:
    body = {
        "error": {
            "message": "You exceeded your current quota",
            "type": "insufficient_quota",
            "code": "insufficient_quota",
        }
    }
    error = await shaped(http_failure(429, body))
    assert (error.code, error.status, error.retryable) == ("provider_quota", 502, False)


@pytest.mark.parametrize(
    ("status", "body", "code"),
    [
        (400, {"error": {"message": "This model's maximum context length is 8192 tokens."}}, "context_length_exceeded"),
        (404, {"error": {"message": "The model `gpt-9` does not exist", "code": "model_not_found"}}, "model_not_found"),
        (422, {"detail": [{"loc": ["body", "n"], "msg": "must be positive"}]}, "bad_request"),
        (413, b"", "body_too_large"),
        (418, b"teapot", "bad_request"),
    ],
)
async def test_a_providers_4xx_keeps_its_status(status: int, body: Any, code: str) -> None:
    error = await shaped(http_failure(status, body))
    assert (error.code, error.status) == (code, status)


@pytest.mark.parametrize("kind", ["connect_timeout", "timeout_first_token", "timeout_total", "timeout_stream"])
async def test_a_limit_that_struck_is_a_504(kind: str) -> None:
    assert (await shaped(CallFailed(kind, target()))).status == 504


async def test_internal_addresses_are_taken_out() -> None:
    body = {
        "error": {
            "message": "dial tcp 10.1.2.3:8000 via http://vllm.prod.svc:8000/v1 failed, see https://example.com/help"
        }
    }
    error = await shaped(http_failure(500, body))
    assert "10.1.2.3" not in error.message and "vllm" not in error.message
    assert "https://example.com/help" in error.message


async def test_a_key_that_is_stored_here_never_leaves() -> None:
    class Table:
        key_texts = frozenset(("verysecretproviderkey",))

    module = ErrorNorm(ErrorNorm.Settings())
    await module.start(core(providers=Table()), None)
    x = exchange()
    with pytest.raises(StockyardError) as caught:
        await module.around(x, Script(http_failure(400, b"your token verysecretproviderkey is odd")))
    assert "verysecret" not in caught.value.message
    assert b"verysecret" not in x.raw_error


async def test_the_trace_gets_an_excerpt_as_secretscan_allows_it() -> None:
    x = exchange()
    x.state["redact"] = lambda text: text.replace("hunter2", "[SECRET]")
    await shaped(http_failure(400, b"bad password hunter2 " + b"x" * 10_000), x)
    assert x.raw_error.startswith(b"bad password [SECRET] xxx")
    assert len(x.raw_error) == 2048


async def test_the_trail_says_what_came() -> None:
    x = exchange()
    await shaped(http_failure(503), x)
    assert trail(x, "errornorm") == [("error", {"provider": "openai", "raw_status": 503, "code": "provider_error"})]


async def test_retry_after_is_passed_on_in_whole_seconds() -> None:
    error = await shaped(http_failure(429, headers={b"retry-after-ms": b"1200"}))
    assert error.headers["Retry-After"] == "2"


async def test_an_absurd_retry_after_is_cut_to_a_week() -> None:
    error = await shaped(http_failure(429, headers={b"retry-after": b"1e300"}))
    assert error.headers["Retry-After"] == "604800"


async def test_the_providers_own_wish_about_retries_is_passed_on() -> None:
    assert (await shaped(http_failure(500, headers={b"x-should-retry": b"false"}))).retryable is False


async def test_without_hints_and_provider_nothing_of_both_is_said() -> None:
    error = await shaped(http_failure(429), hints=False, include_provider=False)
    assert error.message == "The provider answered 429."
    assert "provider" not in error.details


async def test_own_rules_come_first() -> None:
    rule = {"provider": "open*", "status": 500, "re2": "capacity", "code": "overloaded", "status_out": 503}
    error = await shaped(http_failure(500, b"no capacity left"), map=[rule])
    assert (error.code, error.status) == ("overloaded", 503)
    assert (await shaped(http_failure(500, b"other"), map=[rule])).code == "provider_error"


def test_rules_with_a_bad_pattern_or_an_unknown_code_are_refused() -> None:
    with pytest.raises(ValidationError, match="does not compile"):
        ErrorNorm.Settings.model_validate({"map": [{"re2": "(", "code": "overloaded"}]})
    with pytest.raises(ValidationError, match="did you mean 'overloaded'"):
        ErrorNorm.Settings.model_validate({"map": [{"code": "overload"}]})


async def test_raw_style_gives_the_providers_json_and_its_status() -> None:
    x = exchange()
    module = ErrorNorm(ErrorNorm.Settings(style="raw"))
    answer = await module.around(x, Script(http_failure(400, {"error": {"message": "key: sk-abcdefgh", "odd": 1}})))
    assert answer.status == 400 and x.status == "error"
    assert orjson.loads(answer.body or b"") == {"error": {"message": "key: [key]", "odd": 1}}


async def test_raw_style_shapes_what_is_no_json() -> None:
    assert (await shaped(http_failure(502, b"<html></html>"), style="raw")).code == "provider_error"


async def test_a_failure_in_mid_stream_is_shaped_through_the_exchange() -> None:
    x = exchange(stream=True)
    error = ErrorNorm(ErrorNorm.Settings()).shape(x, CallFailed("truncated", target(), status=200))
    assert error.code == "bad_upstream_response"
