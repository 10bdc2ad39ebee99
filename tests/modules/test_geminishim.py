from base64 import b64decode, b64encode
from typing import Any

import openai
import orjson
import pytest

from instance.mock_upstream.replies import Reply
from instance.mock_upstream.server import MockUpstream
from tests.modules.conftest import Running, pytest_asyncio_loop_factories, running

__all__ = ["pytest_asyncio_loop_factories"]

HI: list[Any] = [{"role": "user", "content": "hi"}]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)
GEMINI = "/gemini/"
MODEL = "google/gemini-2.5-flash"
BLOCKED = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
SAFETY = {"HARM_CATEGORY_HARASSMENT": "BLOCK_NONE"}


def google(mock: MockUpstream) -> str:
    return (
        f'[providers.google]\ntype = "gemini"\nbase_url = "{mock.root}/gemini/v1beta"\napi_key = "google-key-1"\n'
        'models = ["gemini-2.5-flash", "gemini-3-pro-preview", "gemini-embedding-001"]\n'
    )


def gemini(modules: dict[str, Any] | None = None) -> Any:
    return running(modules, providers=google)


def answer(*parts: dict[str, Any], reason: str = "STOP") -> dict[str, Any]:
    return {
        "candidates": [{"content": {"role": "model", "parts": list(parts)}, "finishReason": reason, "index": 0}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "thoughtsTokenCount": 3},
        "modelVersion": "gemini-2.5-flash",
        "responseId": "resp-1",
    }


def whole(obj: dict[str, Any], status: int = 200) -> Reply:
    return Reply(body=orjson.dumps(obj), status=status)


def stream(*objs: dict[str, Any]) -> Reply:
    body = b"".join(b"data: " + orjson.dumps(obj) + b"\r\n\r\n" for obj in objs)
    return Reply(body=body, content_type="text/event-stream")


def sent(s: Running) -> dict[str, Any]:
    call = next(call for call in reversed(s.mock.calls) if call.path.startswith(GEMINI))
    body: dict[str, Any] = call.json()
    return body


async def test_a_call_goes_out_as_gemini_wants_it_and_says_whose_answer_it_is() -> None:
    async with gemini() as s:
        s.mock.script(whole(answer({"text": "hello"})), path=GEMINI)
        raw = await s.sdk().chat.completions.with_raw_response.create(
            model=MODEL, messages=HI, user="u", logit_bias={"1": 1}
        )
        got = raw.parse()
        assert got.choices[0].message.content == "hello"
        assert got.usage is not None
        assert (got.usage.prompt_tokens, got.usage.completion_tokens) == (5, 5)
        call = s.mock.calls[-1]
        assert call.path == "/gemini/v1beta/models/gemini-2.5-flash:generateContent"
        assert call.headers["x-goog-api-key"] == "google-key-1"
        assert "authorization" not in call.headers
        assert raw.headers["x-stockyard-upstream-id"] == "resp-1"
        trace = await s.trace(raw.headers["x-stockyard-trace-id"])
        assert (trace["provider"], trace["dialect_out"]) == ("google", "gemini.generate_content")
        assert await s.trail(raw.headers["x-stockyard-trace-id"], "geminishim") == [
            ("shim", {"dialect": "gemini", "dropped": ["logit_bias", "user"]})
        ]


async def test_what_has_no_counterpart_can_be_refused() -> None:
    async with gemini({"geminishim": {"on_unsupported": "reject"}}) as s:
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().chat.completions.create(model=MODEL, messages=HI, logit_bias={"1": 1})
        assert (caught.value.code, caught.value.param) == ("unsupported_parameter", "logit_bias")
        assert not s.mock.calls


@pytest.mark.parametrize("streamed", [False, True])
async def test_parallel_calls_to_one_function_come_back_with_their_signature(streamed: bool) -> None:
    call = {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}
    obj = answer({**call, "thoughtSignature": "c2lnbmVk"}, call)
    async with gemini() as s:
        s.mock.script(stream(obj) if streamed else whole(obj), path=GEMINI)
        tools: list[Any] = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}]
        calls: dict[int, dict[str, Any]] = {}
        if streamed:
            chunks = await s.sdk().chat.completions.create(model=MODEL, messages=HI, tools=tools, stream=True)
            async for chunk in chunks:
                for piece in chunk.choices[0].delta.tool_calls or ():
                    assert piece.function is not None
                    made = calls.setdefault(piece.index, {"id": piece.id, "name": piece.function.name, "arguments": ""})
                    made["arguments"] += piece.function.arguments or ""
        else:
            got = await s.sdk().chat.completions.create(model=MODEL, messages=HI, tools=tools)
            for index, one in enumerate(got.choices[0].message.tool_calls or ()):
                assert one.type == "function"
                calls[index] = {"id": one.id, "name": one.function.name, "arguments": one.function.arguments}
        assert [one["name"] for one in calls.values()] == ["weather", "weather"]
        assert len({one["id"] for one in calls.values()}) == 2
        s.mock.script(whole(answer({"text": "rain"})), path=GEMINI)
        history: list[Any] = [
            *HI,
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": one["id"],
                        "type": "function",
                        "function": {"name": one["name"], "arguments": one["arguments"]},
                    }
                    for one in calls.values()
                ],
            },
            *({"role": "tool", "tool_call_id": one["id"], "content": "rain"} for one in calls.values()),
        ]
        await s.sdk().chat.completions.create(model=MODEL, messages=history, tools=tools)
        _, said, results = sent(s)["contents"]
        assert [part.get("thoughtSignature") for part in said["parts"]] == ["c2lnbmVk", None]
        assert [part["functionCall"]["args"] for part in said["parts"]] == [{"city": "Oslo"}] * 2
        assert len(results["parts"]) == 2


async def test_a_schema_with_references_and_nothing_arrives_without_them() -> None:
    schema = {
        "type": "object",
        "properties": {"home": {"$ref": "#/$defs/Place"}, "note": {"anyOf": [{"type": "string"}, {"type": "null"}]}},
        "required": ["home", "note"],
        "additionalProperties": False,
        "$defs": {"Place": {"type": "object", "properties": {"city": {"type": "string"}}}},
    }
    async with gemini() as s:
        s.mock.script(whole(answer({"text": "{}"})), path=GEMINI)
        form: Any = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema, "strict": True}}
        await s.sdk().chat.completions.create(model=MODEL, messages=HI, response_format=form)
        assert sent(s)["generationConfig"]["responseSchema"] == {
            "type": "OBJECT",
            "properties": {
                "home": {"type": "OBJECT", "properties": {"city": {"type": "STRING"}}},
                "note": {"type": "STRING", "nullable": True},
            },
            "required": ["home", "note"],
        }


def pictured(url: str) -> list[Any]:
    return [
        {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url}}]}
    ]


async def test_an_image_at_an_address_is_fetched_and_inlined() -> None:
    async with gemini() as s:
        s.mock.script(Reply(body=PNG, content_type="image/png"), path="/picture.png?a=1")
        s.mock.script(Reply(status=302, body=b" ", headers={"location": "/picture.png?a=1"}), path="/moved")
        s.mock.script(whole(answer({"text": "a cow"})), path=GEMINI)
        await s.sdk().chat.completions.create(model=MODEL, messages=pictured(f"{s.mock.root}/moved"))
        assert sent(s)["contents"][0]["parts"][1] == {
            "inlineData": {"mimeType": "image/png", "data": b64encode(PNG).decode()}
        }
        fetch = next(call for call in s.mock.calls if "picture" in call.path)
        assert "google-key-1" not in str(fetch.headers)


@pytest.mark.parametrize(
    ("reply", "code", "words"),
    [
        (Reply(body=b"<html>", content_type="text/html"), "bad_request", "text/html"),
        (Reply(body=b"gone", status=404), "bad_request", "404"),
        (Reply(body=PNG + bytes(1 << 20), content_type="image/png"), "body_too_large", "1 MB"),
    ],
)
async def test_an_image_that_cannot_be_had_is_the_callers_error(reply: Reply, code: str, words: str) -> None:
    async with gemini({"geminishim": {"inline_mb": 1}}) as s:
        s.mock.script(reply, path="/picture")
        with pytest.raises(openai.APIStatusError, match=words) as caught:
            await s.sdk().chat.completions.create(model=MODEL, messages=pictured(f"{s.mock.root}/picture"))
        assert (caught.value.code, caught.value.param) == (code, "messages[0].content[1]")
        assert not any(call.path.startswith(GEMINI) for call in s.mock.calls)


async def test_credentials_of_a_cloud_are_never_fetched() -> None:
    async with gemini() as s:
        with pytest.raises(openai.BadRequestError):
            await s.sdk().chat.completions.create(
                model=MODEL, messages=pictured("http://169.254.169.254/latest/meta-data")
            )


async def test_inlined_media_have_a_limit() -> None:
    async with gemini({"geminishim": {"inline_mb": 1}}) as s:
        url = "data:image/png;base64," + b64encode(PNG + bytes(1 << 20)).decode()
        with pytest.raises(openai.APIStatusError) as caught:
            await s.sdk().chat.completions.create(model=MODEL, messages=pictured(url))
        assert caught.value.code == "body_too_large"


@pytest.mark.parametrize("streamed", [False, True])
async def test_a_refused_prompt_is_a_bad_request(streamed: bool) -> None:
    async with gemini() as s:
        s.mock.script(stream(BLOCKED) if streamed else whole(BLOCKED), path=GEMINI)
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().chat.completions.create(model=MODEL, messages=HI, stream=streamed)
        assert caught.value.code == "content_filter"
        assert len(s.mock.calls) == 1


@pytest.mark.parametrize("refusal", [BLOCKED, answer(reason="SAFETY")])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_refusal_is_tried_once_more_with_the_users_own_settings(
    streamed: bool, refusal: dict[str, Any]
) -> None:
    own = {"safety": {"HARM_CATEGORY_HARASSMENT": "BLOCK_LOW_AND_ABOVE"}, "safety_retry": True}
    async with gemini({"geminishim": {**own, "safety_retry_settings": SAFETY}}) as s:
        made = stream if streamed else whole
        s.mock.script(made(refusal), made(answer({"text": "hello"})), path=GEMINI)
        got: Any = await s.sdk().chat.completions.create(model=MODEL, messages=HI, stream=streamed)
        if streamed:
            text = "".join([chunk.choices[0].delta.content or "" async for chunk in got])
        else:
            text = got.choices[0].message.content
        assert text == "hello"
        settings = [call.json()["safetySettings"] for call in s.mock.calls]
        assert [one[0]["threshold"] for one in settings] == ["BLOCK_LOW_AND_ABOVE", "BLOCK_NONE"]
        s.mock.script(made(BLOCKED), made(BLOCKED), path=GEMINI)
        with pytest.raises(openai.BadRequestError):
            await s.sdk().chat.completions.create(model=MODEL, messages=HI, stream=streamed)
        assert len(s.mock.calls) == 4


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize(
    ("status", "name", "error", "code"),
    [
        (400, "INVALID_ARGUMENT", openai.BadRequestError, "bad_request"),
        (401, "UNAUTHENTICATED", openai.InternalServerError, "provider_auth_failed"),
        (429, "RESOURCE_EXHAUSTED", openai.RateLimitError, "rate_limited"),
        (500, "INTERNAL", openai.InternalServerError, "provider_error"),
    ],
)
async def test_errors_have_the_right_class(
    streamed: bool, status: int, name: str, error: type[openai.APIStatusError], code: str
) -> None:
    details = [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34s"}]
    body = {"error": {"code": status, "message": "scripted words", "status": name, "details": details}}
    async with gemini({"retry": False}) as s:
        s.mock.script(whole(body, status), path=GEMINI)
        with pytest.raises(error) as caught:
            await s.sdk().chat.completions.create(model=MODEL, messages=HI, stream=streamed)
        assert caught.value.code == code
        assert "scripted words" in caught.value.message
        if status == 429:
            assert caught.value.response.headers["retry-after"] == "34"


async def test_a_stream_says_what_the_plain_answer_says() -> None:
    parts: list[dict[str, Any]] = [{"text": "hm", "thought": True}, {"text": "Grüße, "}, {"text": "Welt"}]
    pieces = [answer(part) for part in parts[:-1]]
    for piece in pieces:
        del piece["candidates"][0]["finishReason"]
    async with gemini() as s:
        s.mock.script(whole(answer(*parts)), stream(*pieces, answer(parts[-1])), path=GEMINI)
        plain = await s.sdk().chat.completions.create(model=MODEL, messages=HI, reasoning_effort="low")
        chunks = await s.sdk().chat.completions.create(
            model=MODEL, messages=HI, stream=True, stream_options={"include_usage": True}, reasoning_effort="low"
        )
        got = [chunk async for chunk in chunks]
        message: Any = plain.choices[0].message
        deltas: list[Any] = [chunk.choices[0].delta for chunk in got if chunk.choices]
        assert "".join(delta.content or "" for delta in deltas) == message.content == "Grüße, Welt"
        thoughts = [getattr(delta, "reasoning_content", None) or "" for delta in deltas]
        assert "".join(thoughts) == message.reasoning_content == "hm"
        assert got[-1].usage == plain.usage
        assert plain.usage is not None and plain.usage.completion_tokens_details is not None
        assert plain.usage.completion_tokens_details.reasoning_tokens == 3
        assert [chunk.choices[0].finish_reason for chunk in got if chunk.choices][-1] == "stop"
        assert s.mock.calls[-1].path == "/gemini/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"


async def test_a_base_url_of_the_settings_is_used() -> None:
    async with gemini() as s:
        await s.configure({"geminishim": {"base_url": f"{s.mock.root}/gemini/other/openai"}})
        s.mock.script(whole(answer({"text": "hello"})), path="/gemini/other/models")
        got = await s.sdk().chat.completions.create(model=MODEL, messages=HI)
        assert got.choices[0].message.content == "hello"


async def test_switched_off_the_openai_compatible_part_is_called() -> None:
    completion = {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": []}
    completion["choices"] = [
        {"index": 0, "message": {"role": "assistant", "content": "hello"}, "finish_reason": "stop"}
    ]
    async with gemini({"geminishim": False}) as s:
        s.mock.script(whole(completion), path="/gemini/v1beta/openai/chat/completions")
        got = await s.sdk().chat.completions.create(model=MODEL, messages=HI)
        assert got.choices[0].message.content == "hello"
        assert s.mock.calls[-1].headers["authorization"] == "Bearer google-key-1"


async def test_embeddings_in_both_encodings() -> None:
    async with gemini() as s:
        for _ in range(2):
            s.mock.script(whole({"embeddings": [{"values": [0.5, -1.0]}, {"values": [0.25, 2.0]}]}), path=GEMINI)
        sdk = s.sdk()
        model = "google/gemini-embedding-001"
        plain = await sdk.embeddings.create(model=model, input=["a", "b"], encoding_format="float", dimensions=2)
        packed = await sdk.embeddings.create(model=model, input=["a", "b"])
        assert (
            [one.embedding for one in plain.data]
            == [[0.5, -1.0], [0.25, 2.0]]
            == [one.embedding for one in packed.data]
        )
        assert s.mock.calls[0].path == "/gemini/v1beta/models/gemini-embedding-001:batchEmbedContents"
        assert s.mock.calls[0].json()["requests"][1]["content"] == {"parts": [{"text": "b"}]}
        body = {"model": model, "input": "a", "encoding_format": "base64"}
        raw = (await s.http().post("/v1/embeddings", json=body)).json()
        assert len(b64decode(raw["data"][0]["embedding"])) % 4 == 0


async def test_what_gemini_does_not_have_is_said() -> None:
    async with gemini() as s:
        raw = await s.http().post("/v1/moderations", json={"model": MODEL, "input": "x"})
        assert raw.status_code in (404, 501)


WEATHER: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    for name in ("weather", "tides")
]


async def test_an_image_arrives_as_it_was_sent() -> None:
    async with gemini() as s:
        url = "data:image/png;base64," + b64encode(PNG).decode()
        got = await s.sdk().chat.completions.create(model=MODEL, messages=pictured(url))
        assert got.choices[0].message.content == f"echo: see [image/png {len(PNG)} bytes]"


@pytest.mark.parametrize("model", [MODEL, "google/gemini-3-pro-preview"])
@pytest.mark.parametrize("streamed", [False, True])
async def test_a_whole_round_of_two_tools(streamed: bool, model: str) -> None:
    async with gemini() as s:
        messages: list[Any] = [{"role": "user", "content": "call weather and call tides"}]
        said = await spoken(s, streamed, model=model, messages=messages, tools=WEATHER)
        assert said["finish_reason"] == "tool_calls"
        assert [call["function"]["name"] for call in said["tool_calls"]] == ["weather", "tides"]
        assert all(isinstance(orjson.loads(call["function"]["arguments"])["city"], str) for call in said["tool_calls"])
        messages.append({"role": "assistant", "content": None, "tool_calls": said["tool_calls"]})
        messages += [
            {"role": "tool", "tool_call_id": call["id"], "content": f"result {number}"}
            for number, call in enumerate(said["tool_calls"])
        ]
        said = await spoken(s, streamed, model=model, messages=messages, tools=WEATHER)
        assert said["finish_reason"] == "stop"
        assert "result 0" in said["content"] and "result 1" in said["content"]


async def test_calls_of_another_provider_are_taken_over_by_a_model_that_wants_signatures() -> None:
    async with gemini() as s:
        calls = [
            {"id": "call_other", "type": "function", "function": {"name": "weather", "arguments": '{"city": "x"}'}}
        ]
        messages: list[Any] = [
            {"role": "user", "content": "hi"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "call_other", "content": "rain"},
        ]
        said = await spoken(s, False, model="google/gemini-3-pro-preview", messages=messages, tools=WEATHER)
        assert "rain" in said["content"]


async def spoken(s: Running, streamed: bool, **req: Any) -> dict[str, Any]:
    """What the SDK got: content, tool calls and finish reason of a whole or streamed answer."""
    if not streamed:
        choice = (await s.sdk().chat.completions.create(**req)).choices[0]
        made: dict[str, Any] = choice.message.model_dump(exclude_none=True)
        return {"content": "", "tool_calls": [], **made, "finish_reason": choice.finish_reason}
    said: dict[str, Any] = {"content": "", "tool_calls": [], "finish_reason": None}
    async for chunk in await s.sdk().chat.completions.create(**req, stream=True):
        delta = chunk.choices[0].delta
        said["content"] += delta.content or ""
        for piece in delta.tool_calls or ():
            if piece.index == len(said["tool_calls"]):
                assert piece.function is not None
                function = {"name": piece.function.name, "arguments": ""}
                said["tool_calls"].append({"id": piece.id, "type": "function", "function": function})
            assert piece.function is not None
            said["tool_calls"][piece.index]["function"]["arguments"] += piece.function.arguments or ""
        said["finish_reason"] = chunk.choices[0].finish_reason or said["finish_reason"]
    return said
