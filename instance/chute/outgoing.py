"""A streamed answer on its way out: events through the hooks, joined into blocks, the last one held until the record is written."""

from __future__ import annotations

import orjson

from instance.chute.answer import DONE, JSON, Answer, Delta
from instance.chute.delta_text import characters_beside
from instance.chute.exchange import TEXT_OUT_MAX_BYTES, Exchange
from instance.chute.module import TEXT_KINDS
from instance.chute.record import ANSWER_ID_MAX_CHARACTERS
from instance.chute.stream import encode_event
from instance.core.errors import StockyardError


class Outgoing:
    """Takes a call's events in order and gives the bytes for the client; `done` once the provider said so."""

    __slots__ = ("_encoder", "_finals", "_hooks", "_last", "_native", "_open", "_x", "cut", "done")

    def __init__(self, x: Exchange, answer: Answer) -> None:
        plan = x.plan
        self._encoder = x.operation.encoder(x)
        self._native = answer.native == x.operation.dialect
        self._x = x
        self._hooks = plan is not None and bool(plan.deltas.events) and x.kind in TEXT_KINDS
        self._open = x.req.get("n") or 1
        self._finals = False
        self._last: dict[str, object] = {}
        self.done = False
        self.cut = False
        """A hook ended the answer before the provider did: what the provider still sends is not wanted."""

    def take(self, events: list[Delta]) -> bytes:
        """The bytes to send for a block of events; `[DONE]` is kept back. Raises `StockyardError` when a module ends the stream."""
        x = self._x
        out: list[bytes] = []
        for event in events:
            obj = event.obj
            if obj is None:
                if event.raw == DONE:
                    self.done = True
                    x.state["done"] = True
                elif self._native or self._encoder is None:
                    out.append(event.raw)
                continue
            usage = obj.get("usage")
            if usage:
                x.usage.take(usage)
            choices = obj.get("choices")
            if not choices:
                if self._encoder is not None:
                    out.append(event.raw if self._native else self._encoder.event(event))
                elif not usage or x.usage_asked:
                    out.append(event.raw or encode_event(obj))
                continue
            for choice in choices:
                if choice.get("finish_reason") is not None:
                    self._open -= 1
                    if self._open == 0:
                        event.final = self._finals = True
                        x.state["finished"] = True
            if not self._last:
                self._begins(obj)
            self._last = obj
            self._emit(event, out)
            if event.ends:
                self.done = self.cut = self._finals = True
                x.state["finished"] = x.state["done"] = True
                break
        return b"".join(out)

    def _begins(self, obj: JSON) -> None:
        own = obj.get("id")
        if isinstance(own, str):
            self._x.answer_id = own[:ANSWER_ID_MAX_CHARACTERS]

    def end(self) -> bytes:
        """The stream's last bytes when nothing broke."""
        held = self.held()
        if self._encoder is not None:
            ends = not self._native or self._x.operation.ends_native
            return held + self._encoder.end() if ends else held
        return held + DONE if self.done else held

    def error(self, error: StockyardError) -> bytes:
        """The stream's last bytes when it broke: one error event, and no `[DONE]`."""
        x = self._x
        if self._encoder is not None:
            return self._encoder.error(error, x.request_id, x.id)
        return encode_event(x.operation.error(error, x.request_id, x.id))

    def held(self) -> bytes:
        """What the hooks still held back when the stream ended without its finish; empty after a proper end."""
        if self._finals or not self._hooks:
            return b""
        self._finals = True
        last = self._last
        event = Delta(
            b"",
            {**last, "choices": [{"index": i, "delta": {}, "finish_reason": None} for i in range(max(1, self._open))]},
        )
        event.obj.pop("usage", None)  # type: ignore[union-attr]
        event.final = True
        out: list[bytes] = []
        self._emit(event, out)
        return b"".join(out)

    def _emit(self, event: Delta, out: list[bytes]) -> None:
        x = self._x
        if self._hooks:
            x.plan.delta(x, event)  # type: ignore[union-attr]
            if event.dropped:
                return
        obj = event.obj
        if obj is None:
            return
        for choice in obj["choices"]:
            delta = choice.get("delta")
            if delta:
                text = delta.get("content")
                if text and isinstance(text, str) and x.text_out_size < TEXT_OUT_MAX_BYTES:
                    index = choice.get("index")
                    (_beside(x, index) if index and type(index) is int else x.text_out).append(text)
                    x.text_out_size += len(text)
                if len(delta) > 1 or not text:
                    x.beside_out_size += characters_beside(delta)
        if self._encoder is not None:
            if not self._native:
                out.append(self._encoder.event(event))
            elif event.changed:
                out.append(self._encoder.rewritten(event))
            else:
                out.append(event.raw)
        elif event.changed:
            try:
                out.append(encode_event(obj))
            except orjson.JSONEncodeError as error:
                raise RuntimeError("a module put into an event what is no JSON") from error
        elif event.raw:
            out.append(event.raw)


def _beside(x: Exchange, index: int) -> list[str]:
    """What another choice than the first said so far."""
    if x.text_beside is None:
        x.text_beside = {}
    return x.text_beside.setdefault(index, [])
