"""voicebridge over HTTP: what a voice can say, whole and streamed, and what is left alone."""

from __future__ import annotations

import random
from base64 import b64encode
from typing import Any

import pytest

from instance.chute.modules.transform import speech_stream, voicebridge
from instance.chute.modules.transform.speakable import Speech
from instance.chute.modules.transform.speech_stream import SpeechStream
from instance.chute.modules.transform.spoken_english import spoken
from tests.mock_replies import Reply, chunks, status, text, tool
from tests.modules.conftest import Running, running

ANSWER = """# How to make **tea**

Boil *water* first, see [the guide](https://example.com/tea). Then wait! 🍵

- Take a `cup`
- Add the leaves;

  let them swim
- Pour

```python
pour(100)  # never spoken
```

| Tea | Minutes |
|---|---|
| Green | 3 |
| Black | 5 |

More at https://example.com/more[^1] today.

[^1]: A footnote.
"""
SPOKEN = [
    "How to make tea.",
    "Boil water first, see the guide.",
    "Then wait!",
    "First, Take a cup.",
    "Second, Add the leaves.",
    "let them swim.",
    "Third, Pour.",
    "I have left out a piece of code.",
    "Tea: Green, Minutes: 3.",
    "Tea: Black, Minutes: 5.",
    "More at a link today.",
]


def _pieces(content: str, chance: random.Random) -> list[str]:
    made, place = [], 0
    while place < len(content):
        size = chance.randint(1, 12)
        made.append(content[place : place + size])
        place += size
    return made


async def _stream(s: Running, **more: Any) -> list[str]:
    stream = await s.sdk().chat.completions.create(**s.body("tea?", **more), stream=True)
    return [
        chunk.choices[0].delta.content async for chunk in stream if chunk.choices and chunk.choices[0].delta.content
    ]


async def test_no_markup_is_left_and_items_are_sentences() -> None:
    async with running({"voicebridge": {}}) as s:
        s.mock.script(text(ANSWER))
        answer = await s.chat("tea?")
        said = answer.json()["choices"][0]["message"]["content"]
        assert said == " ".join(SPOKEN)
        assert not set(said) & set("#*[]`|_<>")
        assert "spoken aloud" in s.mock.calls[0].json()["messages"][0]["content"]
        ((action, detail),) = await s.trail(answer.headers["x-stockyard-trace-id"], "voicebridge")
        assert (action, detail) == ("voice", {"chars_before": len(ANSWER), "chars_after": len(said)})


@pytest.mark.parametrize("seed", range(4))
async def test_streamed_pieces_end_at_sentences_and_join_to_the_plain_answer(seed: int) -> None:
    async with running({"voicebridge": {}}) as s:
        s.mock.script(chunks(_pieces(ANSWER, random.Random(seed))))
        pieces = await _stream(s)
        assert "".join(pieces) == " ".join(SPOKEN)
        assert all(piece.rstrip()[-1] in ".!?" for piece in pieces)
        assert len(pieces) > 4


@pytest.mark.parametrize("output", ["text", "ssml"])
@pytest.mark.parametrize("limit", [0, 120])
def test_however_a_text_is_cut_into_pieces_the_outcome_is_the_same(output: Any, limit: int) -> None:
    texts = [
        ANSWER,
        "One. Two. Three",
        "Hello there.\n\nA * star and a # hash. Fine",
        "1. one\n2. two\n\nthen text",
        "- a\n\n- b\n\nend",
        '{"a": 1, "b": "# no"}',
        "[link](http://a.b) begins it. And more.",
        "```\nonly code",
        "para\nwith lines. And\n> a quote\n\n***\nend",
    ]
    for content in texts:
        whole = SpeechStream(Speech("Code."), output, limit).feed(content, True)
        for seed in range(30):
            stream = SpeechStream(Speech("Code."), output, limit)
            made = [stream.feed(piece, False) for piece in _pieces(content, random.Random(seed))]
            assert "".join([*made, stream.feed("", True)]) == whole, (content, seed)


PIECES = [
    "The day begins early",
    "Mr. Smith came",
    "ok",
    '"Quoted"',
    "it’s",
    "(so)",
    "1",
    "2.5",
    "www. x",
    "a-b",
    "  ",
    "...",
    "- x",
    "1. One",
    "\n",
    "---",
]
ENDS = [".", "!", "?", ";", ",", " ", "?!", '."', ".)", "…", ""]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_spoken_as_it_stands_is_what_the_sentences_would_join_to(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(seed)
    made = [
        "".join(chance.choice(PIECES) + chance.choice(ENDS) + chance.choice(" ") for _ in range(4)) for _ in range(500)
    ]
    texts = [text.strip() + chance.choice((".", "!", "?", "")) for text in made]

    def spoken_of(text: str, limit: int) -> tuple[str, bool, int, int]:
        stream = SpeechStream(Speech("(code)"), "text", limit)
        return stream.feed(text, True), stream.ended, stream.chars_before, stream.chars_after

    limits = [chance.choice([len(text) + 1, len(text), chance.randint(1, len(text))]) for text in texts]
    quick = list(map(spoken_of, texts, limits))
    monkeypatch.setattr(speech_stream, "spoken_length", lambda text, most: 0)
    assert quick == list(map(spoken_of, texts, limits))


async def test_the_note_stands_once_behind_whatever_the_instructions_are() -> None:
    async with running({"voicebridge": {}}) as s:
        ask = s.sdk().chat.completions.create
        long, parts = "x" * (voicebridge.KEPT_MAX_CHARS + 1), [{"type": "text", "text": "You help."}]
        for said in (
            "You help.",
            "You help.",
            "",
            long,
            parts,
            *map(str, range(voicebridge.KEPT_MAX + 2)),
            "You help.",
        ):
            system = {"role": "system", "content": said, "name": f"n{len(s.mock.calls)}"}
            messages: Any = [system, {"role": "user", "content": "hi"}]
            await ask(model=s.model, messages=messages)
            first, *rest = s.mock.calls[-1].json()["messages"]
            told = first["content"] if isinstance(said, str) else first["content"][1]["text"]
            begins = f"{said}\n\n" if isinstance(said, str) and said else ""
            assert told == begins + voicebridge.NOTE
            assert (first["name"], rest) == (system["name"], messages[1:])


async def test_it_ends_at_a_sentence_within_its_limit() -> None:
    async with running({"voicebridge": {"max_chars": 40}}) as s:
        long = "This is one sentence. This is another one. And a third."
        s.mock.script(text(long), chunks([long[:30], long[30:]]))
        answer = (await s.chat()).json()["choices"][0]
        assert (answer["message"]["content"], answer["finish_reason"]) == ("This is one sentence.", "length")
        assert "".join(await _stream(s)) == "This is one sentence."


async def test_ssml_is_escaped_and_well_formed() -> None:
    from xml.etree import ElementTree

    async with running({"voicebridge": {"output": "ssml"}}) as s:
        content = "Tom & Jerry say 1 is less.\n\nReally? Yes."
        s.mock.script(text(content), chunks([content[:20], content[20:]]))
        said = (await s.chat()).json()["choices"][0]["message"]["content"]
        root = ElementTree.fromstring(said)
        assert [each.text for each in root.iter("s")] == ["Tom & Jerry say 1 is less.", "Really?", "Yes."]
        assert len(list(root.iter("break"))) == 1
        assert "".join(await _stream(s)) == said


@pytest.mark.parametrize("stream", [False, True])
async def test_json_and_tool_calls_are_left_alone(stream: bool) -> None:
    async with running({"voicebridge": {}}) as s:
        body = '{"a": "*b* # c"}'
        for more in ({"response_format": {"type": "json_object"}}, {}):
            s.mock.script(text(body))
            if stream:
                assert "".join(await _stream(s, **more)) == body
            else:
                assert (await s.chat("json", **more)).json()["choices"][0]["message"]["content"] == body
        tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
        s.mock.script(tool("look", {"at": "*sky*"}))
        made = (await s.chat("look", tools=tools)).json()["choices"][0]
        assert "*sky*" in made["message"]["tool_calls"][0]["function"]["arguments"]
        assert made["finish_reason"] == "tool_calls"


AUDIO = {"type": "input_audio", "input_audio": {"data": b64encode(b"RIFF0000WAVE").decode(), "format": "wav"}}


async def test_recordings_are_turned_into_text_for_models_that_do_not_hear() -> None:
    message = [{"role": "user", "content": [{"type": "text", "text": "What is said?"}, AUDIO]}]
    async with running({"voicebridge": {"transcribe_model": "up/large", "add_note": False}, "retry": False}) as s:
        s.mock.script(text("good morning"), text("A greeting."))
        await s.chat(messages=message)
        first, second = s.mock.calls
        assert first.path.endswith("/audio/transcriptions")
        assert b"RIFF0000WAVE" in first.body
        parts = second.json()["messages"][0]["content"]
        assert parts[1] == {"type": "text", "text": "[Transcript of a recording]\ngood morning"}
        s.mock.script(status(500), text("ok"))
        await s.chat(messages=message)
        assert s.mock.calls[-1].json()["messages"][0]["content"][1] == AUDIO


async def test_settings_that_cannot_be_are_refused_by_name() -> None:
    async with running() as s:
        for config, param in (
            ({"spell_numbers": True, "language": "de"}, "config.spell_numbers"),
            ({"max_chars": -1}, "config.max_chars"),
        ):
            answer = await s.http(s.admin_key).put(
                "/api/proxy/modules/voicebridge", json={"enabled": True, "config": config}
            )
            assert (answer.status_code, answer.json()["error"]["param"]) == (422, param)


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (
            "It costs $12.50, e.g. for 3 kg.",
            "It costs twelve dollars and fifty cents, for example for three kilograms.",
        ),
        (
            "On 2026-02-28 it was -4.5 °C.",
            "On February twenty-eight, twenty twenty-six it was minus four point five degrees Celsius.",
        ),
        (
            "1,234,567 people, 1 km, 50%",
            "one million two hundred thirty-four thousand five hundred sixty-seven people, one kilometre, fifty percent",
        ),
        ("Room A4 and v1.2.3 stay.", "Room A4 and v1.2.3 stay."),
    ],
)
def test_numbers_are_written_out_when_that_is_asked(written: str, said: str) -> None:
    assert spoken(written) == said


def test_signs_that_stand_there_without_a_meaning_are_not_spoken() -> None:
    stream = SpeechStream(Speech("Code."), "text", 0)
    assert stream.feed("The * sign, C# and 5 * 3 in [brackets, ~so` to_say.", True) == (
        "The sign, C sharp and 5 times 3 in brackets, so to say."
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_that_is_called_after_too_long_a_speech_is_still_called(stream: bool) -> None:
    tools = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
    said = Reply(
        text="I will look that up. Please wait a moment for me. It takes time.", tool_calls=[("look", {"q": 1})]
    )
    async with running({"voicebridge": {"max_chars": 30}}) as s:
        s.mock.script(said)
        made = await s.sdk().chat.completions.create(**s.body(tools=tools), stream=stream)
        choices = [chunk.choices[0] async for chunk in made if chunk.choices] if stream else made.choices
        parts = [choice.delta if stream else choice.message for choice in choices]
        assert "".join(part.content or "" for part in parts) == "I will look that up."
        calls = [call.function.arguments or "" for part in parts for call in part.tool_calls or ()]
        assert "".join(calls) == '{"q":1}'
        assert choices[-1].finish_reason == "tool_calls"
        s.mock.script(text("I will look that up. Please wait a moment for me. It takes time."))
        made = await s.sdk().chat.completions.create(**s.body(tools=tools), stream=stream)
        choices = [chunk.choices[0] async for chunk in made if chunk.choices] if stream else made.choices
        assert choices[-1].finish_reason == "length"
