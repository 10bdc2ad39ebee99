"""tokentrim over HTTP: what goes, what stays, and what is refused."""

from __future__ import annotations

import random
from typing import Any

import openai
import pytest

from instance.chute.modules.transform.conversation_units import conversation_of
from instance.chute.tokens import count_prompt_tokens
from tests.mock_replies import status, text
from tests.modules.conftest import Running, running

SYSTEM = {"role": "system", "content": "You are a helpful assistant."}


def _trim(**more: Any) -> dict[str, Any]:
    return {"tokentrim": {"windows": {"up/*": 1000}, "reserve_output_tokens": 0, **more}}


def _turn(number: int, words: int = 15) -> list[dict[str, Any]]:
    return [
        {"role": "user", "content": f"question {number} " + "why " * words},
        {"role": "assistant", "content": f"answer {number} " + "because " * words},
    ]


def _round(number: int, result: str = "result " * 30) -> list[dict[str, Any]]:
    call = {"id": f"call_{number}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"call_{number}", "content": f"{number} {result}"},
    ]


def _chat(turns: int = 40) -> list[dict[str, Any]]:
    talk = [message for number in range(turns) for message in _turn(number)]
    return [SYSTEM, *talk, {"role": "user", "content": "the last question"}]


async def _sent(s: Running, messages: list[dict[str, Any]], **more: Any) -> list[dict[str, Any]]:
    """The messages that reached the provider."""
    await s.sdk().chat.completions.create(model=s.model, messages=messages, **more)
    body = s.mock.calls[-1].json()
    found: list[dict[str, Any]] = body["messages"]
    return found


def _holds_together(messages: list[dict[str, Any]]) -> None:
    """No tool result without its call before it, no call without its results."""
    open_calls: set[str] = set()
    for message in messages:
        if message["role"] == "tool":
            assert message["tool_call_id"] in open_calls
            open_calls.discard(message["tool_call_id"])
        else:
            assert not open_calls
            open_calls = {call["id"] for call in message.get("tool_calls") or ()}
    assert not open_calls


async def test_a_long_chat_keeps_its_system_message_first_exchange_and_last_question() -> None:
    messages = _chat()
    assert count_prompt_tokens({"messages": messages}) > 3000
    async with running(_trim()) as s:
        sent = await _sent(s, messages)
        assert count_prompt_tokens({"messages": sent}) <= 800
        assert sent[:3] == messages[:3]
        assert sent[-3:] == messages[-3:]
        (trace,) = await s.recent_traces(1)
        ((action, detail),) = await s.trail(trace["id"], "tokentrim")
        assert (action, detail["strategy"]) == ("trim", "middle_out")
        assert detail["after"] <= 800 < detail["before"]
        assert detail["turns_removed"] > 20


async def test_a_chat_that_fits_arrives_byte_for_byte() -> None:
    async with running(_trim()) as s:
        answer = await s.http().post(
            "/v1/chat/completions", content=b'{"model":"small", "messages":[ {"role":"user","content":"hi"} ]}'
        )
        assert answer.status_code == 200
        assert b'"messages":[ {"role"' in s.mock.calls[0].body
        assert "x-stockyard-trimmed-tokens" not in answer.headers


async def test_the_room_is_the_window_less_what_the_call_asks_for() -> None:
    async with running(_trim()) as s:
        sent = await _sent(s, _chat(), max_tokens=400)
        assert count_prompt_tokens({"messages": sent}) <= 400


async def test_oldest_takes_the_first_exchange_first() -> None:
    async with running(_trim(strategy="oldest")) as s:
        sent = await _sent(s, _chat())
        assert sent[0] == SYSTEM
        assert not sent[1]["content"].startswith("question 0 ")
        assert sent[-1]["content"] == "the last question"


async def test_priority_shortens_tool_results_before_it_leaves_anything_out() -> None:
    messages = [SYSTEM, {"role": "user", "content": "look"}, *_round(1, "long " * 1500), *_turn(2)[1:], *_turn(3)]
    messages.append({"role": "user", "content": "and now?"})
    async with running(_trim(strategy="priority")) as s:
        sent = await _sent(s, messages)
        assert len(sent) == len(messages)
        assert "left out" in sent[3]["content"]
        assert count_prompt_tokens({"messages": sent}) <= 800


async def test_priority_leaves_out_answers_before_questions() -> None:
    async with running(_trim(strategy="priority")) as s:
        sent = await _sent(s, _chat(12))
        roles = [message["role"] for message in sent]
        assert roles.count("user") > roles.count("assistant")


async def test_pinned_messages_stay_and_the_mark_is_taken_off() -> None:
    messages = _chat()
    messages[21] = {**messages[21], "pin": True}
    async with running(_trim()) as s:
        sent = await _sent(s, messages)
        assert {"role": "user", "content": messages[21]["content"]} in sent
        short = await _sent(s, [{"role": "user", "content": "hi", "pin": True}])  # type: ignore[list-item]
        assert short == [{"role": "user", "content": "hi"}]


@pytest.mark.parametrize("seed", range(12))
async def test_calls_and_their_results_go_together(seed: int) -> None:
    chance = random.Random(seed)
    messages: list[dict[str, Any]] = [SYSTEM]
    for number in range(12):
        messages += _turn(number, chance.randint(5, 30))
        for each in range(chance.randint(0, 3)):
            messages += _round(100 * number + each, "word " * chance.randint(5, 80))
    messages.append({"role": "user", "content": "go on"})
    for each in range(chance.randint(0, 6)):
        messages += _round(9000 + each, "word " * chance.randint(5, 80))
    strategy = chance.choice(("middle_out", "oldest", "priority"))
    async with running(_trim(strategy=strategy)) as s:
        sent = await _sent(s, messages)
        _holds_together(sent)
        assert count_prompt_tokens({"messages": sent}) <= 800
        assert SYSTEM in sent
        assert "go on" in [message.get("content") for message in sent]


@pytest.mark.parametrize("parts", [False, True])
async def test_a_tools_result_that_nobody_has_read_yet_is_cut_and_not_left_out(parts: bool) -> None:
    async with running(_trim()) as s:
        question, last = {"role": "user", "content": "what does the file say?"}, _round(2, "word " * 3000)
        if parts:
            last[-1]["content"] = [{"type": "text", "text": last[-1]["content"]}]
        sent = await _sent(s, [SYSTEM, question, *_round(1), *last])
        _holds_together(sent)
        assert [each.get("tool_call_id") for each in sent if each["role"] == "tool"] == ["call_2"]
        content = sent[-1]["content"][0]["text"] if parts else sent[-1]["content"]
        assert content.startswith("2 word")
        assert "tokens left out" in content


async def test_a_text_that_is_too_large_by_itself_loses_its_middle_visibly() -> None:
    messages = [*_turn(0, 900), {"role": "user", "content": "and?"}]
    async with running(_trim()) as s:
        sent = await _sent(s, messages)
        assert count_prompt_tokens({"messages": sent}) <= 800
        assert len(sent) == 3
        assert sent[1]["content"].startswith("answer 0 ")
        assert "tokens left out …]" in sent[1]["content"]


async def test_what_is_protected_and_does_not_fit_is_refused_unless_the_last_may_be_cut() -> None:
    body = [{"role": "user", "content": "word " * 3000}]
    async with running(_trim()) as s:
        with pytest.raises(openai.BadRequestError) as caught:
            await _sent(s, body)
        assert caught.value.code == "context_length_exceeded"
        assert not s.mock.calls
        await s.configure(_trim(cut_last=True))
        (sent,) = await _sent(s, body)
        assert "left out" in sent["content"]


async def test_a_summary_takes_the_place_of_what_was_left_out() -> None:
    async with running(_trim(strategy="summarise", summary_model="up/large")) as s:
        s.mock.script(text("They spoke of forty whys."), text("ok"))
        sent = await _sent(s, _chat())
        assert [call.json()["model"] for call in s.mock.calls] == ["large", "small"]
        assert "question 5 " in s.mock.calls[0].json()["messages"][1]["content"]
        assert sent[1]["role"] == "system"
        assert sent[1]["content"].endswith("They spoke of forty whys.")
        assert count_prompt_tokens({"messages": sent}) <= 800


async def test_without_its_summary_the_call_goes_on() -> None:
    async with running({**_trim(strategy="summarise"), "retry": False}) as s:
        s.mock.script(status(500), text("ok"))
        sent = await _sent(s, _chat())
        assert count_prompt_tokens({"messages": sent}) <= 800


def test_a_result_of_a_call_that_is_not_there_is_a_unit_of_its_own() -> None:
    units = conversation_of([{"role": "user", "content": "a"}, *_round(1)[1:], *_turn(2)]).units
    assert [unit.places for unit in units] == [[0], [1], [2], [3]]
