"""langbridge over HTTP: whose language is told, what is translated, and what comes through as it is."""

from __future__ import annotations

from typing import Any

import pytest

from instance.chute.modules.transform.langbridge import _is_plain_english
from instance.chute.modules.transform.masked_text import masked
from tests.mock_replies import chunks, status, text
from tests.modules.conftest import Running, running

GERMAN = "Wie lange dauert die Rückgabe meiner letzten Bestellung?"
ENGLISH = "How long does the return of my last order take?"
CODE = "```python\nprint('Hello there.')  # 42 days\n```"
PRICES = '[prices."up/small"]\nin_usd_per_mtok = 1000\nout_usd_per_mtok = 1000\n'


async def _ask(s: Running, content: str = GERMAN, stream: bool = False, **more: Any) -> str:
    made = await s.sdk().chat.completions.create(**s.body(content, **more), stream=stream)
    if not stream:
        return made.choices[0].message.content or ""
    return "".join([chunk.choices[0].delta.content or "" async for chunk in made if chunk.choices])


def _sent(s: Running, call: int) -> list[dict[str, Any]]:
    messages: list[dict[str, Any]] = s.mock.calls[call].json()["messages"]
    return messages


@pytest.mark.parametrize(
    ("question", "name"), [(GERMAN, "German"), ("Quel temps fait-il aujourd'hui à Paris ?", "French")]
)
async def test_instruct_asks_for_an_answer_in_the_users_language(question: str, name: str) -> None:
    async with running({"langbridge": {}}) as s:
        await _ask(s, question)
        system, user = _sent(s, 0)
        assert system["role"] == "system"
        assert f"Answer in {name}" in system["content"]
        assert user["content"] == question
        assert len(s.mock.calls) == 1
        (trace,) = await s.recent_traces(1)
        ((action, detail),) = await s.trail(trace["id"], "langbridge")
        assert (action, detail["mode"], detail["sub_requests"]) == ("language", "instruct", 0)


@pytest.mark.parametrize("mode", ["instruct", "translate"])
@pytest.mark.parametrize("question", ["How long is the refund?", "ok danke", "print(x)", "12345 + 67890 = ?"])
async def test_the_pivot_short_and_unsure_questions_pass_with_one_call(mode: str, question: str) -> None:
    async with running({"langbridge": {"mode": mode}}) as s:
        await _ask(s, question)
        assert _sent(s, 0) == [{"role": "user", "content": question}]
        assert len(s.mock.calls) == 1


async def test_translate_asks_the_model_in_english_and_answers_in_german() -> None:
    async with running({"langbridge": {"mode": "translate"}}, config=PRICES) as s:
        s.mock.script(
            text(ENGLISH),
            text(f"It takes 14 days.\n{CODE}\nThat is all."),
            text("Es dauert ⟦1⟧ Tage.\n⟦2⟧\nDas ist alles."),
        )
        assert await _ask(s) == f"Es dauert 14 Tage.\n{CODE}\nDas ist alles."
        assert _sent(s, 1) == [{"role": "user", "content": ENGLISH}]
        assert "do not answer it" in _sent(s, 0)[0]["content"]
        assert "print" not in str(_sent(s, 2))
        (trace,) = await s.recent_traces(1)
        ((_, detail),) = [each for each in await s.trail(trace["id"], "langbridge") if each[0] == "language"]
        assert detail["sub_requests"] == 2
        assert any(line["what"].startswith("langbridge:translation:") for line in trace["costs"])


async def test_a_stream_is_translated_sentence_by_sentence_and_its_code_passes() -> None:
    async with running({"langbridge": {"mode": "translate"}}) as s:
        pieces = ["It takes ", "a while. Look", ":\n``", f"`{CODE[3:]}\nThat is", " all."]
        s.mock.script(text(ENGLISH), chunks(pieces), text("Es dauert."), text("Sieh:"), text("Das ist alles."))
        assert await _ask(s, stream=True) == f"Es dauert. Sieh:\n{CODE}\nDas ist alles."


async def test_turns_that_were_translated_are_not_translated_again() -> None:
    async with running({"langbridge": {"mode": "translate"}}) as s:
        s.mock.script(text(ENGLISH), text("A week."), text("Eine Woche."))
        answer = await _ask(s)
        talk = [{"role": "user", "content": GERMAN}, {"role": "assistant", "content": answer}]
        more = {"role": "user", "content": "Und wie lange dauert die Lieferung nach Österreich?"}
        s.mock.script(text("And the delivery to Austria?"), text("Two."), text("Zwei."))
        assert await _ask(s, messages=[*talk, more]) == "Zwei."
        assert len(s.mock.calls) == 6
        assert [each["content"] for each in _sent(s, 4)] == [ENGLISH, "A week.", "And the delivery to Austria?"]


async def test_a_lost_token_is_asked_for_once_more_and_then_the_original_goes_through() -> None:
    question = "Was kostet die Lieferung von 17 Paketen nach Wien?"
    async with running({"langbridge": {"mode": "translate"}}) as s:
        s.mock.script(text("no token"), text("What do ⟦1⟧ parcels to Vienna cost?"), text("Much."), text("Viel."))
        assert await _ask(s, question) == "Viel."
        assert _sent(s, 2)[0]["content"] == "What do 17 parcels to Vienna cost?"
    async with running({"langbridge": {"mode": "translate"}}) as s:
        s.mock.script(text("no token"), text("none again"), text("Antwort."))
        answer = await s.chat(question)
        assert answer.headers["x-stockyard-translated"] == "failed"
        assert answer.json()["choices"][0]["message"]["content"] == "Antwort."
        assert _sent(s, 2)[0]["content"] == question


async def test_when_the_answer_cannot_be_translated_it_comes_as_it_is() -> None:
    async with running({"langbridge": {"mode": "translate"}, "retry": False}) as s:
        s.mock.script(text(ENGLISH), text("A week."), status(500))
        answer = await s.chat(GERMAN)
        assert answer.json()["choices"][0]["message"]["content"] == "A week."
        assert answer.headers["x-stockyard-translated"] == "failed"


async def test_only_the_languages_that_are_named() -> None:
    async with running({"langbridge": {"languages": ["fr"]}}) as s:
        await _ask(s)
        assert len(_sent(s, 0)) == 1


@pytest.mark.parametrize(("field", "value"), [("pivot", "zz"), ("languages", ["qq"]), ("min_confidence", 2)])
async def test_settings_that_cannot_be_are_refused_by_name(field: str, value: Any) -> None:
    async with running() as s:
        config = {"enabled": True, "config": {field: value}}
        answer = await s.http(s.admin_key).put("/api/proxy/modules/langbridge", json=config)
        assert answer.status_code == 422
        assert answer.json()["error"]["param"].startswith(f"config.{field}")


def test_what_must_not_change_is_masked_and_put_back() -> None:
    found = masked(f"See https://a.b/c?d=1 and `x = 1` for {{{{name}}}}, 3.5 kg:\n{CODE}\nend")
    assert found.text == "See ⟦1⟧ and ⟦2⟧ for ⟦3⟧, ⟦4⟧ kg:\n⟦5⟧\nend"
    assert found.restored("⟦5⟧ ⟦4⟧ ⟦3⟧ ⟦2⟧ ⟦1⟧") == f"{CODE} 3.5 {{{{name}}}} `x = 1` https://a.b/c?d=1"
    assert found.restored("⟦1⟧ ⟦2⟧ ⟦3⟧ ⟦4⟧") is None
    assert found.restored("⟦1⟧ ⟦1⟧ ⟦2⟧ ⟦3⟧ ⟦4⟧ ⟦5⟧") is None
    assert not masked("12 `x`").has_words


def test_plain_english_is_told_at_once_and_nothing_else_is() -> None:
    assert _is_plain_english("What is the best way to cook rice for my family?")
    for other in (
        "Hoe lang duurt het om rijst te koken in een pan?",
        "Wie ist das Wetter in Berlin am Montag",
        "Ich will in die Stadt",
        "Kuinka kauan riisin keittäminen kestaa?",
    ):
        assert not _is_plain_english(other)
