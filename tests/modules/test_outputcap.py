"""outputcap: by tokens before the call, by characters after it, and where a text is cut."""

from __future__ import annotations

import random
from typing import Any

import pytest

from instance.chute.graphemes import grapheme_floor
from instance.chute.modules.cost.text_cut import CutStream, cut
from tests.mock_replies import Reply, chunks, text
from tests.mock_upstream import until
from tests.modules.conftest import Running, running

SENTENCES = " ".join(f"This is sentence number {n} of many." for n in range(100))


async def _texts(s: Running, stream: bool, **more: Any) -> tuple[str, str]:
    """The answer's text and how it finished."""
    made = await s.sdk().chat.completions.create(**s.body(**more), stream=stream)
    if not stream:
        return made.choices[0].message.content or "", made.choices[0].finish_reason
    said, finishes = [], []
    async for chunk in made:
        for choice in chunk.choices:
            said.append(choice.delta.content or "")
            finishes += [choice.finish_reason] if choice.finish_reason else []
    assert len(finishes) == 1
    return "".join(said), finishes[0]


@pytest.mark.parametrize(
    ("asked", "sent"),
    [
        ({"max_tokens": 5000}, {"max_tokens": 1024}),
        ({"max_completion_tokens": 5000}, {"max_completion_tokens": 1024}),
        ({"max_tokens": 10}, {"max_tokens": 10}),
        ({}, {"max_tokens": 1024}),
    ],
)
async def test_the_limit_of_tokens_is_lowered_and_never_raised(asked: dict[str, int], sent: dict[str, int]) -> None:
    async with running({"outputcap": {}}) as s:
        await s.chat(**asked)
        body = s.mock.calls[-1].json()
        assert {name: body[name] for name in ("max_tokens", "max_completion_tokens") if name in body} == sent


async def test_a_model_may_have_a_limit_of_its_own() -> None:
    async with running({"outputcap": {"per_model": {"*large": 7, "up/small": 0}}}) as s:
        await s.chat(model="up/large")
        assert s.mock.calls[-1].json()["max_tokens"] == 7
        await s.chat()
        assert "max_tokens" not in s.mock.calls[-1].json()


@pytest.mark.parametrize("stream", [False, True])
async def test_a_long_answer_ends_at_a_sentence_within_the_limit(stream: bool) -> None:
    async with running({"outputcap": {"max_chars": 100}}) as s:
        s.mock.script(text(SENTENCES))
        said, finish = await _texts(s, stream)
        assert finish == "length"
        assert len(said) <= 101
        assert said == "This is sentence number 0 of many. This is sentence number 1 of many.…"
        (trace,) = await s.recent_traces(1)
        assert trace["tags"]["cut"] == "true"
        assert "cut" in [action for action, _ in await s.trail(trace["id"], "outputcap")]


async def test_a_stream_at_its_limit_gives_the_provider_up() -> None:
    async with running({"outputcap": {"max_chars": 40}}) as s:
        s.mock.script(chunks(["Some words. "] * 500, piece_delay_s=0.02))
        said, finish = await _texts(s, True)
        assert (said, finish) == ("Some words. Some words. Some words.…", "length")
        await until(lambda: s.mock.calls[0].hung_up)
        (trace,) = await s.recent_traces(1)
        assert trace["status"] == "ok"
        assert 0 < trace["tokens_out"] < 100


@pytest.mark.parametrize("calls", [True, False])
@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_call_behind_a_text_that_is_cut_arrives(stream: bool, calls: bool) -> None:
    async with running({"outputcap": {"max_chars": 60}}) as s:
        s.mock.script(Reply(text="One sentence. " * 40, tool_calls=[("look", {"at": "it"})] if calls else []))
        tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}
        said = finish = called = ""
        if stream:
            events = await s.sdk().chat.completions.create(**s.body(tools=[tool]), stream=True)
            choices = [choice async for event in events for choice in event.choices]
            for choice in choices:
                said += choice.delta.content or ""
                called += "".join(call.function.arguments or "" for call in choice.delta.tool_calls or ())
            finish = ",".join(choice.finish_reason for choice in choices if choice.finish_reason)
        else:
            (one,) = (await s.sdk().chat.completions.create(**s.body(tools=[tool]))).choices
            said, finish = one.message.content, one.finish_reason
            called = "".join(call.function.arguments for call in one.message.tool_calls or ())
        assert said == "One sentence. " * 3 + "One sentence.…"
        assert (finish, called) == (("tool_calls", '{"at":"it"}') if calls else ("length", ""))


@pytest.mark.parametrize("stream", [False, True])
async def test_a_short_answer_and_json_arrive_as_they_are(stream: bool) -> None:
    async with running({"outputcap": {"max_chars": 50}}) as s:
        s.mock.script(text("Just this."), text('{"a": "' + "x" * 100 + '"}'))
        assert await _texts(s, stream) == ("Just this.", "stop")
        said, finish = await _texts(s, stream, response_format={"type": "json_object"})
        assert (len(said), finish) == (109, "stop")


@pytest.mark.parametrize(
    ("at", "kept"),
    [
        ("sentence", "One two three. Four five six…"),
        ("word", "One two three. Four five six…"),
        ("hard", "One two three. Four five six s…"),
    ],
)
def test_without_a_sentence_end_in_the_final_half_it_is_a_word(at: Any, kept: str) -> None:
    assert cut("One two three. Four five six seven eight", 30, at, "…") == kept


def test_an_open_fence_is_closed_after_its_last_whole_line() -> None:
    text_ = "Here:\n```python\nfirst = 1\nsecond = 2\nthird = 3\n```\nDone."
    assert cut(text_, 40, "sentence", "…") == "Here:\n```python\nfirst = 1\nsecond = 2\n```\n…"


@pytest.mark.parametrize("piece", ["e\u0301", "👩‍👩‍👧", "🇩🇪", "👍🏽", "न्"])
def test_no_character_is_torn(piece: str) -> None:
    for index in range(len(piece) + 1):
        assert grapheme_floor("a" + piece + "b", 1 + index) in (1, 1 + len(piece))


def test_a_stream_is_cut_as_the_whole_text_is_however_it_arrives() -> None:
    chance = random.Random(5)
    for limit in (20, 60, 100, 390):
        for at in ("sentence", "word", "hard"):
            stream, said, position = CutStream(limit, at, "…", limit), "", 0  # type: ignore[arg-type]
            while position < len(SENTENCES) and not stream.ended:
                size = chance.randint(1, 30)
                said += stream.feed(SENTENCES[position : position + size], False)
                position += size
            assert said == cut(SENTENCES, limit, at, "…")  # type: ignore[arg-type]


def test_what_passes_far_from_the_limit_is_what_would_be_fed() -> None:
    chance = random.Random(7)
    for _ in range(300):
        limit = chance.randint(10, 400)
        near = chance.randint(1, limit)
        fed, passed = CutStream(limit, "sentence", "…", near), CutStream(limit, "sentence", "…", near)
        position = 0
        while position < len(SENTENCES) and not fed.ended:
            text_ = SENTENCES[position : position + chance.randint(1, 30)]
            position += len(text_)
            last = position >= len(SENTENCES)
            sent = passed.passed(text_, last)
            if sent is None:
                sent = passed.feed(text_, last)
            assert (sent, passed.ended) == (fed.feed(text_, last), fed.ended)
