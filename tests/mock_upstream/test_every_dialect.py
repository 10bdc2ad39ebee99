"""One script says the same in every dialect, whole and streamed."""

from __future__ import annotations

import httpx2
import orjson
import pytest

from tests.mock_replies import Reply, failing, status, text, thinking, tools
from tests.mock_upstream import MockUpstream
from tests.mock_upstream.talk import DIALECTS, Dialect, Heard, frames

ALL = pytest.mark.parametrize("name", DIALECTS)
TAKING_TOOLS = pytest.mark.parametrize("name", [name for name in DIALECTS if name != "perplexity"])
ASKS_FOR_USAGE = ("compatible", "openai", "azure")
USAGE = {
    "prompt_tokens": 120,
    "completion_tokens": 30,
    "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 100},
    "completion_tokens_details": {"reasoning_tokens": 10},
}
CALLS = [("weather", {"city": "Oslo"}), ("time", {"city": "Rome"})]


async def whole(http: httpx2.AsyncClient, dialect: Dialect, said: str = "hi there", tools: bool = False) -> Heard:
    answer = await http.post(dialect.path, json=dialect.body(said, tools), headers=dialect.headers)
    assert answer.status_code == 200, answer.text
    return dialect.read(answer.json())


async def streamed(http: httpx2.AsyncClient, name: str, said: str = "hi there", tools: bool = False) -> Heard:
    dialect = DIALECTS[name]
    path, body = dialect.streamed(said, tools)
    if name in ASKS_FOR_USAGE:
        body["stream_options"] = {"include_usage": True}
    answer = await http.post(path, json=body, headers=dialect.headers)
    assert answer.status_code == 200, answer.text
    return dialect.read_stream(answer.content)


@ALL
async def test_without_a_script_the_last_user_text_comes_back_and_a_stream_says_the_same(
    name: str, http: httpx2.AsyncClient
) -> None:
    plain, flowed = await whole(http, DIALECTS[name]), await streamed(http, name)
    assert plain.text == "echo: hi there"
    assert (plain.prompt, plain.completion) == (2, 3)
    assert plain == flowed


@TAKING_TOOLS
async def test_parallel_tool_calls_come_whole_and_in_pieces(
    name: str, http: httpx2.AsyncClient, upstream: MockUpstream
) -> None:
    upstream.script(tools(*CALLS), tools(*CALLS))
    for heard in (await whole(http, DIALECTS[name], tools=True), await streamed(http, name, tools=True)):
        assert [(called, orjson.loads(arguments)) for called, arguments in heard.calls] == CALLS


@TAKING_TOOLS
async def test_a_tool_that_the_user_names_is_called_with_arguments_of_its_schema(
    name: str, http: httpx2.AsyncClient
) -> None:
    heard = await whole(http, DIALECTS[name], "please call time", tools=True)
    assert [(called, orjson.loads(arguments)) for called, arguments in heard.calls] == [("time", {"city": "mock"})]


@ALL
async def test_scripted_usage_is_told_with_what_was_cached(
    name: str, http: httpx2.AsyncClient, upstream: MockUpstream
) -> None:
    upstream.script(text("ok", usage=USAGE), text("ok", usage=USAGE))
    for heard in (await whole(http, DIALECTS[name]), await streamed(http, name)):
        assert (heard.prompt, heard.completion) == (120, 30)
        assert heard.cached == (0 if name == "ollama" else 100)


@ALL
async def test_thinking_comes_before_the_answer(name: str, http: httpx2.AsyncClient, upstream: MockUpstream) -> None:
    upstream.script(thinking("let me see", "done"), thinking("let me see", "done"))
    for heard in (await whole(http, DIALECTS[name]), await streamed(http, name)):
        if name == "perplexity":
            assert heard.text == "<think>\nlet me see\n</think>\n\ndone"
        else:
            assert (heard.reasoning, heard.text) == ("let me see", "done")


FINISHES = {
    "anthropic": "max_tokens",
    "gemini": "MAX_TOKENS",
    "bedrock": "max_tokens",
    "cohere": "MAX_TOKENS",
}


@ALL
async def test_an_end_has_the_provider_s_own_name(name: str, http: httpx2.AsyncClient, upstream: MockUpstream) -> None:
    upstream.script(text("cut", finish="length"), text("cut", finish="length"))
    for heard in (await whole(http, DIALECTS[name]), await streamed(http, name)):
        assert heard.finish == FINISHES.get(name, "length")


@ALL
@pytest.mark.parametrize("code", [400, 401, 403, 404, 429, 500, 529])
async def test_a_scripted_failure_keeps_status_and_message_in_the_provider_s_form(
    name: str, code: int, http: httpx2.AsyncClient, upstream: MockUpstream
) -> None:
    upstream.script(status(code, "no luck today"))
    dialect = DIALECTS[name]
    answer = await http.post(dialect.path, json=dialect.body("hi", False), headers=dialect.headers)
    own = {("gemini", 529): 503, ("bedrock", 529): 503}
    assert answer.status_code == own.get((name, code), code)
    assert dialect.message_of(answer.json()) == "no luck today"


@ALL
async def test_a_body_of_another_dialect_is_a_400_or_422(name: str, http: httpx2.AsyncClient) -> None:
    other = "gemini" if name != "gemini" else "openai"
    dialect = DIALECTS[name]
    answer = await http.post(dialect.path, json=DIALECTS[other].body("hi", False), headers=dialect.headers)
    assert answer.status_code in (400, 422)
    assert dialect.message_of(answer.json())


@ALL
async def test_an_unknown_field_is_refused_and_named(name: str, http: httpx2.AsyncClient) -> None:
    dialect = DIALECTS[name]
    body = {**dialect.body("hi", False), "surprise": 1}
    answer = await http.post(dialect.path, json=body, headers=dialect.headers)
    if name == "compatible":
        assert answer.status_code == 200
        return
    assert answer.status_code in (400, 422)
    assert "surprise" in answer.text


@ALL
async def test_a_call_without_a_key_is_refused(name: str, http: httpx2.AsyncClient) -> None:
    dialect = DIALECTS[name]
    headers = {key: value for key, value in dialect.headers.items() if key == "anthropic-version"}
    answer = await http.post(dialect.path, json=dialect.body("hi", False), headers=headers)
    if name in ("compatible", "ollama"):
        assert answer.status_code == 200
        return
    assert answer.status_code in (401, 403)
    assert dialect.message_of(answer.json())


@ALL
async def test_a_stream_that_fails_midway_ends_with_the_provider_s_error(
    name: str, http: httpx2.AsyncClient, upstream: MockUpstream
) -> None:
    upstream.script(failing(2, 429, "too much", content="one two three four"))
    dialect = DIALECTS[name]
    path, body = dialect.streamed("hi")
    raw = (await http.post(path, json=body, headers=dialect.headers)).content
    assert b"too much" in raw
    assert b"two" in raw and b"three" not in raw
    if name == "bedrock":
        headers, payload = frames(raw)[-1]
        assert headers == {
            ":exception-type": "throttlingException",
            ":content-type": "application/json",
            ":message-type": "exception",
        }
        assert payload == {"message": "too much"}


@ALL
async def test_a_stream_cut_into_single_bytes_says_the_same(
    name: str, http: httpx2.AsyncClient, upstream: MockUpstream
) -> None:
    upstream.script(Reply(text="héllo wörld", slice_bytes=1))
    assert (await streamed(http, name)).text == "héllo wörld"


async def test_the_key_is_found_wherever_a_dialect_carries_it(http: httpx2.AsyncClient, upstream: MockUpstream) -> None:
    for dialect in DIALECTS.values():
        await http.post(dialect.path, json=dialect.body("hi", False), headers=dialect.headers)
        assert upstream.calls[-1].key == "key-1"


RETRY_HEADERS = {
    "openai": {"retry-after": "7", "retry-after-ms": "6500"},
    "anthropic": {"retry-after": "7"},
    "azure": {"retry-after": "7", "retry-after-ms": "6500"},
    "groq": {"retry-after": "7", "x-ratelimit-reset-requests": "6.5s"},
    "mistral": {"retry-after": "7"},
    "together": {"x-ratelimit-reset": "6.5"},
}


@pytest.mark.parametrize("name", RETRY_HEADERS)
async def test_when_to_come_again_is_told_in_the_provider_s_headers(
    name: str, http: httpx2.AsyncClient, upstream: MockUpstream
) -> None:
    upstream.script(status(429, retry_after_s=6.5))
    dialect = DIALECTS[name]
    answer = await http.post(dialect.path, json=dialect.body("hi", False), headers=dialect.headers)
    assert {header: answer.headers[header] for header in RETRY_HEADERS[name]} == RETRY_HEADERS[name]


async def test_gemini_tells_when_to_come_again_in_the_body(http: httpx2.AsyncClient, upstream: MockUpstream) -> None:
    upstream.script(status(429, retry_after_s=6.5))
    dialect = DIALECTS["gemini"]
    answer = await http.post(dialect.path, json=dialect.body("hi", False), headers=dialect.headers)
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "6.5s"}
    assert answer.json()["error"]["details"] == [detail]
    assert answer.json()["error"]["status"] == "RESOURCE_EXHAUSTED"
