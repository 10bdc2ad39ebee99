"""What the official SDK's callers see when a provider fails."""

import asyncio

import openai
import pytest

from tests.mock_replies import Reply, chunks, drop, garbage, hang_up, html, status, text, truncated_json
from tests.mock_upstream import MockUpstream
from tests.modules.conftest import Running, running

ONE_ATTEMPT = {"retry": False}


async def failed(s: Running, *replies: Reply) -> openai.APIStatusError:
    s.mock.script(*replies)
    with pytest.raises(openai.APIStatusError) as caught:
        await s.sdk().chat.completions.create(model=s.model, messages=[{"role": "user", "content": "hi"}])
    return caught.value


async def test_the_sdk_raises_the_right_class_with_our_code_and_a_request_id() -> None:
    quota = b'{"error": {"message": "no credit", "type": "insufficient_quota", "code": "insufficient_quota"}}'
    filtered = b'{"error": {"message": "filtered", "code": "content_filter"}}'
    exhausted = b'[{"error": {"code": 429, "message": "slow", "status": "RESOURCE_EXHAUSTED", "details": [{"retryDelay": "3s"}]}}]'
    cases: list[tuple[Reply, type[openai.APIStatusError], int, str]] = [
        (status(529), openai.InternalServerError, 502, "provider_error"),
        (Reply(status=429, body=exhausted), openai.RateLimitError, 429, "rate_limited"),
        (Reply(status=400, body=filtered), openai.BadRequestError, 400, "content_filter"),
        (html(502), openai.InternalServerError, 502, "provider_error"),
        (hang_up(), openai.InternalServerError, 502, "provider_error"),
        (garbage(), openai.InternalServerError, 502, "bad_upstream_response"),
        (truncated_json(), openai.InternalServerError, 502, "bad_upstream_response"),
        (drop(20), openai.InternalServerError, 502, "bad_upstream_response"),
        (Reply(body=b"[]"), openai.InternalServerError, 502, "bad_upstream_response"),
        (status(401), openai.InternalServerError, 502, "provider_auth_failed"),
        (Reply(status=429, body=quota), openai.InternalServerError, 502, "provider_quota"),
        (status(404), openai.NotFoundError, 404, "not_found"),
        (status(422), openai.UnprocessableEntityError, 422, "bad_request"),
        (Reply(status=500, body=b""), openai.InternalServerError, 502, "provider_error"),
        (Reply(status=302, body=b"", headers={"location": "/x"}), openai.InternalServerError, 502, "provider_error"),
    ]
    async with running(ONE_ATTEMPT) as s:
        for reply, kind, code, ours in cases:
            s.instance.chute.upstream.close_idle()
            error = await failed(s, reply)
            assert (type(error), error.status_code, error.code) == (kind, code, ours), reply
            assert error.request_id is not None and error.request_id.startswith("req_")
            assert "<html" not in error.response.text


async def test_retry_after_reaches_the_caller() -> None:
    async with running(ONE_ATTEMPT) as s:
        error = await failed(s, status(429, headers={"retry-after": "7"}))
    assert error.response.headers["retry-after"] == "7"


async def test_the_sdk_does_not_repeat_what_repeating_cannot_cure() -> None:
    async with running(ONE_ATTEMPT) as s:
        s.mock.script(status(401), text("never asked for"))
        with pytest.raises(openai.InternalServerError):
            await s.sdk(max_retries=2).chat.completions.create(
                model=s.model, messages=[{"role": "user", "content": "hi"}]
            )
        assert len(s.mock.calls) == 1


async def test_the_trace_says_what_came() -> None:
    async with running(ONE_ATTEMPT) as s:
        error = await failed(s, html(502))
        trace = await s.trace(error.response.headers["x-stockyard-trace-id"])
        assert trace["error"]["code"] == "provider_error"
        assert "Bad gateway" in trace["error"]["upstream_excerpt"]
        assert trace["attempts"][0]["status"] == 502
        error_notes = [entry["detail"] for entry in trace["decisions"] if entry["module"] == "errornorm"]
        assert error_notes == [{"provider": "up", "raw_status": 502, "code": "provider_error"}]


async def streamed(s: Running, *replies: Reply) -> tuple[str, openai.APIError]:
    s.mock.script(*replies)
    said = ""
    with pytest.raises(openai.APIError) as caught:
        stream = await s.sdk().chat.completions.create(
            model=s.model, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        async for chunk in stream:
            said += chunk.choices[0].delta.content or ""
    return said, caught.value


async def test_a_stream_that_fails_before_its_first_content_is_a_plain_error() -> None:
    async with running(ONE_ATTEMPT) as s:
        said, error = await streamed(s, status(500))
    assert said == "" and isinstance(error, openai.InternalServerError)


async def test_a_stream_that_is_cut_gives_its_text_and_then_an_error_event() -> None:
    async with running(ONE_ATTEMPT) as s:
        said, error = await streamed(s, Reply(pieces=["one ", "two ", "three "], drop_after=2))
    assert said == "one two "
    assert error.code == "bad_upstream_response"
    assert "'up'" in error.message


ERROR_EVENT = b'data: {"error": {"message": "Overloaded, key sk-abcdefghijkl", "type": "overloaded_error"}}\n\n'
CONTENT_EVENT = b'data: {"choices": [{"index": 0, "delta": {"content": "one "}, "finish_reason": null}]}\n\n'


async def test_a_providers_error_event_in_mid_stream_gets_our_shape() -> None:
    passed_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n" + CONTENT_EVENT)
        await passed_on.wait()
        writer.write(ERROR_EVENT)
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    config = f'[providers.odd]\nbase_url = "http://127.0.0.1:{port}"\napi_key = "odd-key-1"\nmodels = ["m"]\n'
    async with server, running(ONE_ATTEMPT, config=config) as s:
        stream = await s.sdk().chat.completions.create(
            model="odd/m", messages=[{"role": "user", "content": "hi"}], stream=True
        )
        chunks = aiter(stream)
        assert (await anext(chunks)).choices[0].delta.content == "one "
        passed_on.set()
        with pytest.raises(openai.APIError) as caught:
            await anext(chunks)
        trace = await s.trace(stream.response.headers["x-stockyard-trace-id"])
    assert caught.value.code == "provider_error"
    assert "Overloaded" in caught.value.message and "sk-abc" not in caught.value.message
    assert (trace["status"], trace["error"]["code"]) == ("error", "provider_error")


async def test_a_good_stream_passes_whole() -> None:
    async with running() as s:
        s.mock.script(chunks(["one ", "two"]))
        stream = await s.sdk().chat.completions.create(
            model=s.model, messages=[{"role": "user", "content": "hi"}], stream=True
        )
        assert "".join([chunk.choices[0].delta.content or "" async for chunk in stream]) == "one two"


DIALECTS = ("anthropic", "gemini", "cohere", "ollama", "azure", "mistral", "groq", "deepseek")
SAY_HOW_LONG = ("anthropic", "gemini", "azure", "mistral", "groq")
"""Those of them that say with a 429 how long to wait: in a header, or as Google's `retryDelay`."""


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("dialect", DIALECTS)
async def test_providers_say_it_in_their_own_words_and_callers_read_it_in_one_shape(dialect: str, stream: bool) -> None:
    waits = "7" if dialect in SAY_HOW_LONG else None
    cases: list[tuple[Reply, type[openai.APIStatusError], str, str | None]] = [
        (status(429, "slow down", retry_after_s=7), openai.RateLimitError, "rate_limited", waits),
        (status(401, "bad key"), openai.InternalServerError, "provider_auth_failed", None),
        (status(400, "temperature is too high"), openai.BadRequestError, "bad_request", None),
        (status(503, "overloaded"), openai.InternalServerError, "provider_error", None),
    ]
    async with MockUpstream() as mock:
        row = f'[providers.own]\ntype = "{dialect}"\nbase_url = "{mock.at(dialect)}"\napi_key = "a-key-of-the-tests"\n'
        async with running({**ONE_ATTEMPT, "circuitbreaker": False}, config=row) as s:
            s.model = "own/small"
            for reply, kind, code, retry_after in cases:
                mock.script(reply)
                with pytest.raises(kind) as caught:
                    await s.sdk().chat.completions.create(
                        model=s.model, messages=[{"role": "user", "content": "hi"}], stream=stream, max_tokens=50
                    )
                error = caught.value
                assert error.code == code
                assert error.response.headers.get("retry-after") == retry_after
                assert error.request_id is not None and error.request_id.startswith("req_")
                assert error.response.json()["error"]["details"]["provider"] == "own"
