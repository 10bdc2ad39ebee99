"""A stream of OpenAI's chunks with a provider's differences evened out; chunks without any pass as the bytes that came."""

from __future__ import annotations

from instance.chute.answer import DONE, JSON, Delta
from instance.chute.stream import EventSplitter, StreamBroken, encode_event

NOT_A_CHUNK = (AttributeError, TypeError, KeyError, ValueError, IndexError)
"""What reading a chunk raises that is none."""


class ChunkEdit:
    """What is done to the chunks of one stream. Override `edit`, and `last` where something follows the last chunk.

    Usage that comes with content is taken off it and given as a chunk of its own at the end, in OpenAI's way.
    """

    def __init__(self, choices: int = 1, *, hide_reasoning: bool = False) -> None:
        self._open = choices
        self._hide_reasoning = hide_reasoning
        self._usage: JSON | None = None
        self._head: JSON = {}
        self._usage_said = False

    @property
    def finished(self) -> bool:
        """Whether every choice has its finish_reason."""
        return self._open <= 0

    def edit(self, chunk: JSON) -> list[JSON] | bool:
        """Change a chunk in place and say whether; or give the chunks that go out in its stead."""
        return False

    def usage(self, usage: JSON) -> bool:
        """Change a usage object in place to OpenAI's names and say whether."""
        return False

    def last(self) -> list[JSON]:
        """Chunks to send before the stream's end."""
        return []

    def take(self, chunk: JSON) -> list[JSON] | None:
        """The chunks that go out for one that came; `None`: it as it came."""
        edited = self.edit(chunk)
        if isinstance(edited, list):
            return [part for one in edited for part in self._settled(one)[0]]
        out, changed = self._settled(chunk)
        return out if edited or changed else None

    def _settled(self, chunk: JSON) -> tuple[list[JSON], bool]:
        choices = chunk.get("choices")
        changed = False
        if choices:
            for choice in choices:
                if choice.get("finish_reason") is not None:
                    self._open -= 1
            if self._hide_reasoning:
                changed = hide_reasoning(choices, "delta")
        usage = chunk.get("usage")
        if not isinstance(usage, dict):
            return [chunk], changed
        changed |= self.usage(usage)
        if not choices:
            self._usage_said = True
            self._usage = None
            return [chunk], changed
        self._usage = usage
        self._head = chunk
        return [{name: value for name, value in chunk.items() if name != "usage"}], True

    def end(self) -> list[JSON]:
        """What is to be said before the stream's end."""
        out = self.last()
        if self._usage is not None and not self._usage_said:
            head: JSON = {name: self._head[name] for name in ("id", "object", "created", "model") if name in self._head}
            out.append({**head, "choices": [], "usage": self._usage})
            self._usage_said = True
        return out


class ChunkReader:
    """Cuts a provider's stream into events and takes each chunk through a `ChunkEdit`.

    A body that ends after every choice's finish but without `[DONE]` counts as complete.
    """

    __slots__ = ("_broken", "_edit", "_splitter", "done")

    def __init__(self, edit: ChunkEdit) -> None:
        self._edit = edit
        self._splitter = EventSplitter()
        self._broken: StreamBroken | None = None
        self.done = False

    def feed(self, block: bytes) -> list[Delta]:
        if self._broken is not None:
            raise self._broken
        return self._edited(self._splitter.feed(block))

    def close(self) -> list[Delta]:
        if self._broken is not None:
            raise self._broken
        events = self._edited(self._splitter.close())
        if not self.done and self._edit.finished:
            self.done = True
            events += [*map(_event, self._edit.end()), Delta(DONE, None)]
        return events

    def _edited(self, events: list[Delta]) -> list[Delta]:
        out: list[Delta] = []
        for event in events:
            if event.obj is None:
                if event.raw == DONE:
                    self.done = True
                    out += map(_event, self._edit.end())
                out.append(event)
                continue
            if event.obj.get("error"):
                out.append(event)
                continue
            try:
                chunks = self._edit.take(event.obj)
            except NOT_A_CHUNK as error:
                self._broken = StreamBroken(f"an event of the stream is no chat chunk: {error}")
                if out:
                    return out
                raise self._broken from error
            if chunks is None:
                out.append(event)
            else:
                out += map(_event, chunks)
        return out


def _event(chunk: JSON) -> Delta:
    return Delta(encode_event(chunk), chunk)


def hide_reasoning(choices: list[JSON], part: str) -> bool:
    """Take thinking text out of `delta` or `message` (`part`) of each choice; whether there was any."""
    found = False
    for choice in choices:
        own = choice.get(part)
        if isinstance(own, dict):
            for name in ("reasoning_content", "reasoning_details", "reasoning"):
                found |= own.pop(name, None) is not None
    return found


def rename_reasoning(choices: list[JSON], part: str) -> bool:
    """Give `reasoning` its usual name `reasoning_content` in `delta` or `message`; whether there was any."""
    found = False
    for choice in choices:
        own = choice.get(part)
        if isinstance(own, dict) and isinstance(own.get("reasoning"), str):
            own.setdefault("reasoning_content", own.pop("reasoning"))
            own.pop("reasoning", None)
            found = True
    return found


def map_finish(choices: list[JSON], reasons: dict[str, str]) -> bool:
    """Give finish reasons OpenAI's names; whether one had another."""
    found = False
    for choice in choices:
        reason = choice.get("finish_reason")
        if reason in reasons:
            choice["finish_reason"] = reasons[reason]
            found = True
    return found
