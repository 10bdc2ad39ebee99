"""A conversation in units that may be left out without breaking it: a tool call and its results are one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from instance.chute.answer import JSON
from instance.chute.tokens import MESSAGE_TOKENS, count_prompt_tokens, count_tokens

PIN = "pin"
SYSTEM_ROLES = ("system", "developer")
PLAIN_FIELDS = 2
"""A message that has no more than these is a role and a content."""
REQUEST_TOKENS = 3
"""What `count_prompt_tokens` adds for a request beside its messages."""


@dataclass(slots=True)
class Unit:
    """Messages that stay or go together: their places in the request, who speaks, and about how many tokens they have."""

    places: list[int]
    role: str
    tokens: int
    turn: int
    """Number of the turn, which begins with a user's message; -1 before the first."""
    protected: bool = False


@dataclass(slots=True)
class Conversation:
    """A request's messages as units."""

    messages: list[JSON]
    units: list[Unit] = field(default_factory=list)

    @property
    def last_turn(self) -> int:
        return max((unit.turn for unit in self.units), default=-1)

    def tokens(self) -> int:
        """About how many tokens all of it has."""
        return sum(unit.tokens for unit in self.units)

    def without(self, gone: Iterable[int]) -> list[JSON]:
        """The messages but those of the units with these numbers."""
        left_out = {place for number in gone for place in self.units[number].places}
        return [message for place, message in enumerate(self.messages) if place not in left_out]


def conversation_of(messages: Sequence[Any]) -> Conversation:
    """The units of a request's messages. System messages, the last of the user's, what came last and pinned ones are protected."""
    made = Conversation([message for message in messages if type(message) is dict])
    turn = -1
    open_calls: set[Any] = set()
    for place, message in enumerate(made.messages):
        role = str(message.get("role", ""))
        tokens = message_tokens(message)
        if role == "tool" or role == "function":
            unit = made.units[-1] if made.units and (open_calls or role == "function") else None
            if unit is not None and (role == "function" or message.get("tool_call_id") in open_calls):
                unit.places.append(place)
                unit.tokens += tokens
                unit.protected = unit.protected or bool(message.get(PIN))
                continue
        if role == "user":
            turn += 1
        open_calls = {call.get("id") for call in message.get("tool_calls") or () if type(call) is dict}
        if message.get("function_call"):
            open_calls.add("function")
        protected = role in SYSTEM_ROLES or bool(message.get(PIN))
        made.units.append(Unit([place], role, tokens, turn, protected))
    if made.units:
        made.units[-1].protected = True  # a tool's result that nobody has read yet would only be asked for again
    for unit in reversed(made.units):
        if unit.role == "user":
            unit.protected = True
            break
    return made


def message_tokens(message: JSON) -> int:
    """About how many tokens one message has."""
    content = message.get("content")
    if type(content) is str and len(message) == PLAIN_FIELDS:
        return MESSAGE_TOKENS + count_tokens(content)
    return count_prompt_tokens({"messages": [message]}) - REQUEST_TOKENS


def without_pins(messages: Sequence[Any]) -> list[Any] | None:
    """The messages without the marks that pin them, which no provider knows; `None` when there is none."""
    for message in messages:
        if type(message) is dict and PIN in message:
            break
    else:
        return None
    return [
        {name: value for name, value in message.items() if name != PIN} if type(message) is dict else message
        for message in messages
    ]
