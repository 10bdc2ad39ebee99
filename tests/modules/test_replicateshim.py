import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import openai
import orjson
import pytest

from instance.core.clock import Clock
from instance.mock_upstream.replies import Reply, stall
from instance.mock_upstream.server import MockUpstream, until
from tests.modules.conftest import Running, pytest_asyncio_loop_factories, running
from tests.modules.sdk_answers import PNG, TOOLS, pictured, spoken

__all__ = ["pytest_asyncio_loop_factories"]

HI: list[Any] = [{"role": "user", "content": "hi"}]
MODEL = "rep/meta/llama"
PLACE = "/played/v1"
"""Where a Replicate is played answer by answer."""
INPUTS = {
    "prompt": {"type": "string"},
    "system_prompt": {"type": "string"},
    "max_new_tokens": {"type": "integer", "minimum": 1, "maximum": 512},
    "temperature": {"type": "number"},
}
IMAGE_INPUTS = {
    "prompt": {"type": "string"},
    "aspect_ratio": {"type": "string", "enum": ["1:1", "16:9", "4:3"]},
    "output_format": {"type": "string", "enum": ["webp", "jpg", "png"]},
}
METRICS = {"predict_time": 0.5, "input_token_count": 3, "output_token_count": 4}


class QuickClock(Clock):
    """Sleeps at once, and remembers for how long."""

    def __init__(self) -> None:
        self.slept: list[float] = []

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        await asyncio.sleep(0)


def provider(mock: MockUpstream) -> str:
    return (
        f'[providers.rep]\ntype = "replicate"\nbase_url = "{mock.root}{PLACE}"\napi_key = "r8-key-1"\n'
        'models = ["meta/llama", "a/b:v9", "black-forest-labs/flux"]\n'
    )


def replicate(modules: dict[str, Any] | None = None) -> Any:
    return running({"retry": False, **(modules or {})}, providers=provider)


def reply(obj: Any, status: int = 200, **more: Any) -> Reply:
    return Reply(body=orjson.dumps(obj), status=status, **more)


def described(s: Running, inputs: dict[str, Any] = INPUTS, path: str = "/models/meta/llama") -> None:
    """The model's description, asked for once."""
    openapi = {"components": {"schemas": {"Input": {"type": "object", "properties": inputs}}}}
    s.mock.script(reply({"latest_version": {"id": "v1", "openapi_schema": openapi}}), path=PLACE + path)


def prediction(s: Running, status: str, output: Any = None, *, stream: bool = False, **more: Any) -> dict[str, Any]:
    base = f"{s.mock.root}{PLACE}/predictions/p1"
    urls = {"get": base, "cancel": f"{base}/cancel"}
    if stream:
        urls["stream"] = f"{s.mock.root}{PLACE}/stream/p1?token=t"
    return {"id": "p1", "version": "v1", "status": status, "output": output, "urls": urls, **more}


def played(s: Running, *answers: dict[str, Any], created: int = 201) -> None:
    """What is answered to the creation, then to each look."""
    s.mock.script(reply(answers[0], created), *(reply(answer) for answer in answers[1:]), path=PLACE)


def hurry(s: Running) -> QuickClock:
    clock = QuickClock()
    s.module("replicateshim")._clock = clock
    return clock


def paths(s: Running) -> list[tuple[str, str]]:
    return [(call.method, call.path.removeprefix(PLACE)) for call in s.mock.calls]


async def test_a_prediction_is_waited_for_with_growing_gaps() -> None:
    async with replicate({"replicateshim": {"poll_max_s": 0.5}}) as s:
        clock = hurry(s)
        described(s)
        steps = [prediction(s, "starting"), prediction(s, "processing"), prediction(s, "processing", ["Grüße,"])]
        played(s, *steps, prediction(s, "succeeded", ["Grüße,", " Welt"], metrics=METRICS))
        raw = await s.sdk().chat.completions.with_raw_response.create(
            model=MODEL, messages=[{"role": "system", "content": "be brief"}, *HI], max_tokens=900, top_p=0.5, user="u"
        )
        got = raw.parse()
        assert (got.choices[0].message.content, got.choices[0].finish_reason) == ("Grüße, Welt", "stop")
        assert got.usage is not None
        assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (3, 4)
        assert paths(s) == [
            ("GET", "/models/meta/llama"),
            ("POST", "/models/meta/llama/predictions"),
            *[("GET", "/predictions/p1")] * 3,
        ]
        assert clock.slept == [0.3, 0.48, 0.5]
        create = s.mock.calls[1]
        assert create.headers["prefer"] == "wait=55"
        assert create.headers["authorization"] == "Bearer r8-key-1"
        assert create.json() == {"input": {"prompt": "hi", "system_prompt": "be brief", "max_new_tokens": 512}}
        assert raw.headers["x-stockyard-upstream-id"] == "p1"
        assert await s.trail(raw.headers["x-stockyard-trace-id"], "replicateshim") == [
            ("shim", {"dialect": "replicate", "dropped": ["top_p", "user"]})
        ]


async def test_the_inputs_of_a_model_are_asked_for_once() -> None:
    async with replicate() as s:
        described(s)
        for _ in range(2):
            played(s, prediction(s, "succeeded", "hello"))
            await spoken(s, False, model=MODEL, messages=HI)
        assert [path for method, path in paths(s) if method == "GET"] == ["/models/meta/llama"]


async def test_a_community_model_runs_by_its_latest_version() -> None:
    async with replicate() as s:
        described(s)
        s.mock.script(reply({"detail": "not found"}, 404), path=PLACE)
        played(s, prediction(s, "succeeded", "hello"))
        assert (await spoken(s, False, model=MODEL, messages=HI))["content"] == "hello"
        assert paths(s)[1:] == [("POST", "/models/meta/llama/predictions"), ("POST", "/predictions")]
        assert s.mock.calls[-1].json()["version"] == "v1"
        played(s, prediction(s, "succeeded", "hello"))
        await spoken(s, False, model=MODEL, messages=HI)
        assert paths(s)[3:] == [("POST", "/predictions")]


async def test_a_pinned_version() -> None:
    async with replicate() as s:
        openapi = {"components": {"schemas": {"Input": {"properties": {"prompt": {"type": "string"}}}}}}
        s.mock.script(reply({"id": "v9", "openapi_schema": openapi}), path=PLACE)
        played(s, prediction(s, "succeeded", "hello"))
        assert (await spoken(s, False, model="rep/a/b:v9", messages=HI))["content"] == "hello"
        assert paths(s) == [("GET", "/models/a/b/versions/v9"), ("POST", "/predictions")]
        assert s.mock.calls[-1].json() == {"version": "v9", "input": {"prompt": "hi"}}


def sse(*events: tuple[str, str]) -> Reply:
    body = "".join(f"event: {name}\nid: 1\ndata: {data}\n\n" for name, data in events)
    return Reply(body=body.encode(), content_type="text/event-stream")


async def test_a_stream_of_its_own_is_followed() -> None:
    async with replicate() as s:
        described(s)
        played(s, prediction(s, "starting", stream=True))
        s.mock.script(sse(("output", "Grüße,"), ("output", " Welt"), ("done", "{}")), path=f"{PLACE}/stream")
        s.mock.script(
            reply(prediction(s, "succeeded", ["Grüße,", " Welt"], metrics=METRICS)), path=f"{PLACE}/predictions/p1"
        )
        said = await spoken(s, True, model=MODEL, messages=HI)
        assert (said["content"], said["finish_reason"]) == ("Grüße, Welt", "stop")
        assert said["usage"]["total_tokens"] == 7
        assert paths(s)[1:] == [
            ("POST", "/models/meta/llama/predictions"),
            ("GET", "/stream/p1?token=t"),
            ("GET", "/predictions/p1"),
        ]
        assert s.mock.calls[1].json()["stream"] is True
        assert s.mock.calls[2].headers["accept"] == "text/event-stream"


async def test_without_a_stream_the_growing_output_is_sent_as_it_grows() -> None:
    async with replicate() as s:
        hurry(s)
        described(s)
        played(
            s,
            prediction(s, "starting"),
            prediction(s, "processing", ["Grüße,"]),
            prediction(s, "processing", ["Grüße,"]),
            prediction(s, "succeeded", ["Grüße,", " Welt"], metrics=METRICS),
        )
        deltas = []
        async for chunk in await s.sdk().chat.completions.create(model=MODEL, messages=HI, stream=True):
            deltas.append(chunk.choices[0].delta.content)
        assert deltas == ["Grüße,", " Welt", None]


async def test_a_stream_that_breaks_off_is_gone_on_with_by_looking() -> None:
    async with replicate() as s:
        hurry(s)
        described(s)
        played(s, prediction(s, "processing", stream=True))
        s.mock.script(sse(("output", "Grüße,")), path=f"{PLACE}/stream")
        s.mock.script(
            reply(prediction(s, "processing", ["Grüße,", " W"])),
            reply(prediction(s, "succeeded", ["Grüße,", " Welt"])),
            path=f"{PLACE}/predictions/p1",
        )
        assert (await spoken(s, True, model=MODEL, messages=HI))["content"] == "Grüße, Welt"


async def test_the_key_is_not_taken_to_another_host() -> None:
    async with replicate() as s, MockUpstream() as other:
        hurry(s)
        described(s)
        away = prediction(s, "processing")
        away["urls"] = {name: f"{other.root}/{name}" for name in ("get", "cancel", "stream")}
        played(s, away, prediction(s, "succeeded", "hello"))
        assert (await spoken(s, True, model=MODEL, messages=HI))["content"] == "hello"
        assert not other.calls


async def test_a_caller_who_leaves_a_stream_has_the_prediction_canceled() -> None:
    async with replicate() as s:
        described(s)
        played(s, prediction(s, "processing"))
        for number in range(1, 40):
            s.mock.script(reply(prediction(s, "processing", ["a"] * number)), path=f"{PLACE}/predictions/p1")
        stream = await s.sdk().chat.completions.create(model=MODEL, messages=HI, stream=True)
        async for _ in stream:
            break
        await stream.close()
        await until(lambda: ("POST", "/predictions/p1/cancel") in paths(s))


async def test_a_caller_who_leaves_a_plain_call_has_the_prediction_canceled() -> None:
    async with replicate() as s:
        described(s)
        s.mock.script(reply(prediction(s, "processing"), 201, delay_s=0.4), path=PLACE)
        task = asyncio.ensure_future(spoken(s, False, model=MODEL, messages=HI))
        await until(lambda: len(s.mock.calls) == 2)
        task.cancel()
        await until(lambda: ("POST", "/predictions/p1/cancel") in paths(s))
        assert ("GET", "/predictions/p1") not in paths(s)


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_prediction_that_failed_says_why(streamed: bool) -> None:
    async with replicate() as s:
        hurry(s)
        described(s)
        played(s, prediction(s, "starting"), prediction(s, "failed", logs="loading\nCUDA out of memory\n"))
        with pytest.raises(openai.InternalServerError, match="CUDA out of memory") as caught:
            await spoken(s, streamed, model=MODEL, messages=HI)
        assert (caught.value.status_code, caught.value.code) == (502, "provider_error")


async def test_a_prediction_that_was_canceled_elsewhere() -> None:
    async with replicate() as s:
        described(s)
        played(s, prediction(s, "canceled"))
        with pytest.raises(openai.APIStatusError) as caught:
            await spoken(s, False, model=MODEL, messages=HI)
        assert (caught.value.status_code, caught.value.code) == (499, "client_closed")


async def test_tools_are_refused() -> None:
    async with replicate() as s:
        described(s)
        with pytest.raises(openai.BadRequestError) as caught:
            await spoken(s, False, model=MODEL, messages=HI, tools=TOOLS)
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "tools")


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("status", "error", "code"),
    [
        (400, openai.BadRequestError, "bad_request"),
        (401, openai.InternalServerError, "provider_auth_failed"),
        (402, openai.InternalServerError, "provider_quota"),
        (422, openai.UnprocessableEntityError, "bad_request"),
        (429, openai.RateLimitError, "rate_limited"),
        (500, openai.InternalServerError, "provider_error"),
    ],
)
async def test_errors_have_the_right_class(
    streamed: bool, status: int, error: type[openai.APIStatusError], code: str
) -> None:
    async with replicate() as s:
        described(s)
        s.mock.script(reply({"title": "T", "detail": "scripted words", "status": status}, status), path=PLACE)
        with pytest.raises(error, match="scripted words") as caught:
            await spoken(s, streamed, model=MODEL, messages=HI)
        assert caught.value.code == code


async def test_a_model_that_there_is_not() -> None:
    async with replicate() as s:
        s.mock.script(reply({"detail": "The requested model could not be found."}, 404), path=PLACE)
        with pytest.raises(openai.NotFoundError):
            await spoken(s, False, model=MODEL, messages=HI)
        with pytest.raises(openai.NotFoundError, match="owner/name"):
            await spoken(s, False, model="rep/llama", messages=HI)


async def test_a_model_that_starts_has_more_time_for_its_first_token() -> None:
    async with replicate({"timeout": {"first_token_s": 0.3}, "replicateshim": {"cold_start_s": 20}}) as s:
        described(s)
        played(s, prediction(s, "starting"), prediction(s, "processing"), prediction(s, "succeeded", "hello"))
        assert (await spoken(s, False, model=MODEL, messages=HI))["content"] == "hello"


async def test_without_counts_usage_is_estimated() -> None:
    async with replicate() as s:
        described(s)
        played(s, prediction(s, "succeeded", "hello"))
        raw = await s.sdk().chat.completions.with_raw_response.create(model=MODEL, messages=HI)
        trace = await s.trace(raw.headers["x-stockyard-trace-id"])
        assert trace["usage_source"] == "estimated"
        assert trace["tokens_out"] > 0


@pytest.mark.parametrize("form", ["url", "b64_json"])
async def test_images(form: Any) -> None:
    async with replicate() as s:
        described(s, IMAGE_INPUTS, "/models/black-forest-labs/flux")
        urls = [f"{s.mock.root}/out/{number}.png" for number in range(2)]
        for url in urls:
            s.mock.script(reply(prediction(s, "succeeded", [url]), 201), path=PLACE)
            s.mock.script(Reply(body=PNG, content_type="image/png"), path="/out/")
        got = await s.sdk().images.generate(
            model="rep/black-forest-labs/flux",
            prompt="a cow",
            n=2,
            size="1024x768",
            response_format=form,
        )
        sent = [call.json()["input"] for call in s.mock.calls if call.method == "POST"]
        assert sent == [{"prompt": "a cow", "aspect_ratio": "4:3"}] * 2
        if form == "url":
            assert sorted(image.url for image in got.data) == urls
        else:
            assert [b64decode(image.b64_json) for image in got.data] == [PNG, PNG]
            fetched = next(call for call in s.mock.calls if call.path.startswith("/out/"))
            assert "authorization" not in fetched.headers


async def test_an_image_that_came_inline() -> None:
    async with replicate() as s:
        described(s, IMAGE_INPUTS, "/models/black-forest-labs/flux")
        played(s, prediction(s, "succeeded", f"data:image/png;base64,{b64encode(PNG).decode()}"))
        got = await s.sdk().images.generate(
            model="rep/black-forest-labs/flux", prompt="a cow", response_format="b64_json"
        )
        assert got.data is not None and got.data[0].b64_json is not None
        assert b64decode(got.data[0].b64_json) == PNG


@asynccontextmanager
async def as_strict_as_replicate(model: str = "meta/meta-llama-3-8b-instruct") -> AsyncIterator[tuple[Running, str]]:
    """An instance before the mock's own Replicate, and the model's name."""

    def config(mock: MockUpstream) -> str:
        base_url = mock.at("replicate")
        return f'[providers.rep]\ntype = "replicate"\nbase_url = "{base_url}"\napi_key = "r8-1"\nmodels = ["{model}"]\n'

    async with running({"retry": False}, providers=config) as s:
        yield s, f"rep/{model}"


@pytest.mark.parametrize(
    "model", ["meta/meta-llama-3-8b-instruct", "some/nostream-model", "mistralai/mistral-7b", "openai/gpt-5"]
)
async def test_a_stream_says_what_the_plain_answer_says(model: str) -> None:
    async with as_strict_as_replicate(model) as (s, name):
        hurry(s)
        messages: list[Any] = [{"role": "system", "content": "be brief"}, *HI]
        whole = await spoken(s, False, model=name, messages=messages, max_tokens=50, temperature=0.5)
        streamed = await spoken(s, True, model=name, messages=messages, max_tokens=50, temperature=0.5)
        assert whole["content"] == streamed["content"]
        assert "hi" in whole["content"]
        assert (whole["finish_reason"], whole["usage"]) == (streamed["finish_reason"], streamed["usage"])


async def test_a_caller_who_leaves_a_stream_that_it_listens_to_has_the_prediction_canceled() -> None:
    async with as_strict_as_replicate() as (s, model):
        s.mock.script(stall(2, "one two three four five six"))
        stream = await s.sdk().chat.completions.create(model=model, messages=HI, stream=True)
        async for chunk in stream:
            assert chunk.choices[0].delta.content
            break
        await stream.close()
        await until(lambda: s.mock.calls[-1].path.endswith("/cancel"))
        assert [call.method for call in s.mock.calls] == ["GET", "POST", "GET", "POST"]


async def test_an_image_is_an_input_of_a_model_that_sees() -> None:
    async with as_strict_as_replicate("anthropic/claude-4-sonnet") as (s, model):
        url = f"data:image/png;base64,{b64encode(PNG).decode()}"
        said = await spoken(s, False, model=model, messages=pictured(url))
        assert "see" in said["content"]
        assert s.mock.calls[-1].json()["input"]["image"] == url


@pytest.mark.parametrize("streamed", [False, True])
async def test_an_answer_that_is_no_prediction(streamed: bool) -> None:
    async with replicate() as s:
        described(s)
        s.mock.script(reply({"hello": 1}, 201), path=PLACE)
        with pytest.raises(openai.InternalServerError) as caught:
            await spoken(s, streamed, model=MODEL, messages=HI)
        assert caught.value.code == "bad_upstream_response"


async def test_a_deployment_runs_with_the_inputs_of_its_release() -> None:
    config = '[providers.dep]\ntype = "replicate"\nbase_url = "{root}/played/v1"\napi_key = "r8-1"\nmodels = ["deployments/me/own"]\n'
    async with running({"retry": False}, providers=lambda mock: config.replace("{root}", mock.root)) as s:
        openapi: Any = {"components": {"schemas": {"Input": {"properties": {"prompt": {}, "max_tokens": {}}}}}}
        s.mock.script(reply({"current_release": {"model": "a/b", "version": "v9"}}), path=f"{PLACE}/deployments/me/own")
        s.mock.script(reply({"id": "v9", "openapi_schema": openapi}), path=f"{PLACE}/models/a/b")
        s.mock.script(reply(prediction(s, "succeeded", "hello"), 201), path=f"{PLACE}/deployments/me/own/predictions")
        said = await spoken(s, False, model="dep/deployments/me/own", messages=HI, max_tokens=5, temperature=1)
        assert said["content"] == "hello"
        assert paths(s) == [
            ("GET", "/deployments/me/own"),
            ("GET", "/models/a/b/versions/v9"),
            ("POST", "/deployments/me/own/predictions"),
        ]
        assert s.mock.calls[-1].json() == {"input": {"prompt": "hi", "max_tokens": 5}}
