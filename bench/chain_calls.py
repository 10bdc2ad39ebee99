"""The calls that the chain is measured with: requests that are all different, and what the provider answers to them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import orjson

from instance.chute.answer import DONE, Delta
from instance.chute.exact_bytes import exact
from instance.chute.stream import encode_event

JSON = dict[str, Any]

_SENTENCES = (
    "The north gate opens at six, and the first trucks are weighed before the sun is up.",
    "Pens along the river side were washed down yesterday and can be filled again.",
    "Two drovers asked for a later shift because the road over the pass is still closed.",
    "Hay came in from the valley, enough for nine days if the nights stay mild.",
    "Our scale in hall two shows a little more than the one beside the ramp.",
    "Buyers from the coast want lighter animals this season and pay for it.",
    "Please keep the lane to the loading dock free while the crane is in use.",
    "A new board beside the office lists the sales with the names of the sellers.",
    "The vet looks at every animal that limps and writes down what was done.",
    "Water runs from the old tower, whose pump was mended in spring.",
    "Most of the noise comes from the iron doors, which want rubber at the bottom.",
    "Tickets are kept for a year so that a quarrel about weight can be settled.",
)
SYSTEM = "You are a helpful assistant of a stockyard. Answer in plain words."
QUESTION = "Summarise this for a newcomer who starts next week, and say what matters most."
PLAIN_ANSWER = (
    "A stockyard takes in livestock, weighs and pens the animals, and sells them within a few days. The day begins early: "
    "trucks come to the gate, each load is weighed, and the pens are filled by size. After that the buyers walk along the "
    "lanes and look at what is there. What matters most for somebody new is to keep the lanes free, to close every door "
    "behind them, and to write down each weight at once. Ask the yard boss before you move a group that is not yours. The "
    "vet comes twice a day, and anything that limps should be shown to her first."
)
MARKED_ANSWER = (
    "## A day at the yard\n\nThe day has **three parts**:\n\n1. *Arrival* - trucks come to the gate and are weighed.\n"
    "2. *Sale* - buyers walk along the lanes; see [the board](https://example.com/board).\n3. *Loading* - by `lot` number.\n\n"
    "| place | opens |\n| --- | --- |\n| gate | 6:00 |\n| office | 8:00 |\n| ramp | 9:30 |\n\n"
    "### What matters\n\n- Keep the lanes free.\n- Close every door behind you.\n- Write down each weight at once.\n\n"
    "> Ask the yard boss before you move a group that is not yours.\n\nThe vet comes twice a day."
)
"""About 600 bytes of Markdown, as models write it for a screen."""
TOKEN_CHARS = 5


@dataclass(frozen=True)
class Case:
    """A kind of call: characters of the question, how it is answered, and whether it belongs to a session."""

    name: str
    prompt_chars: int = 330
    streamed: bool = False
    in_session: bool = False
    answer: str = PLAIN_ANSWER


CASES = (
    Case("whole"),
    Case("in a session", in_session=True),
    Case("answer in Markdown", answer=MARKED_ANSWER),
    Case("stream", streamed=True),
    Case("stream in Markdown", streamed=True, answer=MARKED_ANSWER),
    Case("2 KB prompt", prompt_chars=2_000),
    Case("8 KB prompt", prompt_chars=8_000),
    Case("32 KB prompt", prompt_chars=32_000),
)
"""The first is the one that the bar is about: a request of about 400 bytes, an answer of about 600."""

_numbers = count(100_000)


def prompt(chars: int) -> str:
    """Text of that many characters or a little more, which no other call has."""
    pieces, length = [], len(QUESTION)
    while length < chars:
        number = next(_numbers)
        piece = f"Lot {number}: {_SENTENCES[number * 7 % len(_SENTENCES)]}"
        pieces.append(piece)
        length += len(piece) + 1
    return " ".join((*pieces, QUESTION))


def request(case: Case) -> bytes:
    """A request of the case; no two are equal."""
    body: JSON = {
        "model": "gpt-4o-mini",
        "messages": [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt(case.prompt_chars)}],
        "temperature": 0.7,
        "max_tokens": 400,
    }
    if case.streamed:
        body["stream"] = True
    return orjson.dumps(body)


def answer(text: str, number: int) -> bytes:
    """A provider's whole answer."""
    message = {"role": "assistant", "content": text}
    made = orjson.dumps(
        {
            "id": f"chatcmpl-{number}",
            "object": "chat.completion",
            "created": 1,
            "model": "gpt-4o-mini",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 90, "completion_tokens": 120, "total_tokens": 210},
        }
    )
    return exact(made)  # as what comes from a socket is


def events(text: str, number: int) -> list[Delta]:
    """A provider's streamed answer: a role, the text a token an event, the end, the usage, `[DONE]`."""
    pieces = [text[start : start + TOKEN_CHARS] for start in range(0, len(text), TOKEN_CHARS)]
    made = [_event(number, {"role": "assistant", "content": ""})]
    made += [_event(number, {"content": piece}) for piece in pieces]
    made.append(_event(number, {}, "stop"))
    usage = {"prompt_tokens": 90, "completion_tokens": len(pieces), "total_tokens": 90 + len(pieces)}
    obj = {**_chunk(number), "choices": [], "usage": usage}
    return [*made, Delta(encode_event(obj), obj), Delta(DONE, None)]


async def arriving(deltas: list[Delta]) -> AsyncIterator[list[Delta]]:
    """Each event in a block of its own: the dearest way in which they can come."""
    for delta in deltas:
        yield [delta]


def _chunk(number: int) -> JSON:
    return {"id": f"chatcmpl-{number}", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini"}


def _event(number: int, delta: JSON, finish_reason: str | None = None) -> Delta:
    obj = {**_chunk(number), "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]}
    return Delta(encode_event(obj), obj)
