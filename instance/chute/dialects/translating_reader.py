"""The frame of a reader of a provider's own stream: what it cannot read breaks the stream, after what it could."""

from __future__ import annotations

from instance.chute.answer import JSON, Delta
from instance.chute.stream import EventSplitter, StreamBroken

MALFORMED = (ValueError, AttributeError, TypeError, KeyError, IndexError)
"""What reading an event that is none of the dialect raises."""


class TranslatingReader:
    """Splits the body into JSON objects and gives each to `take`, which appends what it means as canonical chunks.

    Override `take`, `ended`, and `split` and `split_rest` where the body is not of server-sent events.
    """

    def __init__(self) -> None:
        self.done = False
        self._splitter = EventSplitter()
        self._broken: StreamBroken | None = None

    def split(self, block: bytes) -> list[JSON]:
        """The objects that are complete with this block. Raises `StreamBroken`."""
        return [event.obj for event in self._splitter.feed(block) if event.obj is not None]

    def split_rest(self) -> list[JSON]:
        """What was left when the body ended. Raises `StreamBroken`."""
        return [event.obj for event in self._splitter.close() if event.obj is not None]

    def take(self, obj: JSON, events: list[Delta]) -> None:
        """One object of the stream; may raise what indexing raises."""
        raise NotImplementedError

    def ended(self, events: list[Delta]) -> None:
        """The body has ended; sets `done` when the answer was complete."""

    def feed(self, block: bytes) -> list[Delta]:
        """The chunks that are complete with this block. Raises `StreamBroken`; good chunks before it come first."""
        if self._broken is not None:
            raise self._broken
        return self._taken(self.split(block), [])

    def close(self) -> list[Delta]:
        """What was left, and the end, when the body ended. Raises `StreamBroken`."""
        if self._broken is not None:
            raise self._broken
        events = self._taken(self.split_rest(), [])
        if self._broken is None and not self.done:
            self.ended(events)
        return events

    def _taken(self, objs: list[JSON], events: list[Delta]) -> list[Delta]:
        try:
            for obj in objs:
                if not self.done:
                    self.take(obj, events)
        except MALFORMED as error:
            self._broken = StreamBroken(
                f"an event of the stream is none of this dialect: {type(error).__name__} {error}"
            )
            if not events:
                raise self._broken from error
        return events
