"""The official SDK's `responses` against an instance, over a provider of chat and over one that speaks Responses itself."""

from typing import Any

import openai
import orjson
import pytest
from openai import pydantic_function_tool
from pydantic import BaseModel

from tests.dialects.openai_responses.streams import events_of, native_events, response, sse
from tests.mock_replies import Reply, chunks, drop, status, text, tool
from tests.mock_upstream import until
from tests.modules.conftest import Running, pytest_asyncio_loop_factories, running

__all__ = ["pytest_asyncio_loop_factories"]

CHAT = "up/small"
NATIVE = "openai/gpt"
BOTH = pytest.mark.parametrize("model", [CHAT, NATIVE])
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "description": "The weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
        "additionalProperties": False,
    },
    "strict": True,
}


def native(mock: Any) -> str:
    """A second provider, which speaks Responses, at the same mock."""
    return f'[providers.openai]\nbase_url = "{mock.url}"\napi_key = "native-key-1"\nmodels = ["gpt"]\n'


def instance(modules: Any = None, **more: Any) -> Any:
    return running(modules, providers=native, **more)


def last_path(s: Running) -> str:
    return s.mock.calls[-1].path


@BOTH
async def test_a_whole_answer(model: str) -> None:
    async with instance() as s:
        answer = await s.sdk().responses.create(model=model, input="hi there", instructions="Be brief.")
        assert answer.output_text == "echo: hi there"
        assert answer.status == "completed"
        assert answer.usage is not None
        assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens
        assert last_path(s) == ("/v1/responses" if model == NATIVE else "/v1/chat/completions")


@BOTH
async def test_a_streamed_answer(model: str) -> None:
    async with instance() as s:
        async with s.sdk().responses.stream(model=model, input="hi there") as stream:
            events = [event async for event in stream]
            final = await stream.get_final_response()
        assert (
            "".join(event.delta for event in events if event.type == "response.output_text.delta") == "echo: hi there"
        )
        assert final.output_text == "echo: hi there"
        assert events[-1].type == "response.completed"
        assert [event.sequence_number for event in events] == list(range(len(events)))
        assert final.usage is not None


@BOTH
async def test_a_streamed_answer_that_a_module_asks_for_whole(model: str) -> None:
    async with instance({"evalgate": {}}) as s:
        async with s.sdk().responses.stream(model=model, input="hi there") as stream:
            final = await stream.get_final_response()
        assert final.output_text == "echo: hi there"
        assert last_path(s) == ("/v1/responses" if model == NATIVE else "/v1/chat/completions")
        assert not s.mock.calls[-1].json().get("stream")


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_a_tools_round_trip(model: str, stream: bool) -> None:
    async with instance() as s:
        sdk = s.sdk()
        question: list[Any] = [{"role": "user", "content": "please call weather"}]
        if stream:
            async with sdk.responses.stream(model=model, input=question, tools=[WEATHER]) as opened:
                asked: Any = await opened.get_final_response()
        else:
            asked = await sdk.responses.create(model=model, input=question, tools=[WEATHER])
        (call,) = [item for item in asked.output if item.type == "function_call"]
        assert call.name == "weather"
        output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        given = [
            *question,
            *[item.model_dump(exclude_none=True, exclude={"parsed_arguments"}) for item in asked.output],
            output,
        ]
        answer = await sdk.responses.create(model=model, input=given, tools=[WEATHER])
        assert "rain" in answer.output_text
        sent = s.mock.calls[-1].json()
        if model == CHAT:
            assert [message["role"] for message in sent["messages"]] == ["user", "assistant", "tool"]
            assert sent["messages"][1]["tool_calls"][0]["id"] == call.call_id


class Person(BaseModel):
    name: str
    age: int


@BOTH
async def test_structured_output(model: str) -> None:
    async with instance() as s:
        if model == CHAT:
            s.mock.script(text('{"name": "Ann", "age": 7}'))
            answer = await s.sdk().responses.parse(model=model, input="who?", text_format=Person)
            assert answer.output_parsed == Person(name="Ann", age=7)
            form = s.mock.calls[-1].json()["response_format"]
            assert form["json_schema"]["name"] == "Person"
            assert form["json_schema"]["strict"] is True
        else:
            answer = await s.sdk().responses.parse(model=model, input="who?", text_format=Person)
            assert isinstance(answer.output_parsed, Person)
            assert s.mock.calls[-1].json()["text"]["format"]["name"] == "Person"


@BOTH
async def test_tools_that_are_parsed_by_the_sdk(model: str) -> None:
    async with instance() as s:
        made: Any = pydantic_function_tool(Person, name="person")
        flat: Any = {"type": "function", **made["function"]}
        s.mock.script(tool("person", {"name": "Ann", "age": 7}))
        answer = await s.sdk().responses.parse(model=model, input="call person", tools=[flat])
        (call,) = [item for item in answer.output if item.type == "function_call"]
        assert call.arguments.replace(" ", "") == '{"name":"Ann","age":7}'


@BOTH
async def test_a_conversation_of_three_turns_by_previous_response_id(model: str) -> None:
    async with instance() as s:
        sdk = s.sdk()
        first = await sdk.responses.create(model=model, input="one")
        async with sdk.responses.stream(model=model, input="two", previous_response_id=first.id) as stream:
            second = await stream.get_final_response()
        third = await sdk.responses.create(model=model, input="three", previous_response_id=second.id)
        assert third.output_text == "echo: three"
        assert third.previous_response_id == second.id or model == NATIVE
        sent = s.mock.calls[-1].json()
        if model == CHAT:
            said = [(message["role"], message["content"]) for message in sent["messages"]]
            assert said == [
                ("user", "one"),
                ("assistant", "echo: one"),
                ("user", "two"),
                ("assistant", "echo: two"),
                ("user", "three"),
            ]
        else:
            assert sent["previous_response_id"] == second.id


async def test_a_call_and_its_output_may_be_in_two_requests() -> None:
    async with instance() as s:
        sdk = s.sdk()
        asked = await sdk.responses.create(model=CHAT, input="call weather", tools=[WEATHER])
        (call,) = [item for item in asked.output if item.type == "function_call"]
        output: Any = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        answer = await sdk.responses.create(model=CHAT, input=[output], previous_response_id=asked.id, tools=[WEATHER])
        assert "rain" in answer.output_text


async def test_a_conversation_made_here_goes_on_at_a_provider_of_responses() -> None:
    async with instance() as s:
        sdk = s.sdk()
        first = await sdk.responses.create(model=CHAT, input="one")
        second = await sdk.responses.create(model=NATIVE, input="two", previous_response_id=first.id)
        assert second.output_text == "echo: two"
        sent = s.mock.calls[-1].json()
        assert "previous_response_id" not in sent
        assert [item["role"] for item in sent["input"]] == ["user", "assistant", "user"]
        assert not any("id" in item for item in sent["input"])


async def test_a_response_that_a_provider_keeps_goes_on_there_only() -> None:
    async with instance() as s:
        sdk = s.sdk()
        first = await sdk.responses.create(model=NATIVE, input="one")
        with pytest.raises(openai.BadRequestError) as caught:
            await sdk.responses.create(model=CHAT, input="two", previous_response_id=first.id)
        assert caught.value.param == "previous_response_id"
        assert len(s.mock.calls) == 1


@BOTH
async def test_a_stored_item_can_be_named_by_its_id(model: str) -> None:
    async with instance() as s:
        sdk = s.sdk()
        first = await sdk.responses.create(model=CHAT, input="one")
        reference: Any = {"type": "item_reference", "id": first.output[0].id}
        again: Any = {"role": "user", "content": "again"}
        answer = await sdk.responses.create(model=model, input=[reference, again])
        assert answer.output_text == "echo: again"
        sent = s.mock.calls[-1].json()
        assert "echo: one" in str(sent.get("messages") or sent["input"])


@BOTH
async def test_an_unknown_previous_response_is_a_400_with_its_param(model: str) -> None:
    async with instance() as s:
        for unknown in ("resp_01ARZ3NDEKTSV4RRFFQ69G5FAV", "resp_unknown"):
            with pytest.raises(openai.BadRequestError) as caught:
                await s.sdk().responses.create(model=model, input="hi", previous_response_id=unknown)
            assert caught.value.param == "previous_response_id"


async def test_hosted_tools_are_the_providers_own_or_refused() -> None:
    async with instance() as s:
        hosted: Any = [{"type": "web_search"}]
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().responses.create(model=CHAT, input="hi", tools=hosted)
        assert (caught.value.code, caught.value.param) == ("not_supported", "tools[0]")
        assert not s.mock.calls
        answer = await s.sdk().responses.create(model=NATIVE, input="hi", tools=hosted)
        assert answer.output_text == "echo: hi"
        assert s.mock.calls[-1].json()["tools"] == hosted


async def test_background_is_refused() -> None:
    async with instance() as s:
        with pytest.raises(openai.BadRequestError) as caught:
            await s.sdk().responses.create(model=CHAT, input="hi", background=True)
        assert (caught.value.code, caught.value.param) == ("not_supported", "background")


async def test_what_nothing_changed_reaches_a_provider_of_responses_byte_for_byte_and_comes_back_so() -> None:
    async with instance() as s:
        body = b'{ "model": "gpt" ,"input":"hi",  "x_unknown": {"a":1} , "stream":true}'
        sent = sse(*native_events())
        s.mock.script(Reply(body=sent, content_type="text/event-stream"))
        answer = await s.http().post("/v1/responses", content=body, headers={"content-type": "application/json"})
        assert s.mock.calls[-1].body == body
        assert answer.content == sent


async def test_only_the_models_name_is_changed_where_it_must_be() -> None:
    async with instance() as s:
        await s.http().post(
            "/v1/responses", json={"model": NATIVE, "input": "hi", "include": ["reasoning.encrypted_content"]}
        )
        assert s.mock.calls[-1].json() == {"model": "gpt", "input": "hi", "include": ["reasoning.encrypted_content"]}
        await s.http().post(
            "/v1/responses", json={"model": "other", "input": "hi"}, headers={"x-stockyard-model": NATIVE}
        )
        assert s.mock.calls[-1].json() == {"model": "gpt", "input": "hi"}


SECRET = "AKIA" + "QZ7X3M5LN2WVB4TD"


@BOTH
@pytest.mark.parametrize("stream", [False, True])
async def test_what_secretscan_redacts_leaves_neither_here_nor_at_the_provider(model: str, stream: bool) -> None:
    async with instance({"secretscan": {"action": "redact"}}) as s:
        body = {"model": model, "input": f"my token is {SECRET} ok", "stream": stream}
        answer = await s.http().post("/v1/responses", json=body)
        assert answer.status_code == 200
        assert SECRET not in s.mock.calls[-1].body.decode()
        assert last_path(s) == ("/v1/responses" if model == NATIVE else "/v1/chat/completions")
        s.mock.script(chunks(["the token ", SECRET[:10], SECRET[10:], " it is"]))
        answer = await s.http().post("/v1/responses", json={**body, "input": "say it"})
        assert SECRET not in answer.text
        assert SECRET[10:] not in answer.text
        assert "[SECRET:" in answer.text
        if stream:
            events = events_of(answer.content)
            said = "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")
            assert said == events[-1]["response"]["output"][0]["content"][0]["text"]
            assert said.startswith("the token [SECRET:")
            assert said.endswith(" it is")


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
            with pytest.raises(kind) as caught:
                await s.sdk().responses.create(model=model, input="hi", stream=stream)
            assert caught.value.request_id
            trace = await s.trace(caught.value.response.headers["x-stockyard-trace-id"])
            assert (trace["status"], trace["operation"], trace["dialect_in"]) == (
                "error",
                "response",
                "openai.responses",
            )


@BOTH
async def test_a_stream_that_breaks_off_ends_with_an_error_event(model: str) -> None:
    async with instance({"retry": False}) as s:
        s.mock.script(drop(2, "one two three four five"))
        answer = await s.http().post("/v1/responses", json={"model": model, "input": "hi", "stream": True})
        assert answer.status_code == 200
        events = events_of(answer.content)
        assert events[-1]["type"] == "error"
        assert events[-1]["code"] == "bad_upstream_response"
        trace = await s.trace(answer.headers["x-stockyard-trace-id"])
        assert trace["status"] == "error"


async def test_a_failure_that_a_provider_reports_in_its_answer_is_its_error() -> None:
    async with instance({"retry": False}) as s:
        failed = response("failed", error={"code": "rate_limit_exceeded", "message": "slow down"})
        s.mock.script(Reply(body=orjson.dumps(failed)))
        with pytest.raises(openai.RateLimitError):
            await s.sdk().responses.create(model=NATIVE, input="hi")
        event = {"type": "response.failed", "response": failed}
        s.mock.script(Reply(body=sse(native_events()[0], event), content_type="text/event-stream"))
        with pytest.raises(openai.RateLimitError):
            await s.sdk().responses.create(model=NATIVE, input="hi", stream=True)


@BOTH
async def test_a_caller_who_leaves_ends_the_call_at_the_provider(model: str) -> None:
    async with instance() as s:
        s.mock.script(chunks(["word "] * 200, piece_delay_s=0.05))
        stream = await s.sdk().responses.create(model=model, input="hi", stream=True)
        async for event in stream:
            if event.type == "response.output_text.delta":
                break
        await stream.close()
        call = s.mock.calls[-1]
        await until(lambda: call.hung_up)
        await until(lambda: s.instance.chute.in_flight == 0)
        (trace,) = await s.recent_traces(1)
        assert trace["status"] == "cancelled"


@BOTH
async def test_the_trace_says_in_which_dialects_it_came_and_went(model: str) -> None:
    async with instance() as s:
        raw = await s.sdk().responses.with_raw_response.create(model=model, input="hi")
        trace = await s.trace(raw.headers["x-stockyard-trace-id"])
        assert trace["dialect_in"] == "openai.responses"
        assert trace["dialect_out"] == ("openai.responses" if model == NATIVE else "openai.chat")
        assert trace["tokens_in"] > 0
        assert trace["tokens_out"] > 0


async def test_a_cached_answer_is_a_response_of_its_own() -> None:
    async with instance({"cachelayer": True}) as s:
        first = await s.sdk().responses.create(model=CHAT, input="hi")
        again = await s.sdk().responses.with_raw_response.create(model=CHAT, input="hi")
        assert again.headers["x-stockyard-cache"] == "hit"
        assert again.parse().output_text == first.output_text
        assert again.parse().id != first.id
        assert len(s.mock.calls) == 1


async def test_conversations_that_a_provider_keeps_do_not_share_an_answer() -> None:
    async with instance({"cachelayer": True}) as s:
        sdk = s.sdk()
        for number in range(2):
            first = await sdk.responses.create(model=NATIVE, input=f"first {number}")
            raw = await sdk.responses.with_raw_response.create(
                model=NATIVE, input="go on", previous_response_id=first.id
            )
            assert raw.headers["x-stockyard-cache"] == "bypass"
        again = await sdk.responses.with_raw_response.create(model=NATIVE, input="first 0")
        assert again.headers["x-stockyard-cache"] == "hit"
        assert again.parse().output_text == "echo: first 0"
        assert len(s.mock.calls) == 4


async def test_the_built_in_model_answers_too() -> None:
    async with instance() as s, s.sdk().responses.stream(model="mock/gpt", input="hi") as stream:
        assert (await stream.get_final_response()).output_text == "echo: hi"


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "hi"}, "model"),
        ({"model": CHAT}, "input"),
        ({"model": CHAT, "input": [{"role": "x", "content": ""}]}, "input[0].role"),
        ({"model": CHAT, "input": "hi", "stream": "yes"}, "stream"),
        ({"model": CHAT, "input": "hi", "store": 1}, "store"),
        ({"model": CHAT, "input": "hi", "metadata": []}, "metadata"),
        ({"model": CHAT, "input": "hi", "previous_response_id": 7}, "previous_response_id"),
        (
            {"model": CHAT, "input": "hi", "previous_response_id": "resp_1", "conversation": "conv_1"},
            "previous_response_id",
        ),
    ],
)
async def test_a_bad_field_is_a_400_with_its_place(body: Any, param: str) -> None:
    async with instance() as s:
        answer = await s.http().post("/v1/responses", json=body)
        assert answer.status_code == 400
        assert answer.json()["error"]["param"] == param
