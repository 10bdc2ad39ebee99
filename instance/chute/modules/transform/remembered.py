"""What a conversation remembers set beside what its caller sent: is it the same, and which of it is put in. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from instance.chute.answer import JSON
from instance.chute.modules.transform.conversation_units import SYSTEM_ROLES, conversation_of
from instance.memory.session import Turn, digest_of


class Sent(NamedTuple):
    """A call's messages taken apart: how many instructions they begin with, the history among them, the new turns."""

    instructions: int
    history: list[JSON]
    new: list[JSON]


def sent_of(messages: Sequence[JSON]) -> Sent:
    """New is what stands behind the last message of the assistant."""
    start = next((n for n, each in enumerate(messages) if each.get("role") not in SYSTEM_ROLES), len(messages))
    talk = [message for message in messages[start:] if message.get("role") not in SYSTEM_ROLES]
    last = max((n for n, each in enumerate(talk) if each.get("role") == "assistant"), default=-1)
    return Sent(start, talk[: last + 1], talk[last + 1 :])


def continues(turns: Sequence[Turn], history: Sequence[JSON]) -> int | None:
    """After which stored turn the caller's own history goes on; `None` when it sent none of what is stored.

    A history whose turns are all stored in a row goes on after them. One that shares half of its turns with what is stored is
    the caller's own all the same, told otherwise: it goes on after the last of them that both have.
    """
    if not history or not turns:
        return None
    wanted = [digest_of(message) for message in history]
    known = [turn.digest for turn in turns]
    for start in range(len(known) - len(wanted), -1, -1):
        if known[start : start + len(wanted)] == wanted:
            return start + len(wanted)
    shared = [digest for digest in wanted if digest in known]
    if 2 * len(shared) < len(wanted):
        return None
    return len(known) - known[::-1].index(shared[-1])


def newest(turns: Sequence[Turn], most_messages: int = 0, most_tokens: int = 0) -> int:
    """Where the newest turns begin that fit; a tool call and its results stay together."""
    if not most_tokens and turns:
        start = max(0, len(turns) - most_messages) if most_messages else 0
        if not _is_result(turns[start]):  # it stays together with nothing before it
            return start
    units = conversation_of([turn.message for turn in turns]).units
    start, count, tokens = len(turns), 0, 0
    for unit in reversed(units):
        count += len(unit.places)
        tokens += sum(turns[place].tokens for place in unit.places)
        if (most_messages and count > most_messages) or (most_tokens and tokens > most_tokens):
            break
        start = unit.places[0]
    while start < len(turns) and _is_result(turns[start]):
        start += 1  # the call that it answers is not there any more
    return start


def _is_result(turn: Turn) -> bool:
    return turn.message.get("role") in ("tool", "function")


def pairs_before(turns: Sequence[Turn], end: int) -> list[tuple[int, int]]:
    """Questions with what follows them up to the next, before a turn: `(start, stop)` of each."""
    starts = [n for n in range(end) if turns[n].message.get("role") == "user"]
    return [(start, stop) for start, stop in zip(starts, [*starts[1:], end], strict=True)]
