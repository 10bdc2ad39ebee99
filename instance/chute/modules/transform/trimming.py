"""Which parts of a conversation go so that the rest fits. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from instance.chute.answer import JSON
from instance.chute.modules.transform.conversation_units import Conversation, message_tokens
from instance.chute.tokens import BYTES_PER_TOKEN

Strategy = Literal["middle_out", "oldest", "priority", "summarise"]
TOOL_RESULT_TOKENS = 200
"""To so much a long tool result is shortened first."""
CUT_MIN_TOKENS = 40
MARKER = "\n[… {tokens} tokens left out …]\n"


def units_to_remove(conversation: Conversation, over: int, strategy: Strategy) -> list[int]:
    """Numbers of the units that go, until `over` tokens are saved or nothing more may go."""
    gone: list[int] = []
    seen: set[int] = set()
    for numbers in _order(conversation, strategy):
        if over <= 0:
            break
        for number in numbers:
            unit = conversation.units[number]
            if number not in seen and not unit.protected:
                seen.add(number)
                gone.append(number)
                over -= unit.tokens
    return gone


def _order(conversation: Conversation, strategy: Strategy) -> Iterator[list[int]]:
    """Units in the order in which they go, those that go together in one list: turns first, then rounds of the last turn."""
    units, last = conversation.units, conversation.last_turn
    if strategy == "priority":
        yield from ([n] for n, unit in enumerate(units) if unit.role == "assistant" and unit.turn < last)
        yield from ([n] for n, unit in enumerate(units) if unit.turn < last)
    else:
        first = 1 if strategy in ("middle_out", "summarise") else -1
        for turn in range(first, last):
            yield [n for n, unit in enumerate(units) if unit.turn == turn]
    yield from ([n] for n, unit in enumerate(units) if unit.turn == last)


def shortened_tool_results(messages: list[JSON], over: int) -> tuple[list[JSON], int]:
    """The messages with their longest tool results cut, and how many tokens that saved; no more than is needed."""
    long = sorted(
        (n for n, message in enumerate(messages) if message.get("role") == "tool" and _text(message) is not None),
        key=lambda n: -message_tokens(messages[n]),
    )
    made, saved = list(messages), 0
    for number in long:
        if saved >= over:
            break
        tokens = message_tokens(made[number])
        if tokens <= TOOL_RESULT_TOKENS:
            break
        made[number] = _cut(made[number], max(TOOL_RESULT_TOKENS, tokens - (over - saved)))
        saved += tokens - message_tokens(made[number])
    return made, saved


def cut_largest(messages: list[JSON], over: int, keep: frozenset[int]) -> tuple[list[JSON], int]:
    """The messages with the middle cut out of the largest texts, those at `keep` left whole; how many tokens that saved."""
    made, saved = list(messages), 0
    whole = set(keep)
    while saved < over:
        found = [n for n, message in enumerate(made) if n not in whole and _text(message) is not None]
        if not found:
            break
        largest = max(found, key=lambda n: message_tokens(made[n]))
        tokens = message_tokens(made[largest])
        cut = _cut(made[largest], max(CUT_MIN_TOKENS, tokens - (over - saved)))
        gained = tokens - message_tokens(cut)
        if gained <= 0:
            whole.add(largest)
            continue
        made[largest] = cut
        saved += gained
    return made, saved


def _text(message: JSON) -> str | None:
    """The message's longest text, which is all of its content or one of its parts; `None` without any."""
    content: Any = message.get("content")
    if type(content) is str:
        return content
    place = _longest_part(content)
    return None if place is None else str(content[place]["text"])


def _longest_part(content: Any) -> int | None:
    """The place of the part with the longest text."""
    found = [
        (len(part["text"]), place)
        for place, part in enumerate(content if type(content) is list else ())
        if type(part) is dict and type(part.get("text")) is str
    ]
    return max(found)[1] if found else None


def _with_text(message: JSON, text: str) -> JSON:
    """The message with its longest text replaced."""
    content: Any = message.get("content")
    place = _longest_part(content)
    if place is None:
        return {**message, "content": text}
    part = {**content[place], "text": text}
    return {**message, "content": [*content[:place], part, *content[place + 1 :]]}


def _cut(message: JSON, tokens: int) -> JSON:
    """The message with the middle of its longest text replaced by a marker, so that about so many tokens are left."""
    text = _text(message) or ""
    overhead = message_tokens(_with_text(message, ""))
    marker = MARKER.format(tokens=max(0, message_tokens(message) - tokens))
    room = max(0, (tokens - overhead) * BYTES_PER_TOKEN - len(marker.encode()))
    scale = len(text) / max(1, len(text.encode("utf-8", "replace")))
    characters = int(room * scale)
    head = characters * 2 // 3
    tail = characters - head
    return _with_text(message, text[:head] + marker + (text[len(text) - tail :] if tail else ""))
