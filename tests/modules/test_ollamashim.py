from base64 import b64encode
from typing import Any

import openai
import orjson
import pytest

from instance.core.clock import FakeClock
from instance.mock_upstream.replies import Reply
from instance.mock_upstream.server import MockUpstream
from tests.dialects.ollama.test_answer import line, lines
from tests.modules.conftest import Running, pytest_asyncio_loop_factories, running
from tests.modules.sdk_answers import PNG, TOOLS, pictured, spoken

__all__ = ["pytest_asyncio_loop_factories"]

HI: list[Any] = [{"role": "user", "content": "hi"}]
OLLAMA = "/ollama/"
MODEL = "local/llama3.2"
MISSING = Reply(body=b'{"error":"model \'llama3.2\' not found"}', status=404)
WEATHER = {"function": {"name": "weather", "arguments": {"city": "Oslo"}}}
TIDES = {"function": {"name": "tides", "arguments": {"city": "Bergen"}}}


def provider(mock: MockUpstream) -> str:
    return (
        f'[providers.local]\ntype = "ollama"\nbase_url = "{mock.root}/ollama/v1"\nmodels = ["llama3.2", "all-minilm"]\n'
    )


def ollama(modules: dict[str, Any] | None = None) -> Any:
    return running({"retry": False, **(modules or {})}, providers=provider)


def whole(obj: dict[str, Any]) -> Reply:
    return Reply(body=orjson.dumps(obj))


def ndjson(*objs: dict[str, Any], **more: Any) -> Reply:
    return Reply(body=lines(*objs), content_type="application/x-ndjson", **more)


def scripted(s: Running, streamed: bool, *pieces: dict[str, Any]) -> None:
    """An answer whose last line says, plainly, all that the lines before it say."""
    message: dict[str, Any] = {"role": "assistant", "content": ""}
    for piece in pieces:
        for name, value in piece["message"].items():
            if name != "role":
                message[name] = message.get(name, type(value)()) + value
    s.mock.script(ndjson(*pieces) if streamed else whole({**pieces[-1], "message": message}), path=OLLAMA)


def sent(s: Running) -> dict[str, Any]:
    body: dict[str, Any] = s.mock.calls[-1].json()
    return body


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_long_prompt_gets_a_context_that_holds_it(streamed: bool) -> None:
    async with ollama() as s:
        scripted(s, streamed, line(content="o"), line("stop", content="k"))
        long: list[Any] = [{"role": "user", "content": "word " * 6000}]
        said = await spoken(s, streamed, model=MODEL, messages=long)
        assert (said["content"], said["finish_reason"]) == ("ok", "stop")
        assert said["usage"]["prompt_tokens"] == 26
        body = sent(s)
        assert body["options"]["num_ctx"] == 16384
        assert (body["keep_alive"], body["stream"], s.mock.calls[-1].path) == ("5m", streamed, "/ollama/api/chat")
        scripted(s, streamed, line("stop", content="ok"))
        await spoken(s, streamed, model=MODEL, messages=HI)
        assert sent(s)["options"]["num_ctx"] == 4096


async def test_a_prompt_that_will_be_cut_is_told_in_the_trail() -> None:
    async with ollama({"ollamashim": {"max_ctx": 8192}}) as s:
        scripted(s, False, line("stop", content="ok"))
        raw = await s.sdk().chat.completions.with_raw_response.create(
            model=MODEL, messages=[{"role": "user", "content": "word " * 20000}]
        )
        trail = await s.trail(raw.headers["x-stockyard-trace-id"], "ollamashim")
        assert [action for action, _ in trail] == ["shim", "prompt_cut"]
        assert trail[1][1]["num_ctx"] == sent(s)["options"]["num_ctx"] == 8192


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_whole_round_of_two_tools(streamed: bool) -> None:
    async with ollama() as s:
        scripted(s, streamed, line(tool_calls=[WEATHER, TIDES]), line("stop"))
        said = await spoken(s, streamed, model=MODEL, messages=HI, tools=TOOLS)
        assert said["finish_reason"] == "tool_calls"
        calls = said["tool_calls"]
        assert [call["function"]["name"] for call in calls] == ["weather", "tides"]
        assert [orjson.loads(call["function"]["arguments"]) for call in calls] == [{"city": "Oslo"}, {"city": "Bergen"}]
        assert len({call["id"] for call in calls}) == 2
        history: list[Any] = [*HI, {"role": "assistant", "content": None, "tool_calls": calls}]
        history += [{"role": "tool", "tool_call_id": call["id"], "content": "wet"} for call in calls]
        scripted(s, streamed, line("stop", content="wet"))
        await spoken(s, streamed, model=MODEL, messages=history, tools=TOOLS)
        _, asked, *results = sent(s)["messages"]
        assert asked["tool_calls"] == [WEATHER, TIDES]
        assert [result["tool_name"] for result in results] == ["weather", "tides"]


@pytest.mark.parametrize("inline", [False, True])
async def test_images_arrive_as_base64_wherever_they_were(inline: bool) -> None:
    async with ollama() as s:
        s.mock.script(Reply(body=PNG, content_type="image/png"), path="/picture")
        scripted(s, False, line("stop", content="a cow"))
        url = f"data:image/png;base64,{b64encode(PNG).decode()}" if inline else f"{s.mock.root}/picture"
        await spoken(s, False, model=MODEL, messages=pictured(url))
        assert sent(s)["messages"] == [{"role": "user", "content": "see", "images": [b64encode(PNG).decode()]}]


async def test_a_line_that_comes_in_pieces_is_read() -> None:
    raw = lines(line(content="Grüße, "), line(content="Welt"), line("stop"))
    pieces = [raw[place : place + 7] for place in range(0, len(raw), 7)]
    wire = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-ndjson\r\ntransfer-encoding: chunked\r\n\r\n"
    wire += b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    async with ollama() as s:
        s.mock.script(Reply(wire=wire), path=OLLAMA)
        assert (await spoken(s, True, model=MODEL, messages=HI))["content"] == "Grüße, Welt"


async def test_thinking_and_structured_output() -> None:
    async with ollama() as s:
        scripted(s, True, line(thinking="hm"), line(content="{}"), line("stop"))
        form: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": {"type": "object"}}}
        said = await spoken(s, True, model=MODEL, messages=HI, reasoning_effort="low", response_format=form)
        assert (said["reasoning_content"], said["content"]) == ("hm", "{}")
        assert (sent(s)["think"], sent(s)["format"]) == (True, {"type": "object"})


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, openai.BadRequestError, "bad_request"),
        (401, openai.InternalServerError, "provider_auth_failed"),
        (404, openai.NotFoundError, "model_not_found"),
        (429, openai.RateLimitError, "rate_limited"),
        (500, openai.InternalServerError, "provider_error"),
    ],
)
async def test_errors_have_the_right_class(
    streamed: bool, status: int, error: type[openai.APIStatusError], code: str
) -> None:
    async with ollama() as s:
        s.mock.script(Reply(body=b'{"error":"model not found, or other words"}', status=status), path=OLLAMA)
        with pytest.raises(error, match="other words") as caught:
            await s.sdk().chat.completions.create(model=MODEL, messages=HI, stream=streamed)
        assert caught.value.code == code


async def test_a_line_with_an_error_ends_the_stream() -> None:
    async with ollama() as s:
        s.mock.script(ndjson(line(content="a"), {"error": "out of memory"}), path=OLLAMA)
        with pytest.raises(openai.APIError):
            await spoken(s, True, model=MODEL, messages=HI)


async def test_a_server_that_does_not_run_is_named() -> None:
    config = '[providers.off]\ntype = "ollama"\nbase_url = "http://127.0.0.1:9"\nmodels = ["m"]\n'
    async with running({"retry": False}, config=config) as s:
        with pytest.raises(openai.InternalServerError) as caught:
            await s.sdk().chat.completions.create(model="off/m", messages=HI)
        assert (caught.value.status_code, caught.value.code) == (503, "ollama_unreachable")
        assert "http://127.0.0.1:9" in caught.value.message


PULLED = ndjson(
    {"status": "pulling manifest"},
    {"status": "pulling ab", "total": 200, "completed": 90},
    {"status": "success"},
)


async def test_a_missing_model_is_an_error_unless_it_may_be_pulled() -> None:
    async with ollama() as s:
        s.mock.script(MISSING, path=OLLAMA)
        with pytest.raises(openai.NotFoundError):
            await s.sdk().chat.completions.create(model=MODEL, messages=HI)
        assert len(s.mock.calls) == 1


async def test_a_missing_model_is_pulled_for_a_plain_call() -> None:
    async with ollama({"ollamashim": {"auto_pull": True}}) as s:
        s.mock.script(MISSING, PULLED, whole(line("stop", content="hello")), path=OLLAMA)
        assert (await spoken(s, False, model=MODEL, messages=HI))["content"] == "hello"
        assert [call.path for call in s.mock.calls] == ["/ollama/api/chat", "/ollama/api/pull", "/ollama/api/chat"]
        assert s.mock.calls[1].json() == {"model": "llama3.2", "stream": True}


async def test_a_stream_shows_the_progress_of_a_pull_as_comments() -> None:
    async with ollama({"ollamashim": {"auto_pull": True}}) as s:
        for _ in range(2):
            s.mock.script(MISSING, PULLED, ndjson(line(content="hello"), line("stop")), path=OLLAMA)
        raw = await s.chat("hi", model=MODEL, stream=True)
        assert raw.status_code == 200
        comments = [text for text in raw.text.split("\n\n") if text.startswith(":")]
        assert comments == [
            ": pulling llama3.2: pulling manifest",
            ": pulling llama3.2: 45 %",
            ": pulling llama3.2: success",
        ]
        assert raw.text.rstrip().endswith("data: [DONE]")
        assert (await spoken(s, True, model=MODEL, messages=HI))["content"] == "hello"
        trace = await s.trace(raw.headers["x-stockyard-trace-id"])
        assert (trace["status"], trace["tokens_in"], trace["provider"]) == ("ok", 26, "local")


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_model_that_cannot_be_pulled_is_an_error(streamed: bool) -> None:
    async with ollama({"ollamashim": {"auto_pull": True}}) as s:
        s.mock.script(MISSING, ndjson({"error": "pull model manifest: file does not exist"}), path=OLLAMA)
        with pytest.raises(openai.APIError, match="could not be pulled"):
            await spoken(s, streamed, model=MODEL, messages=HI)


async def test_a_model_that_loads_has_more_time_for_its_first_token() -> None:
    slow = {"timeout": {"first_token_s": 0.2}}
    async with ollama({**slow, "ollamashim": {"load_timeout_s": 20}}) as s:
        s.mock.script(Reply(body=orjson.dumps(line("stop", content="hello")), delay_s=0.5), path=OLLAMA)
        assert (await spoken(s, False, model=MODEL, messages=HI))["content"] == "hello"
        s.mock.script(Reply(body=orjson.dumps(line("stop", content="hello")), delay_s=0.5), path=OLLAMA)
        with pytest.raises(openai.APIStatusError) as caught:
            await spoken(s, False, model=MODEL, messages=HI)
        assert caught.value.code == "timeout_first_token"


async def test_a_model_is_forgotten_when_it_is_not_kept_any_longer() -> None:
    async with ollama() as s:
        scripted(s, False, line("stop", content="hello"))
        await spoken(s, False, model=MODEL, messages=HI)
        shim = s.module("ollamashim")
        target = s.instance.chute.providers.resolve(MODEL)[0]
        assert shim._is_loaded(target)
        clock = FakeClock()
        shim._clock = clock
        shim._say_loaded(target)
        clock.advance(299)
        assert shim._is_loaded(target)
        clock.advance(2)
        assert not shim._is_loaded(target)


async def test_embeddings() -> None:
    async with ollama() as s:
        s.mock.script(whole({"model": "all-minilm", "embeddings": [[0.5], [1.5]], "prompt_eval_count": 4}), path=OLLAMA)
        got = await s.sdk().embeddings.create(model="local/all-minilm", input=["a", "b"], encoding_format="base64")
        assert s.mock.calls[-1].path == "/ollama/api/embed"
        assert got.usage.prompt_tokens == 4
        assert len(got.data) == 2


async def test_switched_off_the_openai_compatible_part_is_called() -> None:
    message = {"role": "assistant", "content": "hello"}
    obj = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": []}
    obj["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
    async with ollama({"ollamashim": False}) as s:
        s.mock.script(whole(obj), path="/ollama/v1/chat/completions")
        assert (await spoken(s, False, model=MODEL, messages=HI))["content"] == "hello"


@pytest.mark.parametrize("config", [{"keep_alive": "soon"}, {"base_url": "localhost"}, {"min_ctx": 1}])
async def test_settings_that_cannot_be_are_refused(config: dict[str, Any]) -> None:
    async with ollama() as s:
        raw = await s.http(s.admin_key).put("/api/proxy/modules/ollamashim", json={"enabled": True, "config": config})
        assert raw.status_code == 422
