"""The settings that the chain is measured with: every module is on under them, and an ordinary chat passes."""

from functools import partial
from pathlib import Path

import pytest

from instance.chute.discovery import builtin_names
from tests.mock_replies import text
from tests.mock_upstream import MockUpstream
from tests.modules.conftest import UPSTREAM_KEY, Running, running

ALL_ON, ALL_PLAIN = (Path(__file__).with_name(name) for name in ("all-on.toml", "all-plain.toml"))
MODEL = "gpt-4o-mini"
ANSWER = "A stockyard keeps livestock for a few days. Trucks bring the animals, and buyers look at them in the pens."
QUESTION = "Tell a newcomer in plain words what a stockyard is, and what matters most on the first day."


def at(mock: MockUpstream, file: Path = ALL_ON) -> str:
    """The settings, with the mock in the provider's place."""
    provider = "[providers.openai]\n"
    own = file.read_text()
    assert provider in own
    return own.replace(provider, f'{provider}base_url = "{mock.url}"\napi_key = "{UPSTREAM_KEY}"\n')


async def trail_of(s: Running, trace_id: str) -> list[tuple[str, str]]:
    return [(entry["module"], entry["action"]) for entry in (await s.trace(trace_id))["decisions"]]


@pytest.mark.asyncio
@pytest.mark.parametrize("file", [ALL_ON, ALL_PLAIN], ids=lambda file: file.stem)
async def test_every_module_there_is_is_on(file: Path) -> None:
    async with running(providers=partial(at, file=file)) as s:
        slots = s.instance.chute.registry.slots
        assert builtin_names().keys() <= slots.keys()
        assert [name for name, slot in slots.items() if not slot.in_chain or slot.meter.last_error] == []


@pytest.mark.asyncio
@pytest.mark.parametrize("file", [ALL_ON, ALL_PLAIN], ids=lambda file: file.stem)
@pytest.mark.parametrize("session", ["", "s1"])
async def test_a_chat_passes_whole_and_streamed(session: str, file: Path) -> None:
    headers = {"X-Stockyard-Session": session} if session else {}
    async with running(providers=partial(at, file=file)) as s:
        for number in (1, 2):
            s.mock.script(text(ANSWER))
            answer = await s.chat(f"{QUESTION} ({number})", model=MODEL, max_tokens=200, headers=headers)
            assert answer.status_code == 200, answer.text
            assert answer.json()["choices"][0]["message"]["content"] == ANSWER
            trail = await trail_of(s, answer.headers["x-stockyard-trace-id"])
            assert [entry for entry in trail if entry[1] in ("module_error", "reject")] == []

        for number in (3, 4):
            s.mock.script(text(ANSWER))
            made = await s.sdk().chat.completions.with_raw_response.create(
                model=MODEL,
                stream=True,
                max_tokens=200,
                messages=[{"role": "user", "content": f"{QUESTION} ({number})"}],
                extra_headers=headers,
            )
            pieces = [chunk.choices[0].delta.content or "" async for chunk in made.parse() if chunk.choices]
            assert "".join(pieces) == ANSWER
            trail = await trail_of(s, made.headers["x-stockyard-trace-id"])
            assert [entry for entry in trail if entry[1] in ("module_error", "reject")] == []
