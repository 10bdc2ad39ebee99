"""semanticcache over HTTP: which questions get a kept answer, and which never."""

from __future__ import annotations

from typing import Any

import pytest

from bench import quality
from instance.chute.modules.caching.meaning_guards import difference
from tests.mock_replies import status, text
from tests.modules.conftest import Running, running

FRANCE, AGAIN = "What is the capital of France?", "what's the capital city of France"
PRICES = '[prices."up/small"]\nin_usd_per_mtok = 1000\nout_usd_per_mtok = 1000\n'


async def _ask(s: Running, content: str, stream: bool = False, **more: Any) -> str:
    made = await s.sdk().chat.completions.create(**s.body(content, **more), stream=stream)
    if not stream:
        return made.choices[0].message.content or ""
    return "".join([chunk.choices[0].delta.content or "" async for chunk in made if chunk.choices])


@pytest.mark.parametrize("first_streamed", [False, True])
@pytest.mark.parametrize("then_streamed", [False, True])
async def test_other_words_for_the_same_question_ask_nobody(first_streamed: bool, then_streamed: bool) -> None:
    async with running({"semanticcache": {}}, config=PRICES) as s:
        s.mock.script(text("Paris is the capital of France."))
        assert await _ask(s, FRANCE, first_streamed) == "Paris is the capital of France."
        assert await _ask(s, AGAIN, then_streamed) == "Paris is the capital of France."
        assert len(s.mock.calls) == 1
        hit, miss = await s.recent_traces(2)
        assert (hit["cache"], hit["status"], hit["cost_usd"], miss["cache"]) == ("semantic", "cache_hit", 0, "miss")
        assert hit["saved_usd"] == pytest.approx(miss["cost_usd"])
        ((action, detail),) = await s.trail(hit["id"], "semanticcache")
        assert action == "hit"
        assert detail["similarity"] >= 0.82


async def test_the_answer_says_how_near_the_question_was() -> None:
    async with running({"semanticcache": {}}) as s:
        await s.chat(FRANCE)
        answer = await s.chat(AGAIN)
        assert answer.headers["x-stockyard-cache"] == "semantic"
        assert 0.82 <= float(answer.headers["x-stockyard-similarity"]) < 1


@pytest.mark.parametrize(
    "other",
    [
        "What is the capital of Finland?",
        "What is not the capital of France?",
        "What was the capital of France in 1940?",
    ],
)
async def test_what_only_sounds_alike_goes_to_the_provider(other: str) -> None:
    async with running({"semanticcache": {}}) as s:
        await s.chat(FRANCE)
        await s.chat(other)
        assert len(s.mock.calls) == 2


async def test_a_near_miss_says_why() -> None:
    async with running({"semanticcache": {}}) as s:
        await s.chat("Is 5 GB of RAM enough for me?")
        answer = await s.chat("Is 6 GB of RAM enough for me?")
        assert len(s.mock.calls) == 2
        ((action, detail),) = await s.trail(answer.headers["x-stockyard-trace-id"], "semanticcache")
        assert (action, detail["why"]) == ("near_miss", "numbers")


async def test_other_circumstances_have_answers_of_their_own() -> None:
    async with running({"semanticcache": {"max_turns": 2}}) as s:
        system = [{"role": "system", "content": "Answer in German."}]
        before = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
        ask = s.sdk().chat.completions.create
        for messages in ([], system, before):
            await ask(model=s.model, messages=[*messages, {"role": "user", "content": FRANCE}])  # type: ignore[list-item]
        for more in ({"temperature": 0.1}, {"model": "up/large"}, {"response_format": {"type": "json_object"}}):
            await _ask(s, FRANCE, **more)
        assert len(s.mock.calls) == 6
        await ask(model=s.model, messages=[*system, {"role": "user", "content": AGAIN}])  # type: ignore[list-item]
        assert len(s.mock.calls) == 6


@pytest.mark.parametrize("scope", ["team", "global"])
async def test_what_decides_stands_apart_wherever_the_question_is_repeated(scope: str) -> None:
    """With cachelayer, whose form of the request is used where both share with the same."""
    says = {"role": "system", "content": FRANCE}
    said = {"prediction": {"type": "content", "content": FRANCE}}
    async with running({"cachelayer": {}, "semanticcache": {"scope": scope}}) as s:
        ask = s.sdk().chat.completions.create
        for before, more in (([], {}), ([says], {}), ([], said), ([says], said), ([], {"stop": [FRANCE]})):
            for content in (FRANCE, FRANCE, AGAIN):
                made = [*before, {"role": "user", "content": content}]
                await ask(model=s.model, messages=made, extra_body=more)  # type: ignore[arg-type]
        assert len(s.mock.calls) == 5


async def test_what_is_kept_is_found_whether_the_other_cache_is_on_or_not() -> None:
    async with running({"cachelayer": {}, "semanticcache": {}}) as s:
        await s.chat(FRANCE)
        await s.configure({"cachelayer": False})
        assert (await s.chat(AGAIN)).headers["x-stockyard-cache"] == "semantic"


async def test_what_both_caches_keep_is_the_answer_as_it_came() -> None:
    async with running({"cachelayer": {}, "semanticcache": {}, "voicebridge": {"max_chars": 20}}) as s:
        s.mock.script(text("The first sentence. And the second one of it."))
        for question, cached in ((FRANCE, "miss"), (FRANCE, "hit"), (AGAIN, "semantic")):
            answer = await s.chat(question)
            assert answer.headers["x-stockyard-cache"] == cached
            assert answer.json()["choices"][0]["message"]["content"] == "The first sentence."
        assert len(s.mock.calls) == 1


async def test_long_talks_excluded_texts_and_who_declines_are_not_looked_up() -> None:
    async with running({"semanticcache": {"exclude": ["(?i)today|now|latest"]}}) as s:
        talk = [
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "b"},
            {"role": "user", "content": FRANCE},
        ]
        for _ in range(2):
            await s.sdk().chat.completions.create(model=s.model, messages=talk)  # type: ignore[arg-type]
            await s.chat("What is the latest news of today?")
            await s.chat("Why is the sky blue?", headers={"x-stockyard-cache": "skip"})
        assert len(s.mock.calls) == 6


async def test_failures_and_answers_cut_short_are_not_kept() -> None:
    async with running({"semanticcache": {}, "retry": False}) as s:
        s.mock.script(status(500), text("cut", finish="length"), text("whole"))
        assert (await s.chat(FRANCE)).status_code >= 500
        await s.chat(FRANCE)
        await s.chat(FRANCE)
        assert (await s.chat(AGAIN)).json()["choices"][0]["message"]["content"] == "whole"
        assert len(s.mock.calls) == 3


async def test_teams_share_nothing_and_clearing_forgets() -> None:
    async with running({"semanticcache": {}}) as s:
        await s.chat(FRANCE, headers={"x-stockyard-team": "a"})
        http = s.http(s.admin_key)
        assert (await http.get("/api/cache/stats")).json()["by_cache"]["semantic"]["entries"] == 1
        assert (await http.delete("/api/cache?cache=semantic")).json()["removed"] == 1
        await s.chat(AGAIN)
        assert len(s.mock.calls) == 2


async def test_the_oldest_unused_answers_make_room() -> None:
    async with running({"semanticcache": {"max_entries": 2}}) as s:
        for question in (FRANCE, "How do I bake bread?", AGAIN, "Who painted the Mona Lisa?"):
            await s.chat(question)
        assert len(s.mock.calls) == 3
        await s.chat(AGAIN)
        assert len(s.mock.calls) == 3
        await s.chat("How can I bake bread?")
        assert len(s.mock.calls) == 4


@pytest.mark.parametrize(
    ("one", "other", "why"),
    [
        ("Write about cats", "Write about cats " + "and dogs " * 20, "length"),
        ("Print 'hello there' twice", "Print 'good bye' twice", "quoted"),
        ("Convert USD to EUR", "Convert EUR to USD", "names"),
        ("Turn a string into a number", "Turn a number into a string", "order"),
        ("Is the shop open on Monday?", "is the shop open on monday", ""),
    ],
)
def test_what_must_agree_beside_the_meaning(one: str, other: str, why: str) -> None:
    assert difference(one, other) == difference(other, one) == why


async def test_on_the_labelled_pairs_at_most_one_hit_in_a_hundred_is_false() -> None:
    score, _ = await quality.judged("semanticcache")
    assert score.false_positive <= 0.01 * (score.rows - score.true_positive - score.false_negative)
    assert score.recall >= 0.8
