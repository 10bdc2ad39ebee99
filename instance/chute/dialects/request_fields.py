"""The fields of a canonical request, read one by one, so that what a dialect did not read can be named."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON

WITHOUT_EFFECT = frozenset(
    ("model", "messages", "input", "stream", "stream_options", "extra_body", "n", "logprobs", "parallel_tool_calls")
)
"""Fields of which a dialect says itself whether they are lost: their usual value asks for nothing."""


class RequestFields:
    """Reads `req` by name. A field that is null counts as absent; `dropped` are those that asked for something and were
    never read, in the order in which they stand, after those given to `drop`."""

    __slots__ = ("_dropped", "_read", "req")

    def __init__(self, req: JSON) -> None:
        self.req = req
        self._read: set[str] = set()
        self._dropped: list[str] = []

    def take(self, *names: str) -> Any:
        """The first of the fields that is there; all of them count as read. `None` when none is."""
        self._read.update(names)
        for name in names:
            value = self.req.get(name)
            if value is not None:
                return value
        return None

    def drop(self, name: str) -> None:
        """Say that a field was read and has no counterpart."""
        if name not in self._dropped:
            self._dropped.append(name)

    @property
    def dropped(self) -> list[str]:
        req = self.req
        unread = [
            name
            for name, value in req.items()
            if value is not None and name not in self._read and name not in WITHOUT_EFFECT
        ]
        for name, usual in (("n", 1), ("logprobs", False), ("parallel_tool_calls", True)):
            value = req.get(name)
            if name not in self._read and value is not None and value != usual:
                unread.append(name)
        return self._dropped + [name for name in unread if name not in self._dropped]


def provider_object(fields: RequestFields, *names: str) -> JSON:
    """The provider's own parameters from `<provider>: {…}`, top level or inside an `extra_body` that was sent literally."""
    merged: JSON = {}
    extra = fields.req.get("extra_body")
    for holder in (extra if isinstance(extra, dict) else {}, fields.req):
        for name in names:
            own = holder.get(name)
            if isinstance(own, dict):
                merged.update(own)
    fields.take(*names)
    return merged
