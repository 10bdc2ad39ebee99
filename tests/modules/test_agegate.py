"""agegate: what is asked and answered fits the caller's age."""

from __future__ import annotations

import hmac
import time
from typing import Any

import openai
import pytest

from instance.chute.embedding.embedder import Embedder
from instance.chute.modules.safety.age_rules import NOTES, REPLACEMENTS, reading_grade
from instance.chute.modules.safety.agegate import AgeGate
from instance.chute.modules.safety.learned_files import AGE
from instance.chute.modules.safety.toxicity import Learned
from tests.mock_replies import chunks, text
from tests.modules.conftest import Running, running

ODDS = "The favourite has betting odds of 3 to 1. Place your bets before noon."
SECRET = "a-shared-secret"
HARD = (
    "Photosynthesis is the physiological mechanism whereby chlorophyllous organisms assimilate electromagnetic radiation, "
    "transforming atmospheric carbon dioxide alongside hydrological resources into carbohydrates and liberating oxygen simultaneously."
)
EASY = "Plants drink water and eat light. With both they make sugar. The sugar makes them grow. They also make the air that we all need to live."


async def said(s: Running, content: str, stream: bool = False, **more: Any) -> tuple[str, str]:
    made = await s.sdk().chat.completions.create(**s.body(content), stream=stream, **more)
    if not stream:
        return made.choices[0].message.content or "", made.choices[0].finish_reason
    pieces, finish = [], ""
    async for chunk in made:
        for choice in chunk.choices:
            pieces.append(choice.delta.content or "")
            finish = choice.finish_reason or finish
    return "".join(pieces), finish


def scripted(s: Running, answer: str, stream: bool) -> None:
    pieces = [answer[at : at + 9] for at in range(0, len(answer), 9)]
    s.mock.script(chunks(pieces) if stream else text(answer))


def signed(tier: str, secret: str = SECRET, valid_s: int = 600) -> str:
    claim = f"{tier}:{int(time.time()) + valid_s}"
    return f"{claim}:{hmac.new(secret.encode(), claim.encode(), 'sha256').hexdigest()}"


def key_of(s: Running, tier: str) -> dict[str, Any]:
    (principal,) = [each for each in s.instance.core.keys.principals() if each.kind == "proxy"]
    return {"key_tiers": {str(principal.key_id): tier}}


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_about_betting_is_for_adults_only(stream: bool) -> None:
    async with running({"agegate": {}}) as s:
        for tier, expected in (("child", REPLACEMENTS["child"]), ("adult", ODDS)):
            await s.configure({"agegate": key_of(s, tier)})
            scripted(s, ODDS, stream)
            shown, finish = await said(s, "What about the race?", stream)
            assert (shown, finish) == (expected, "stop" if tier == "adult" else "content_filter")
        sent = [call.json()["messages"] for call in s.mock.calls]
        assert sent[0][0] == {"role": "system", "content": NOTES["child"]}
        assert sent[1] == [{"role": "user", "content": "What about the race?"}]


async def test_the_applications_own_instructions_stay_before_the_note() -> None:
    async with running({"agegate": {}}) as s:
        messages: list[Any] = [{"role": "system", "content": "You sell toys."}, {"role": "user", "content": "hi"}]
        await s.sdk().chat.completions.create(model=s.model, messages=messages)
        assert s.mock.calls[0].json()["messages"][0]["content"] == f"You sell toys.\n\n{NOTES['teen']}"


async def test_a_signed_header_names_the_tier_and_a_forged_one_is_refused() -> None:
    async with running({"agegate": {"header_secret": SECRET}}) as s:
        for token in (
            "adult",
            "adult:1:00",
            signed("adult", "another"),
            signed("adult", valid_s=-5),
            "king:1:2",
            signed("adult", valid_s=10**8),
        ):
            answer = await s.chat("hi", headers={"x-stockyard-age-tier": token})
            assert (answer.status_code, answer.json()["error"]["code"]) == (400, "age_token_invalid"), token
        assert not s.mock.calls
        await s.chat("hi", headers={"x-stockyard-age-tier": signed("adult")})
        assert len(s.mock.calls[0].json()["messages"]) == 1
        await s.chat("hi", headers={"x-stockyard-age-tier": signed("child")})
        assert s.mock.calls[1].json()["messages"][0]["content"] == NOTES["child"]


async def test_an_unsigned_header_counts_only_where_it_is_trusted() -> None:
    async with running({"agegate": {}}) as s:
        headers = {"x-stockyard-age-tier": "adult"}
        await s.chat("hi", headers=headers)
        assert s.mock.calls[0].json()["messages"][0]["content"] == NOTES["teen"]
        await s.configure({"agegate": {"trust_header": True}})
        await s.chat("hi", headers=headers)
        assert len(s.mock.calls[1].json()["messages"]) == 1


@pytest.mark.parametrize("stream", [False, True])
async def test_a_question_that_is_not_for_the_tier_does_not_reach_the_provider(stream: bool) -> None:
    async with running({"agegate": {"default_tier": "child", "replace_text": {"child": "No."}}}) as s:
        assert await said(s, "Which casino has the best slot machines?", stream) == ("No.", "content_filter")
        assert not s.mock.calls
        await s.configure({"agegate": {"default_tier": "child", "action": "reject"}})
        with pytest.raises(openai.PermissionDeniedError) as refused:
            await said(s, "Which casino has the best slot machines?", stream)
        assert refused.value.code == "age_restricted"


async def test_a_young_person_in_need_is_not_turned_away() -> None:
    async with running({"agegate": {"default_tier": "child"}}) as s:
        s.mock.script(text("I am so glad that you told me. Please talk to a grown-up."))
        assert "glad" in (await said(s, "I want to hurt myself"))[0]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_teens_answer_ends_where_it_is_not_for_them(stream: bool) -> None:
    async with running({"agegate": {}}) as s:
        scripted(s, "Sure thing. Just get drunk on vodka, whiskey and snort cocaine. More fun.", stream)
        shown, finish = await said(s, "What to do at a party?", stream)
        assert shown == ("Sure thing. " if stream else "") + REPLACEMENTS["teen"]
        assert finish == "content_filter"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_hard_answer_for_a_child_is_said_again_in_simpler_words(stream: bool) -> None:
    async with running({"agegate": {"default_tier": "child"}}) as s:
        scripted(s, HARD, stream)
        s.mock.script(text(EASY))
        assert await said(s, "How do plants grow?", stream) == (EASY, "stop")
        assert len(s.mock.calls) == 2
        scripted(s, EASY, stream)
        assert await said(s, "How do plants grow?", stream) == (EASY, "stop")
        assert len(s.mock.calls) == 3


ORDINARY = (
    "The second batch of rolls costs ninety cents.",
    "Lean the rake against the wall, she hammered the nail in.",
    "Bullet points make a list easy to read.",
    "What is your favourite school subject?",
    "The mosquito sucks a drop of blood.",
    "Keep your eyes on the ball and swing.",
)


@pytest.mark.parametrize("said", ORDINARY)
async def test_words_that_have_a_harmless_meaning_too_are_for_children(said: str) -> None:
    assert await AgeGate(AgeGate.Settings()).kept_from("child", said) == ""


async def test_what_was_learned_may_doubt_a_rule_that_is_not_sure() -> None:
    module, embedder = AgeGate(AgeGate.Settings()), Embedder()
    doubtful, meant = (
        "A rum baba is a small cake made of yeast dough.",
        "Get a bottle of rum and drink it with your friends.",
    )
    assert [await module.kept_from("child", said) for said in (doubtful, meant)] == ["alcohol_drugs"] * 2
    module.learned = Learned(embedder, learned=AGE)
    assert [await module.kept_from("child", said) for said in (doubtful, meant)] == ["", "alcohol_drugs"]
    embedder.close()


@pytest.mark.parametrize(
    "said",
    [
        "Alcohol harms the brain while it grows, so binge drinking at your age may weaken your memory.",
        "My uncle drinks beer all day and shouts at us. Is that my fault?",
    ],
)
async def test_a_rule_that_only_knows_the_topic_is_never_sure(said: str) -> None:
    module, embedder = AgeGate(AgeGate.Settings()), Embedder()
    assert await module.kept_from("child", said)
    module.learned = Learned(embedder, learned=AGE)
    assert await module.kept_from("child", said) == ""
    embedder.close()


def test_grades() -> None:
    assert reading_grade(HARD) > 12
    assert 0 < reading_grade(EASY) < 4
    assert reading_grade("Too short.") == 0


async def test_a_category_that_there_is_not_is_refused() -> None:
    async with running({"agegate": {}}) as s:
        config = {"categories": {"child": {"chess": 0.5}}}
        answer = await s.http(s.admin_key).put("/api/proxy/modules/agegate", json={"config": config})
        assert answer.status_code == 422
        assert "categories" in answer.text
