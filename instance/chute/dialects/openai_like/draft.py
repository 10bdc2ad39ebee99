"""A chat request on its way to a provider that is nearly OpenAI's: copied where it is changed, never the caller's own."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from instance.chute.answer import JSON
from instance.chute.provider_dialects import PROVIDER_DIALECTS

OWN_MESSAGE_FIELDS = frozenset(("reasoning_details", "annotations", *PROVIDER_DIALECTS))
"""Fields of an assistant's message that we add to answers and that come back in histories; no provider takes them."""
_OF_ANSWERS = frozenset(("reasoning_content", "reasoning", "refusal", "audio", "function_call"))
"""What OpenAI's own answers hold and clients send back with the history."""
ASKS_NOTHING: dict[str, Any] = {"n": 1, "logprobs": False, "top_logprobs": 0, "logit_bias": {}, "store": False}
"""Values with which a field asks for nothing, so that its loss need not be told."""


class Draft:
    """The request (`req`) as it stands, and the names of what was left out (`dropped`). `changed` says whether `req` is a copy."""

    __slots__ = ("asks_usage", "changed", "dropped", "headers", "model", "req")

    def __init__(self, req: JSON) -> None:
        self.req = req
        self.changed = False
        self.dropped: list[str] = []
        self.model = ""
        """The provider's name of the model where it is another than the target's."""
        self.headers: tuple[tuple[bytes, bytes], ...] = ()
        """What goes out beside the provider's own headers."""
        self.asks_usage = True
        """Whether a stream may be asked for its usage."""

    def get(self, name: str) -> Any:
        return self.req.get(name)

    def set(self, name: str, value: Any) -> None:
        """Give a field a value; nothing happens when it has it already."""
        if name in self.req and self.req[name] == value and type(self.req[name]) is type(value):
            return
        self._own()[name] = value

    def remove(self, name: str) -> Any:
        """Take a field out without telling; its value."""
        if name not in self.req:
            return None
        return self._own().pop(name)

    def drop(self, *names: str) -> None:
        """Take fields out that have no counterpart, and say so of those that asked for something."""
        for name in names:
            if name not in self.req:
                continue
            value = self.remove(name)
            if value is not None and value != ASKS_NOTHING.get(name, _NOTHING):
                self.dropped.append(name)

    def rename(self, name: str, to: str) -> None:
        """Send a field under the provider's name; a value that is already there under it wins."""
        if name in self.req:
            value = self.remove(name)
            if value is not None and self.req.get(to) is None:
                self.set(to, value)

    def own_parameters(self, provider: str) -> None:
        """Put the provider's own parameters (`<provider>: {…}`, also inside an `extra_body` that was sent as it is) at top
        level, and take out those that are meant for other providers."""
        extra = self.remove("extra_body")
        holders = (extra if isinstance(extra, dict) else {}, self.req)
        own: JSON = {}
        for holder in holders:
            found = holder.get(provider)
            if isinstance(found, dict):
                own.update(found)
        for name in PROVIDER_DIALECTS:
            if isinstance(self.req.get(name), dict):
                self.remove(name)
        for name, value in own.items():
            self.set(name, value)

    def each_message(self, change: Callable[[JSON], JSON]) -> None:
        """Put `change(message)` in place of each message; `change` gives the same object where nothing is to change."""
        messages = self.req["messages"]
        changed = [change(message) for message in messages]
        if any(new is not old for new, old in zip(changed, messages, strict=True)):
            self._own()["messages"] = changed

    def _own(self) -> JSON:
        if not self.changed:
            self.req = dict(self.req)
            self.changed = True
        return self.req


_NOTHING = object()


def without(obj: JSON, names: Iterable[str]) -> JSON:
    """The object without some fields; the same object when it has none of them."""
    absent = [name for name in names if name in obj]
    return {name: value for name, value in obj.items() if name not in absent} if absent else obj


def plain_message(
    message: JSON, lost: set[str], *, allowed: frozenset[str] | None = None, reasoning: bool = False
) -> JSON:
    """A message without what we added to answers and without cache marks; `allowed` are all fields that the provider takes
    (`None`: any). Reasoning text stays only with `reasoning`. `lost` gets the names of fields that were the caller's own.
    The same object when nothing had to go."""
    surplus = set(message) - allowed if allowed is not None else set(message) & OWN_MESSAGE_FIELDS
    if not reasoning and "reasoning_content" in message:
        surplus.add("reasoning_content")
    if allowed is not None and surplus:
        lost |= {name for name in surplus - OWN_MESSAGE_FIELDS - _OF_ANSWERS if message[name] is not None}
    message = without(message, surplus)
    content = message.get("content")
    if isinstance(content, list) and any("cache_control" in part for part in content):
        message = {**message, "content": [without(part, ("cache_control",)) for part in content]}
    return message


def plain_tools(draft: Draft) -> None:
    """Take cache marks off the tools."""
    tools = draft.get("tools")
    if isinstance(tools, list) and any(isinstance(tool, dict) and "cache_control" in tool for tool in tools):
        draft.set("tools", [without(tool, ("cache_control",)) for tool in tools])
