"""hallucicheck: statements that the prompt does not support, and facts that cannot be."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from instance.chute.modules.safety.checkable_facts import doubts, is_email, is_isbn, is_url
from tests.mock_replies import chunks, text
from tests.modules.conftest import Running, running

CONTEXT = "Context: Acme Corp makes shoes in Leeds. The company was founded in 1987. Its head is Rita Moss."
ANSWER = "It was founded in 1987. It has 4,200 employees."


async def said(s: Running, answer: str, stream: bool = False, context: str = CONTEXT) -> str:
    pieces = [answer[at : at + 7] for at in range(0, len(answer), 7)]
    s.mock.script(chunks(pieces) if stream else text(answer))
    messages: list[Any] = [{"role": "system", "content": context}, {"role": "user", "content": "Tell me about it."}]
    made = await s.sdk().chat.completions.create(model=s.model, messages=messages, stream=stream)
    if not stream:
        return made.choices[0].message.content or ""
    return "".join([chunk.choices[0].delta.content or "" async for chunk in made if chunk.choices])


async def doubted(s: Running) -> list[dict[str, Any]]:
    trace, *_ = await s.recent_traces(1)
    return [detail for action, detail in await s.trail(trace["id"], "hallucicheck") if action == "unsupported"]


@pytest.mark.parametrize("stream", [False, True])
async def test_exactly_the_statement_without_support_is_flagged(stream: bool) -> None:
    async with running({"hallucicheck": {}}) as s:
        assert await said(s, ANSWER, stream) == ANSWER
        (detail,) = await doubted(s)
        assert "number" in detail["why"]
        assert detail["support"] < 0.45
        assert "employees" not in str(detail)


async def test_a_bare_fragment_of_the_context_is_supported() -> None:
    async with running({"hallucicheck": {}}) as s:
        await said(s, "founded in 1987. It has 4,200 employees.")
        assert len(await doubted(s)) == 1


async def test_tool_results_are_reference() -> None:
    async with running({"hallucicheck": {}}) as s:
        call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        messages: list[Any] = [
            {"role": "user", "content": "How warm is it?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": '{"city": "Oslo", "temperature": 21}'},
        ]
        s.mock.script(text("The temperature in Oslo is 21 degrees. The wind blows at 90 km/h from Spain."))
        raw = await s.sdk().chat.completions.with_raw_response.create(model=s.model, messages=messages)
        assert raw.headers["x-stockyard-grounding"] == "0.50"


async def test_sums_are_recomputed_without_any_reference() -> None:
    async with running({"hallucicheck": {}}) as s:
        await said(s, "12 + 30 = 44", context="You are helpful.")
        assert [detail["why"] for detail in await doubted(s)] == [["arithmetic"]]
        await said(s, "12 + 30 = 42", context="You are helpful.")
        assert await doubted(s) == []


async def test_an_answer_without_statements_scores_one() -> None:
    async with running({"hallucicheck": {}}) as s:
        s.mock.script(text("Hello! How can I help you?"))
        raw = await s.sdk().chat.completions.with_raw_response.create(**s.body("hi"))
        assert raw.headers["x-stockyard-grounding"] == "1.00"


@pytest.mark.parametrize("stream", [False, True])
async def test_annotate_adds_notes_at_the_end(stream: bool) -> None:
    async with running({"hallucicheck": {"action": "annotate"}}) as s:
        shown = await said(s, ANSWER, stream)
        assert shown.startswith(ANSWER)
        assert "“It has 4,200 employees.”: a number that the sources do not have" in shown
        assert await said(s, "It was founded in 1987.", stream) == "It was founded in 1987."


@pytest.mark.parametrize("stream", [False, True])
async def test_block_refuses_the_answer_with_its_sentences(stream: bool) -> None:
    async with running({"hallucicheck": {"action": "block"}}) as s:
        assert await said(s, ANSWER, stream) == ANSWER  # half of it is supported
        with pytest.raises(openai.APIError) as refused:
            await said(s, "It has 4,200 employees. Its cars win races in Peru.", stream)
        assert refused.value.code == "unsupported_answer"
        if not stream:
            assert len(refused.value.body["details"]) == 2  # type: ignore[index]


async def test_self_check_compares_with_other_answers() -> None:
    async with running({"hallucicheck": {"self_check": True, "samples": 2}}) as s:
        s.mock.script(
            text("The tower was built in 1889. It is painted purple with dots."),
            text("The tower was built in 1889."),
            text("It was built in 1889 and is a tower."),
        )
        made = await s.sdk().chat.completions.create(**s.body("Tell me about the tower"))
        assert "purple" in (made.choices[0].message.content or "")
        assert len(s.mock.calls) == 3
        assert [detail["why"] for detail in await doubted(s)] == [["samples"]]


async def test_live_addresses_are_asked_once_a_day() -> None:
    async with running({"hallucicheck": {"check_live": True, "checks": ["url"]}}) as s:
        gone = f"See {s.mock.url.removesuffix('/v1')}/nowhere/at/all for more."
        await said(s, gone)
        await said(s, gone)
        assert [detail["why"] for detail in await doubted(s)] == [["gone"]]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("See http://foo.notatld/x for it.", "url"),
        ("Write to a@b.corpzz now.", "email"),
        ("ISBN 978-3-16-148410-1", "isbn"),
        ("Read doi:99.1/abc first.", "doi"),
        ("It is arXiv:2313.12345 then.", "arxiv"),
        ("That was shown before [3].", "citation"),
        ("7 * 8 is 54", "arithmetic"),
        ("15% of 80 is 13", "arithmetic"),
        ("The sum of 3 and 4 is 8.", "arithmetic"),
        ("Half of 12 is 5.", "arithmetic"),
    ],
)
def test_facts_that_cannot_be(answer: str, why: str) -> None:
    checks = frozenset(("url", "email", "citation", "arithmetic"))
    assert [doubt.why for doubt in doubts(answer, "", checks, grounded=False)] == [why]


@pytest.mark.parametrize(
    "answer",
    [
        "See https://www.example.com/a?b=c and https://docs.python.org/3/.",
        "ISBN 978-3-16-148410-0 or ISBN 0-306-40615-2",
        "doi:10.1000/xyz123 and arXiv:2301.12345v2",
        "As shown [1].\n\n[1] Smith, A book.",
        "1/3 = 0.33, 10 / 4 = 2.5 and $1,200 + $300 = $1,500",
        "`a[0] + 1 = 7` and list[0]",
        "x = 3 + 4 = 7",
        "I am doing well; the DOI: to be given, of two dois.",
    ],
)
def test_facts_that_can_be(answer: str) -> None:
    checks = frozenset(("url", "email", "citation", "arithmetic"))
    assert list(doubts(answer, "", checks, grounded=False)) == []


def test_forms() -> None:
    assert is_url("https://münchen.de")
    assert not is_url("https://exa mple")
    assert is_email("a.b@c.co.uk")
    assert not is_email("a..b@c.co.uk")
    assert is_isbn("080442957X")
