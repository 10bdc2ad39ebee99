"""What a provider, a cache or a module answered: whole, or as a stream of server-sent events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from instance.chute.targets import Target

JSON = dict[str, Any]

DONE = b"data: [DONE]\n\n"


class Delta:
    """One server-sent event of a streamed answer.

    `raw` is the event as it arrived, its blank line included. `obj` is its decoded `data:` (a chat chunk), `None` for
    `[DONE]`, comments and what is not JSON. A hook that changes `obj` sets `changed`; then `raw` is written anew.
    `final` is true on the last call of a stream: the event with which the last open choice finishes, or a made one
    when the stream ended without it. A hook that holds text back releases all of it then. `ends` is true once a hook
    made this event the last: nothing more of the provider's is read, and its connection is given up.
    """

    __slots__ = ("changed", "dropped", "ends", "final", "obj", "raw")

    def __init__(self, raw: bytes, obj: JSON | None) -> None:
        self.raw = raw
        self.obj = obj
        self.changed = False
        self.dropped = False
        self.final = False
        self.ends = False

    def end(self, finish_reason: str) -> None:
        """Make this the answer's last event: its choices finish now. Hooks further out release what they hold."""
        for choice in (self.obj or {}).get("choices") or ():
            if choice.get("finish_reason") is None:
                choice["finish_reason"] = finish_reason
        self.changed = self.final = self.ends = True

    def choices(self) -> Iterator[ChoiceDelta]:
        """The event's choices, each with its text; none for events that carry no choice."""
        obj = self.obj
        if obj is not None:
            choices = obj.get("choices")
            if choices:
                for choice in choices:
                    yield ChoiceDelta(self, choice)


class ChoiceDelta:
    """One choice of one event: its text can be read and replaced."""

    __slots__ = ("_choice", "_event")

    def __init__(self, event: Delta, choice: JSON) -> None:
        self._event = event
        self._choice = choice

    @property
    def index(self) -> int:
        index = self._choice.get("index", 0)
        return index if isinstance(index, int) else 0

    @property
    def finished(self) -> bool:
        """Nothing of this choice follows: held text must be released now."""
        return self._event.final or self._choice.get("finish_reason") is not None

    @property
    def delta(self) -> JSON:
        delta = self._choice.get("delta")
        if delta is None:
            delta = self._choice["delta"] = {}
        return delta

    @property
    def text(self) -> str:
        """The choice's content in this event; empty when it has none."""
        delta = self._choice.get("delta")
        text = delta.get("content") if delta else None
        return text if isinstance(text, str) else ""

    @text.setter
    def text(self, text: str) -> None:
        self.delta["content"] = text
        self._event.changed = True


class Answer:
    """An answer on its way out: `body` and `obj` when whole, `events` when streamed.

    Whole: `body` is what arrived, `obj` the same decoded; a hook that changes `obj` sets `changed`. Streamed: `events`
    yields lists of `Delta`, one list for each block that arrived; an `around` may put a generator of its own before it.
    `native` is the dialect of `body` and of the events' `raw`; `obj` is canonical whatever it is. `content_type` is for
    answers that are no JSON. `reader` is what reads a provider's stream, for an encoder that goes by it. `target` is who served, `None` for answers that no provider gave. `close()` gives up the upstream connection.
    """

    __slots__ = (
        "body",
        "changed",
        "content_type",
        "events",
        "headers",
        "native",
        "obj",
        "reader",
        "release",
        "status",
        "target",
    )

    def __init__(
        self,
        *,
        status: int = 200,
        headers: dict[bytes, bytes] | None = None,
        body: bytes | None = None,
        obj: JSON | None = None,
        events: AsyncIterator[list[Delta]] | None = None,
        target: Target | None = None,
        release: Any = None,
        native: str = "openai.chat",
        content_type: bytes = b"",
    ) -> None:
        self.status = status
        self.headers = headers or {}
        self.body = body
        self.obj = obj
        self.events = events
        self.target = target
        self.release = release
        self.native = native
        self.content_type = content_type
        self.reader: Any = None
        self.changed = False

    @property
    def streamed(self) -> bool:
        return self.events is not None

    def close(self) -> None:
        """Give up the connection the answer arrives on; nothing happens when it is complete already."""
        if self.release is not None:
            self.release()
