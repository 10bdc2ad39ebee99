"""The official SDK's `completions` against an instance, over a provider that has them and over one of chat only."""

from typing import Any

import openai
import orjson
import pytest

from instance.chute.answer import DONE
from instance.chute.stream import encode_event
from tests.mock_replies import Reply, chunks, drop, status
from tests.mock_upstream import until
from tests.modules.conftest import Running, pytest_asyncio_loop_factories, running

__all__ = ["pytest_asyncio_loop_factories"]

NATIVE = "up/small"
CHAT = "moonshot/lean"
"""A provider of chat only."""
BOTH = pytest.mark.parametrize("model", [CHAT, NATIVE])


def chat_only(mock: Any) -> str:
    return f'[providers.moonshot]\nbase_url = "{mock.url}"\napi_key = "other-key-1"\nmodels = ["lean"]\n'


def instance(modules: Any = None, **more: Any) -> Any:
    return running(modules, providers=chat_only, **more)


def last_path(s: Running) -> str:
    return s.mock.calls[-1].path


@BOTH
async def test_a_whole_completion(model: str) -> None:
    async with instance() as s:
        raw = await s.sdk().completions.with_raw_response.create(model=model, prompt="hi there", max_tokens=9)
        answer = raw.parse()
        assert answer.object == "text_completion"
        assert "hi there" in answer.choices[0].text
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
        assert last_path(s) == ("/v1/completions" if model == NATIVE else "/v1/chat/completions")
        trace = await s.trace(raw.headers["x-stockyard-trace-id"])
        assert (trace["operation"], trace["dialect_in"]) == ("completion", "openai.completions")
        assert trace["dialect_out"] == ("openai.completions" if model == NATIVE else "openai.chat")
        assert trace["tokens_out"] == answer.usage.completion_tokens


@BOTH
@pytest.mark.parametrize("usage", [False, True])
async def test_a_streamed_completion(model: str, usage: bool) -> None:
    async with instance() as s:
        more: Any = {"stream_options": {"include_usage": True}} if usage else {}
        stream = await s.sdk().completions.create(model=model, prompt="hi there", stream=True, **more)
        made = [chunk async for chunk in stream]
        assert "hi there" in "".join(chunk.choices[0].text for chunk in made if chunk.choices)
        assert {chunk.object for chunk in made} == {"text_completion"}
        assert [chunk.choices[0].finish_reason for chunk in made if chunk.choices][-1] == "stop"
        assert (made[-1].usage is not None) == usage
        assert all(chunk.choices for chunk in made[: -1 if usage else None])
        (trace,) = await s.recent_traces(1)
        assert trace["tokens_out"] > 0
        assert trace["usage_source"] == "reported" if "usage_source" in trace else True


async def test_a_streamed_answer_that_a_module_asks_for_whole() -> None:
    route = {"name": "two", "targets": [NATIVE, CHAT], "strategy": "longest"}
    async with instance({"multicall": {"routes": [route]}}) as s:
        options = {"stream": True, "stream_options": {"include_usage": True}}
        made = await s.sdk().completions.create(model="multi:two", prompt="hi there", **options)
        assert "".join([chunk.choices[0].text async for chunk in made if chunk.choices]) == "echo: hi there"
        assert sorted(call.path for call in s.mock.calls) == ["/v1/chat/completions", "/v1/completions"]
        assert not [name for call in s.mock.calls for name in call.json() if name.startswith("stream")]


@BOTH
async def test_several_choices(model: str) -> None:
    async with instance() as s:
        answer = await s.sdk().completions.create(model=model, prompt="hi", n=2)
        assert [choice.index for choice in answer.choices] == [0, 1]


async def test_what_only_the_endpoint_itself_can_do() -> None:
    async with instance() as s:
        cases: list[tuple[Any, str]] = [
            ({"prompt": ["a", "b"]}, "prompt"),
            ({"prompt": [1, 2, 3]}, "prompt"),
            ({"prompt": "a", "suffix": "z"}, "suffix"),
            ({"prompt": "a", "echo": True}, "echo"),
        ]
        for body, param in cases:
            with pytest.raises(openai.BadRequestError) as caught:
                await s.sdk().completions.create(model=CHAT, **body)
            assert (caught.value.code, caught.value.param) == ("not_supported", param)
            assert not s.mock.calls
        for body, _ in cases:
            await s.sdk().completions.create(model=NATIVE, **body)
            assert {name: s.mock.calls[-1].json()[name] for name in body} == body
            s.mock.calls.clear()


async def test_what_nothing_changed_goes_out_byte_for_byte() -> None:
    async with instance() as s:
        body = b'{ "prompt":"hi" ,"model":"small",  "max_tokens":7}'
        answer = await s.http().post("/v1/completions", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 200
        assert s.mock.calls[-1].body == body


SECRET = "AKIA" + "QZ7X3M5LN2WVB4TD"


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_what_secretscan_redacts_leaves_neither_here_nor_at_the_provider(model: str, stream: bool) -> None:
    async with instance({"secretscan": {"action": "redact"}}) as s:
        body = {"model": model, "prompt": f"my key is {SECRET} ok", "stream": stream}
        answer = await s.http().post("/v1/completions", json=body)
        assert answer.status_code == 200
        assert SECRET not in s.mock.calls[-1].body.decode()
        assert last_path(s) == ("/v1/completions" if model == NATIVE else "/v1/chat/completions")
        s.mock.script(chunks(["the key ", SECRET[:9], SECRET[9:], " it is"]))
        answer = await s.http().post("/v1/completions", json={**body, "prompt": "say it"})
        assert SECRET not in answer.text
        assert SECRET[9:] not in answer.text
        assert "[SECRET:" in answer.text


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_errors_arrive_as_the_sdks_own_classes(model: str, stream: bool) -> None:
    async with instance({"retry": False}) as s:
        for code, kind in (
            (400, openai.BadRequestError),
            (429, openai.RateLimitError),
            (500, openai.InternalServerError),
        ):
            s.mock.script(status(code, "no", {"retry-after": "60"}))
            with pytest.raises(kind):
                await s.sdk().completions.create(model=model, prompt="hi", stream=stream)


@BOTH
async def test_a_stream_that_breaks_off_ends_with_an_error(model: str) -> None:
    async with instance({"retry": False}) as s:
        s.mock.script(drop(2, "one two three four five"))
        with pytest.raises(openai.APIError):
            async for _ in await s.sdk().completions.create(model=model, prompt="hi", stream=True):
                pass
        (trace,) = await s.recent_traces(1)
        assert trace["status"] == "error"


@BOTH
async def test_a_caller_who_leaves_ends_the_call_at_the_provider(model: str) -> None:
    async with instance() as s:
        s.mock.script(chunks(["word "] * 200, piece_delay_s=0.05))
        stream = await s.sdk().completions.create(model=model, prompt="hi", stream=True)
        async for _ in stream:
            break
        await stream.close()
        call = s.mock.calls[-1]
        await until(lambda: call.hung_up)
        await until(lambda: s.instance.chute.in_flight == 0)
        (trace,) = await s.recent_traces(1)
        assert trace["status"] == "cancelled"


async def test_the_built_in_model_completes_too() -> None:
    async with instance() as s:
        answer = await s.sdk().completions.create(model="mock/gpt", prompt="hi")
        assert answer.choices[0].text == "echo: hi"
        stream = await s.sdk().completions.create(model="mock/gpt", prompt="hi", stream=True)
        assert "".join([chunk.choices[0].text async for chunk in stream]) == "echo: hi"


async def test_a_cached_completion_is_one() -> None:
    async with instance({"cachelayer": True}) as s:
        for model in (CHAT, NATIVE):
            first = await s.sdk().completions.create(model=model, prompt="hi")
            again = await s.sdk().completions.with_raw_response.create(model=model, prompt="hi")
            assert again.headers["x-stockyard-cache"] == "hit"
            assert again.parse().choices[0].text == first.choices[0].text
            assert again.parse().object == "text_completion"


async def test_two_prompts_of_token_ids_do_not_share_an_answer() -> None:
    async with instance({"cachelayer": True}) as s:
        for prompt in ([1, 2, 3], [4, 5, 6]):
            raw = await s.sdk().completions.with_raw_response.create(model=NATIVE, prompt=prompt)
            assert raw.headers["x-stockyard-cache"] == "bypass"
        assert len(s.mock.calls) == 2


async def test_of_several_prompts_each_stream_is_looked_at_to_its_own_end() -> None:
    async with instance({"secretscan": {"action": "redact"}}) as s:
        blocks = []
        for index, text, finish in (
            (0, "fine", None),
            (1, "the key " + SECRET[:9], None),
            (0, "", "stop"),
            (1, SECRET[9:] + " it is", None),
            (1, "", "stop"),
        ):
            choice = {"text": text, "index": index, "logprobs": None, "finish_reason": finish}
            blocks.append(
                encode_event(
                    {"id": "cmpl-1", "object": "text_completion", "created": 7, "model": "m", "choices": [choice]}
                )
            )
        s.mock.script(Reply(body=b"".join(blocks) + DONE, content_type="text/event-stream"))
        answer = await s.http().post("/v1/completions", json={"model": NATIVE, "prompt": ["a", "b"], "stream": True})
        texts = ["", ""]
        for line in answer.text.splitlines():
            if line.startswith("data: {"):
                for choice in orjson.loads(line[6:])["choices"]:
                    texts[choice["index"]] += choice["text"]
        assert texts[0] == "fine"
        assert texts[1].startswith("the key [SECRET:")
        assert texts[1].endswith(" it is")
        assert SECRET[:9] not in answer.text
        assert SECRET[9:] not in answer.text
        assert answer.text.endswith("data: [DONE]\n\n")
