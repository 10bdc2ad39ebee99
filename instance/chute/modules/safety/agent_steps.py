"""What an agent does, step by step, and whether it goes round in circles."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b
from math import sqrt
from typing import Any

import orjson

from instance.chute.answer import JSON

STEPS_KEPT = 12
TURNS = 5
SAME_COSINE = 0.97
TURN_MAX_CHARS = 4000
LENGTHS_ALIKE = 1.25
"""Turns whose lengths differ more than by this factor are not compared."""

COUNTED_MAX = 256
"""Turns whose words stay counted, of all sessions: each is compared with those that follow it."""
PIECES, PIECE_CHARS, SHORT_CHARS = 5, 16, 160

ToolCall = tuple[str, str]
"""Name and arguments as they came."""

_WORDS = re.compile(r"\w+")
_SPACED = str.maketrans({chr(code): " " for code in range(128) if not _WORDS.match(chr(code))})
"""Leaves of a text of ASCII what `_WORDS` finds in it."""
_ERROR = re.compile(r"\s*\W{0,3}(?:\w+\.)*(?:\w*(?:error|exception)\b|failed\b|failure\b|traceback\b|fatal\b)", re.I)
_TRACEBACK = "Traceback (most recent call last)"
_ERROR_FIELDS = ("error", "errors", "exception", "is_error", "isError")


def step_of(calls: Iterable[ToolCall]) -> bytes:
    """The digest of a turn's tool calls: the same for the same tools with the same arguments, however these were written."""
    digest = blake2b(digest_size=8)
    for name, arguments in calls:
        digest.update(name.encode("utf-8", "replace") + b"\0" + _canonical(arguments) + b"\0")
    return digest.digest()


def _canonical(arguments: str) -> bytes:
    try:
        return orjson.dumps(orjson.loads(arguments), option=orjson.OPT_SORT_KEYS)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return arguments.encode("utf-8", "replace")


def goes_round(steps: Sequence[bytes], times: int) -> bool:
    """Whether the latest steps are one step, or one cycle of several, `times` over."""
    longest = max(1, min(len(steps), max(STEPS_KEPT, 2 * times)) // times)
    for period in range(1, longest + 1):
        span = period * times
        if span <= len(steps):
            tail = list(steps)[-span:]
            if all(tail[place] == tail[place % period] for place in range(period, span)):
                return True
    return False


def new_results(messages: Any) -> list[str]:
    """The texts of the tool results since the last turn of the assistant, in order."""
    results: list[str] = []
    newest_first: list[Any] = messages[::-1] if type(messages) is list else []
    for message in newest_first:
        if type(message) is not dict or message.get("role") not in ("tool", "function"):
            break
        results.append(_text(message.get("content")))
    results.reverse()
    return results


def is_error(result: str) -> bool:
    """Whether a tool's result says that it failed: it begins so, holds a traceback, or is JSON that says so."""
    if result.lstrip()[:1] == "{":
        try:
            said = orjson.loads(result)
        except orjson.JSONDecodeError:
            said = None
        if type(said) is dict:
            return (
                any(said.get(name) for name in _ERROR_FIELDS)
                or said.get("success") is False
                or said.get("ok") is False
                or str(said.get("status", "")).lower() in ("error", "failed", "failure")
            )
    return _ERROR.match(result) is not None or _TRACEBACK in result


def last_input(messages: Any) -> str:
    """The text of a request's last message."""
    last = messages[-1] if type(messages) is list and messages else None
    return _text(last.get("content"))[:TURN_MAX_CHARS] if type(last) is dict else ""


def _text(content: Any) -> str:
    if type(content) is str:
        return content
    if type(content) is list:
        return "\n".join(part["text"] for part in content if type(part) is dict and type(part.get("text")) is str)
    return ""


def looks_alike(turn: str, before: str) -> bool:
    """Whether two turns may say the same: some pieces of the one occur in the other. Costs a few microseconds."""
    length = len(turn)
    if not length or not 1 / LENGTHS_ALIKE <= len(before) / length <= LENGTHS_ALIKE:
        return False
    if length < SHORT_CHARS:
        return True
    step = (length - PIECE_CHARS) // (PIECES - 1)
    found = sum(turn[place * step : place * step + PIECE_CHARS] in before for place in range(PIECES))
    return 2 * found >= PIECES


def says_nothing_new(turns: Sequence[str]) -> bool:
    """Whether the latest turns, each with what it answered, are pairwise the same but for a word or two.

    The measure is the cosine of their counts of words, so that it costs nothing where turns differ in length.
    """
    if len(turns) < TURNS or not all(turns):
        return False
    latest = list(turns)[-TURNS:]
    lengths = [len(turn) for turn in latest]
    if max(lengths) > LENGTHS_ALIKE * min(lengths):
        return False
    for later in range(
        TURNS - 1, 0, -1
    ):  # the newest first: as a rule it says something, and the older are not looked at
        for earlier in range(later - 1, -1, -1):
            if not _same(latest[later], latest[earlier]):
                return False
    return True


def _same(one: str, other: str) -> bool:
    counts, norm = _counted(one)
    others, other_norm = _counted(other)
    return _dot(counts, others) > SAME_COSINE * norm * other_norm


@lru_cache(maxsize=COUNTED_MAX)
def _counted(turn: str) -> tuple[Counter[str], float]:
    """How often each word of a turn stands in it, and the length of that vector."""
    counts = Counter(turn.translate(_SPACED).split() if turn.isascii() else _WORDS.findall(turn))
    return counts, sqrt(sum([n * n for n in counts.values()]))


def _dot(one: Counter[str], other: Counter[str]) -> int:
    get = other.get
    return sum([count * get(word, 0) for word, count in one.items()])


def calls_of(message: JSON) -> list[ToolCall]:
    """The tool calls of an assistant's message."""
    calls = [
        call.get("function") or call.get("custom") for call in message.get("tool_calls") or () if type(call) is dict
    ]
    if message.get("function_call"):
        calls.append(message["function_call"])
    return [
        (str(call.get("name") or ""), str(call.get("arguments") or call.get("input") or ""))
        for call in calls
        if type(call) is dict
    ]


class TurnCalls:
    """Puts the tool calls of a stream together from its events."""

    __slots__ = ("_calls",)

    def __init__(self) -> None:
        self._calls: dict[tuple[int, int], list[str]] = {}

    def take(self, obj: JSON) -> None:
        """One event that has choices."""
        for choice in obj["choices"]:
            delta = choice.get("delta")
            if not delta or ("tool_calls" not in delta and "function_call" not in delta):
                continue
            for call in delta.get("tool_calls") or ():
                self._add(choice.get("index", 0), call.get("index", 0), call.get("function"))
            if delta.get("function_call"):
                self._add(choice.get("index", 0), -1, delta["function_call"])

    def _add(self, choice: int, number: int, function: Any) -> None:
        if type(function) is not dict:
            return
        call = self._calls.get((choice, number))
        if call is None:
            if len(self._calls) >= CALLS_MAX:
                return
            call = self._calls[choice, number] = ["", ""]
        call[0] += function.get("name") or ""
        call[1] += function.get("arguments") or ""

    def calls(self) -> list[ToolCall]:
        return [(name, arguments) for name, arguments in self._calls.values()]


CALLS_MAX = 256
"""Tool calls of one stream that are followed."""


def new_steps(times: int, before: Iterable[bytes] = ()) -> deque[bytes]:
    """As many of the latest steps as a loop of `times` is looked for in."""
    return deque(before, maxlen=max(STEPS_KEPT, 2 * times))
