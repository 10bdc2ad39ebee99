"""Texts made to be read slowly: with every module on, what a call costs grows with its text and not with its square.

What is linear takes some tenths of a second of these texts, on the loop and beside it; what is not took up to a minute.
"""

from time import process_time, time_ns
from typing import Any

import orjson
import pytest

import bench.chain as chains
from bench.chain import ALL_ON, opened
from bench.chain_calls import CASES

pytestmark = pytest.mark.slow

CHARS = 20_000
CPU_S_MAX = 10.0
RUNS = (
    "a|1| |\n|-|.|(|'|`|*|_|@|$|!|?|+|=|<|[|{|é|\\|a |1 |a.|1.|a-|1-|a:|a@|a(|a'|1,1|1, |$1|x1|A |Aa |A. |I |a\n|1\n|# |- a\n|1. a\n|"
    "...|!?|\n\n|\n |``|```\n|a@a.|http://a|1:1:|/a|../|{{|<a |</a>|A-A|D.R. |the the |\u200b|aB1|user: a\n|ignore a |how to "
).split("|")
ENDS = (" end", "x\x01y")


def messages(place: str, text: str) -> list[dict[str, Any]]:
    new = f"What is that, in call {time_ns()}?"
    call = {"id": "c1", "type": "function", "function": {"name": "read_page", "arguments": "{}"}}
    return {
        "question": [{"role": "user", "content": text}],
        "instructions": [{"role": "system", "content": text}, {"role": "user", "content": new}],
        "result": [
            {"role": "user", "content": new},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": text},
        ],
        "answer": [{"role": "user", "content": new}],
    }[place]


@pytest.mark.parametrize("place", ["question", "instructions", "result", "answer"])
async def test_no_text_takes_much_longer_than_its_length(place: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text = ""
    monkeypatch.setattr(
        chains, "request", lambda case: orjson.dumps({"model": "gpt-4o-mini", "messages": messages(place, text)})
    )
    if place == "answer":
        monkeypatch.setattr(chains, "answer_text", lambda case: text)
    slow = {}
    async with opened(ALL_ON) as (_, chain):
        monkeypatch.setattr(type(chain), "over", lambda self, x: None)
        for run in RUNS:
            for end in ENDS:
                text = (run * (CHARS // len(run)))[:CHARS] + end
                before = process_time()
                try:
                    await chain.call(CASES[0])
                except AssertionError:
                    pass  # refused or answered by a module: it was read all the same
                await chain.embedder.settled()
                if (took := process_time() - before) > CPU_S_MAX:
                    slow[run + end] = round(took, 1)
    assert slow == {}
