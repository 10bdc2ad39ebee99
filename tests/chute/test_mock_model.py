"""The built-in mock model, asked as a call asks it."""

import asyncio
from typing import Any

import orjson
import pytest

from instance.chute.mock_model import MockModel
from instance.chute.mock_response import MockResponse
from instance.chute.upstream import UpstreamError
from instance.core.clock import Clock, FakeClock


def ask(text: Any = "hello there", **more: Any) -> dict[str, Any]:
    return {"model": "gpt", "messages": [{"role": "user", "content": text}], **more}


async def answer(body: dict[str, Any], clock: Clock | None = None) -> dict[str, Any]:
    response = await MockModel(clock or Clock()).answer(body, stream=False)
    found = orjson.loads(await response.read(1 << 20))
    assert isinstance(found, dict)
    return {"http_status": response.status, **found}


async def events(body: dict[str, Any]) -> list[Any]:
    response = await MockModel(Clock()).answer({"stream": True, **body}, stream=True)
    assert response.headers[b"content-type"].startswith(b"text/event-stream")
    text = (await response.read(8 << 20)).decode()
    assert text.endswith("\n\n")
    data = [event.removeprefix("data: ") for event in text.removesuffix("\n\n").split("\n\n")]
    assert data.pop() == "[DONE]"
    return [orjson.loads(one) for one in data]


def content(chunks: list[Any]) -> str:
    return "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks if chunk["choices"])


async def test_it_echoes_the_last_user_text():
    body = ask()
    body["messages"] += [{"role": "assistant", "content": "a"}, {"role": "user", "content": "and now?"}]
    found = await answer(body)
    assert found["choices"][0]["message"] == {
        "role": "assistant",
        "content": "echo: and now?",
        "refusal": None,
        "annotations": [],
    }
    assert (found["object"], found["model"], found["choices"][0]["finish_reason"]) == ("chat.completion", "gpt", "stop")


async def test_text_parts_are_read_and_other_parts_passed_over():
    parts = [
        {"type": "text", "text": "a "},
        {"type": "image_url", "image_url": {"url": "x"}},
        {"type": "text", "text": "b"},
    ]
    assert (await answer(ask(parts)))["choices"][0]["message"]["content"] == "echo: a b"


@pytest.mark.parametrize("text", ["", "a  b ", 'quote " \\ \n % %s %b ü €', "x" * 10_000])
async def test_whole_and_streamed_answers_hold_the_same_text(text):
    whole = (await answer(ask(text)))["choices"][0]["message"]["content"]
    assert whole == f"echo: {text}" == content(await events(ask(text)))


async def test_a_stream_is_role_then_a_chunk_a_word_then_the_finish():
    found = await events(ask("one two"))
    assert found[0]["choices"][0]["delta"] == {"role": "assistant", "content": "", "refusal": None}
    assert [chunk["choices"][0]["delta"]["content"] for chunk in found[1:-1]] == ["echo:", " one", " two"]
    assert (found[-1]["choices"][0]["delta"], found[-1]["choices"][0]["finish_reason"]) == ({}, "stop")
    assert {chunk["object"] for chunk in found} == {"chat.completion.chunk"}
    assert len({(chunk["id"], chunk["created"]) for chunk in found}) == 1
    assert "usage" not in found[0]


async def test_a_stream_gives_usage_last_when_asked():
    found = await events(ask("one two", stream_options={"include_usage": True}))
    assert [chunk["usage"] for chunk in found[:-1]] == [None] * (len(found) - 1)
    assert (found[-1]["choices"], found[-1]["usage"]["completion_tokens"]) == ([], 3)


async def test_usage_is_a_token_for_four_characters_in_and_a_word_out():
    usage = (await answer(ask("twelve chars")))["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (3, 3, 6)


async def test_tokens_sets_the_length_of_the_answer():
    found = await answer(ask("a b", mock={"tokens": 500}))
    assert found["usage"]["completion_tokens"] == 500
    assert len(found["choices"][0]["message"]["content"].split(" ")) == 500
    assert (await answer(ask("a b", mock={"tokens": 0})))["choices"][0]["message"]["content"] == ""


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
async def test_the_callers_limit_cuts_the_answer(field):
    found = await answer(ask("a b c d", **{field: 2}))
    assert found["choices"][0]["message"]["content"] == "echo: a"
    assert (found["choices"][0]["finish_reason"], found["usage"]["completion_tokens"]) == ("length", 2)


async def test_as_many_choices_as_asked_for():
    assert [choice["index"] for choice in (await answer(ask(n=3)))["choices"]] == [0, 1, 2]
    found = await events(ask("a", n=2))
    assert [chunk["choices"][0]["index"] for chunk in found] == [0, 1] * 4


@pytest.mark.parametrize("status", [400, 404, 429, 500, 503])
async def test_a_status_is_answered_in_openais_error_form(status):
    found = await answer(ask(mock={"status": status}))
    assert found["http_status"] == status
    assert set(found["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"mock": []}, "mock"),
        ({"mock": {"delay": 3}}, "mock.delay"),
        ({"mock": {"delay_ms": "3"}}, "mock.delay_ms"),
        ({"mock": {"delay_ms": -1}}, "mock.delay_ms"),
        ({"mock": {"delay_ms": True}}, "mock.delay_ms"),
        ({"mock": {"delay_ms": float("nan")}}, "mock.delay_ms"),
        ({"mock": {"tokens": 1.5}}, "mock.tokens"),
        ({"mock": {"tokens": 10**9}}, "mock.tokens"),
        ({"mock": {"tokens_per_s": -2}}, "mock.tokens_per_s"),
        ({"mock": {"status": 99}}, "mock.status"),
        ({"mock": {"drop_after": "x"}}, "mock.drop_after"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"messages": []}, "messages"),
        ({"messages": "hi"}, "messages"),
        ({"messages": ["hi"]}, "messages[0]"),
        ({"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
    ],
)
async def test_a_bad_value_is_a_400_that_names_its_field(more, param):
    found = await answer({**ask(), **more})
    assert (found["http_status"], found["error"]["param"]) == (400, param)


async def test_a_misspelt_option_is_answered_with_the_nearest_name():
    assert "delay_ms" in (await answer(ask(mock={"dely_ms": 3})))["error"]["message"]


async def drained(response: MockResponse) -> bytes:
    came = b""
    with pytest.raises(UpstreamError) as caught:
        while block := await response.next_block():
            came += block
    assert caught.value.kind == "truncated"
    return came


async def test_drop_after_breaks_a_stream_after_so_many_words():
    response = await MockModel(Clock()).answer(ask("one two three", mock={"drop_after": 2}), stream=True)
    came = await drained(response)
    assert came.count(b"data: ") == 3
    assert b" one" in came and b" two" not in came


async def test_drop_after_breaks_a_plain_answer_in_the_middle():
    response = await MockModel(Clock()).answer(ask("one two three", mock={"drop_after": 2}), stream=False)
    came = await drained(response)
    assert came.endswith(b"echo: one") or b"echo: on" in came


async def test_the_delay_is_slept_on_the_given_clock():
    clock = FakeClock()
    task = asyncio.create_task(MockModel(clock).answer(ask(mock={"delay_ms": 250}), stream=False))
    await asyncio.sleep(0)
    clock.advance(0.249)
    await asyncio.sleep(0)
    assert not task.done()
    clock.advance(0.001)
    assert (await task).status == 200


async def test_a_paced_stream_gives_a_block_when_it_is_due():
    clock = FakeClock()
    response = await MockModel(clock).answer(ask("one two", mock={"tokens_per_s": 10}), stream=True)
    for _ in range(3):
        block = asyncio.create_task(response.next_block())
        await asyncio.sleep(0)
        assert not block.done()
        clock.advance(0.1)
        assert (await block).count(b"data: ") == 1


async def test_a_closed_response_gives_nothing_more():
    response = await MockModel(Clock()).answer(ask(), stream=True)
    response.close()
    with pytest.raises(UpstreamError):
        await response.next_block()


async def test_ids_differ_and_created_is_now():
    clock = FakeClock()
    model = MockModel(clock)
    found = [orjson.loads(await (await model.answer(ask(), stream=False)).read(1 << 20)) for _ in range(2)]
    assert found[0]["id"] != found[1]["id"]
    assert found[0]["id"].startswith("chatcmpl-")
    assert found[0]["created"] == clock.wall_ns() // 10**9
