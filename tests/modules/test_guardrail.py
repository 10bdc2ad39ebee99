"""guardrail: what is asked and answered stays on the product's topic."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.mock_replies import chunks, text
from tests.modules.conftest import Running, running

MEDICAL = {
    "name": "medical advice",
    "examples": [
        "How much paracetamol may I take in a day?",
        "What are the side effects of antibiotics?",
        "My stomach hurts since yesterday, what should I do?",
        "Is this rash dangerous?",
        "Which medicine helps against high blood pressure?",
    ],
}
COOKING = {
    "name": "cooking",
    "examples": [
        "How do I bake bread?",
        "Give me a recipe for lasagne.",
        "How long do I boil an egg?",
        "What goes well with rice?",
    ],
}
REPLY = "Sorry, that is outside what this service is for."
ASKED = "what dose of ibuprofen for a child?"


async def said(s: Running, content: Any, stream: bool = False) -> tuple[str, str]:
    messages = content if isinstance(content, list) else [{"role": "user", "content": content}]
    made = await s.sdk().chat.completions.create(model=s.model, messages=messages, stream=stream)
    if not stream:
        return made.choices[0].message.content or "", made.choices[0].finish_reason
    pieces, finish = [], ""
    async for chunk in made:
        for choice in chunk.choices:
            pieces.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
    return "".join(pieces), finish


@pytest.mark.parametrize("stream", [False, True])
async def test_a_denied_topic_gets_the_reply_and_costs_nothing(stream: bool) -> None:
    async with running({"guardrail": {"denied": [MEDICAL]}}) as s:
        assert await said(s, ASKED, stream) == (REPLY, "stop")
        assert not s.mock.calls
        (trace,) = await s.recent_traces(1)
        assert (trace["cost_usd"], trace["tokens_in"], trace["tokens_out"]) == (0, 0, 0)
        ((action, detail),) = await s.trail(trace["id"], "guardrail")
        assert (action, detail["topic"], detail["direction"], detail["action"]) == (
            "topic",
            "medical advice",
            "in",
            "reply",
        )
        assert await said(s, "how do I reset my password?", stream) == ("echo: how do I reset my password?", "stop")


async def test_reject_refuses_and_flag_only_notes() -> None:
    async with running({"guardrail": {"denied": [MEDICAL], "action": "reject"}}) as s:
        with pytest.raises(openai.PermissionDeniedError) as refused:
            await said(s, ASKED)
        assert refused.value.code == "off_topic"
        assert not s.mock.calls
        await s.configure({"guardrail": {"denied": [MEDICAL], "action": "flag", "check_output": False}})
        assert (await said(s, ASKED))[0] == f"echo: {ASKED}"
        trace, *_ = await s.recent_traces(1)
        assert [d["action"] for _, d in await s.trail(trace["id"], "guardrail")] == ["flag"]


async def test_a_pattern_is_enough_alone() -> None:
    async with running({"guardrail": {"denied": [{"name": "rival", "patterns": ["(?i)globex"]}]}}) as s:
        assert (await said(s, "Is GLOBEX any good?"))[0] == REPLY
        assert (await said(s, "Are you any good?"))[0] == "echo: Are you any good?"


async def test_only_what_is_allowed_and_small_talk_pass() -> None:
    async with running({"guardrail": {"allowed": [COOKING]}}) as s:
        assert (await said(s, "How do I roast a chicken?"))[0].startswith("echo")
        assert (await said(s, "Hello, how are you?"))[0].startswith("echo")
        assert (await said(s, "Who won the world cup in 1990?"))[0] == REPLY


async def test_a_short_follow_up_belongs_to_what_was_asked_before() -> None:
    async with running({"guardrail": {"allowed": [COOKING]}}) as s:
        before = [
            {"role": "user", "content": "How long do I boil an egg?"},
            {"role": "assistant", "content": "Seven minutes."},
        ]
        assert (await said(s, [*before, {"role": "user", "content": "and why?"}]))[0] == "echo: and why?"
    async with running({"guardrail": {"denied": [MEDICAL]}}) as s:
        before = [{"role": "user", "content": ASKED}, {"role": "assistant", "content": REPLY}]
        assert (await said(s, [*before, {"role": "user", "content": "and for a baby?"}]))[0] == REPLY
        assert (await said(s, [*before, {"role": "user", "content": "Fine, tell me how to bake bread then"}]))[
            0
        ].startswith("echo")


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_on_a_denied_topic_ends_with_the_reply(stream: bool) -> None:
    pieces = [
        "Of course, happy to help. ",
        "Take 200 mg of ibuprofen ",
        "every six hours against the pain. ",
        "Good luck with that.",
    ]
    async with running({"guardrail": {"denied": [MEDICAL]}}) as s:
        s.mock.script(chunks(pieces) if stream else text("".join(pieces)))
        shown, finish = await said(s, "Tell me something nice", stream)
        assert (shown, finish) == ((pieces[0] if stream else "") + REPLY, "stop")
        (trace,) = await s.recent_traces(1)
        assert [d["direction"] for _, d in await s.trail(trace["id"], "guardrail")] == ["out"]


async def test_the_judge_is_asked_in_the_grey_zone_only_and_decides() -> None:
    settings = {"denied": [MEDICAL], "grey": 0.5, "judge_model": "up/large", "check_output": False}
    async with running({"guardrail": settings}) as s:
        s.mock.script(text("No."))
        assert (await said(s, ASKED))[0] == f"echo: {ASKED}"
        assert [call.json()["model"] for call in s.mock.calls] == ["large", "small"]
        s.mock.script(text("yes"))
        assert (await said(s, ASKED))[0] == REPLY
        await s.configure({"guardrail": settings | {"grey": 0.0}})
        assert (await said(s, ASKED))[0] == REPLY
        assert len(s.mock.calls) == 3


async def test_an_explanation_shows_the_scores_of_a_text() -> None:
    async with running({"guardrail": {"denied": [MEDICAL, {**COOKING, "threshold": 1.0}]}}) as s:
        answer = await s.http(s.admin_key).post("/api/proxy/explain", json={"body": s.body("How do I bake a cake?")})
        assert answer.status_code == 200, answer.text
        (scores,) = [d["detail"]["denied"] for d in answer.json()["decisions"] if d["action"] == "scores"]
        assert scores["cooking"] > 0.5 > scores["medical advice"]


async def test_a_topic_of_nothing_is_refused_and_the_module_goes_on() -> None:
    async with running({"guardrail": {"denied": [MEDICAL]}}) as s:
        for topic in ({"name": "empty"}, {"name": "bad", "patterns": ["("]}):
            answer = await s.http(s.admin_key).put("/api/proxy/modules/guardrail", json={"config": {"denied": [topic]}})
            assert answer.status_code == 422
            assert "denied" in answer.text
        assert (await said(s, ASKED))[0] == REPLY
