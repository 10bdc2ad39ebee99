"""Modules that read streamed text: the short way of plain events gives what the whole events give."""

from __future__ import annotations

import random

import pytest

from instance.chute.exchange import Exchange
from tests.mock_replies import chunks
from tests.modules.conftest import Running, running
from tests.modules.test_secretscan import AWS, GITHUB, PRIVATE_KEY

SENTENCES = [
    "The yard is open. ",
    "Ada Lovelace wrote to ada@lovelace.org, ",
    f"the key is {GITHUB} and ",
    f"also {AWS}. ",
    f"{PRIVATE_KEY}\n\n",
    "password: hunter2hunter2X! ",
    "## A heading\n\n",
    "- one **item**\n- and another\n\n",
    "```python\neval(input())\n```\n",
    "Call +44 20 7946 0958? ",
    "[EMAIL_1] asked. ",
    "It costs $1,200.50. ",
    "`code`, e.g. this. ",
    "\n",
]
MODULES = (
    {
        "secretscan": {"action": "redact"},
        "promptguard": {"mode": "restore", "scan_output": True},
        "maskmode": {"scope": "answers", "secret": "s" * 32, "amounts": True},
        "driftwatch": {},
    },
    {
        "secretscan": {"action": "flag"},
        "voicebridge": {"max_chars": 200},
        "codefence": {},
        "streamsnap": {"capture": True},
    },
    {"outputcap": {"max_chars": 150}, "codefence": {}, "secretscan": {"action": "flag", "scan_output": False}},
)


def _pieces(seed: int) -> list[str]:
    chance = random.Random(seed)
    text = "".join(chance.choices(SENTENCES, k=8))
    pieces, longest = [], chance.choice((2, 6, 20))
    while text:
        size = chance.randint(1, longest)
        pieces.append(text[:size])
        text = text[size:]
    return pieces


async def _streamed(s: Running, pieces: list[str]) -> tuple[list[tuple[str, str | None]], list[object]]:
    """What comes, event for event, and what the trail says of the stream."""
    s.mock.script(chunks(pieces))
    body = s.body("Write to me at tom@jones.org")
    made = await s.sdk().chat.completions.with_raw_response.create(**body, stream=True)
    seen = [
        (chunk.choices[0].delta.content or "", chunk.choices[0].finish_reason)
        async for chunk in made.parse()
        if chunk.choices
    ]
    trace = await s.trace(made.headers["x-stockyard-trace-id"])
    trail = [(e["module"], e["action"], e["detail"]) for e in trace["decisions"] if e["hook"] == "on_delta"]
    return seen, trail


@pytest.mark.parametrize("modules", MODULES, ids=lambda modules: "-".join(modules))
async def test_text_alone_gives_what_whole_events_give(
    modules: dict[str, dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    fed = 0
    take_texts = Exchange.take_texts

    def counted(x: Exchange, module: str, feed: object) -> None:
        nonlocal fed
        fed += 1
        take_texts(x, module, feed)  # type: ignore[arg-type]

    async with running(modules, only=True) as s:
        for seed in range(12):
            pieces = _pieces(seed)
            monkeypatch.setattr(Exchange, "take_texts", counted)
            short = await _streamed(s, pieces)
            monkeypatch.setattr(Exchange, "take_texts", lambda x, module, feed: None)
            assert await _streamed(s, pieces) == short, seed
    assert fed >= 12 * len(modules) - 12
