"""The event stream of `POST /v1/messages` as canonical chunks."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import DONE, JSON, Delta
from instance.chute.dialects.anthropic.answer import STOP_REASONS, beyond, usage
from instance.chute.dialects.anthropic.error_types import STATUS_OF
from instance.chute.dialects.anthropic.named_events import NamedEvent, NamedEvents
from instance.chute.dialects.chat_chunks import ChunkWriter
from instance.chute.stream import StreamBroken, encode_event


class _SilentWriter(ChunkWriter):
    """Chunks of a native stream: their bytes are those of the events, so none are made."""

    __slots__ = ()

    def _event(self, choice: JSON) -> Delta:
        return Delta(b"", {**self._head(), "choices": [choice]})


class AnthropicReader:
    """Reads the stream; `done` with `message_stop`.

    `native`: the events are passed on as they came, so each `Delta.raw` is the event's own bytes and every event gives one,
    but for the end of a block, whose bytes come before those of the next event, so that what was held back of the block can go before it;
    else `raw` is the chunk, and events that say nothing give none. `message_stop` gives none either: its bytes are `last_event`. The input of `answer_tool` becomes the content; without
    `reasoning` thinking is left out (never when native). `next_block` is the index that one more content block would have,
    `open_block` that of the block being written (-1: none): both for who adds to a native stream.
    """

    def __init__(
        self,
        model: str,
        created: int,
        answer_id: str,
        *,
        native: bool = False,
        answer_tool: str = "",
        reasoning: bool = True,
    ) -> None:
        self.done = False
        self.next_block = 0
        self.open_block = -1
        self.last_event = b""
        self._ending = b""
        self._events = NamedEvents()
        self._chunks = (_SilentWriter if native else ChunkWriter)(model, created, answer_id)
        self._native = native
        self._answer_tool = answer_tool
        self._reasoning = reasoning or native
        self._counts: JSON = {}
        self._blocks: dict[int, JSON] = {}
        self._answered = False
        self._broken: StreamBroken | None = None

    def feed(self, block: bytes) -> list[Delta]:
        """The chunks that are complete with this block. Raises `StreamBroken`."""
        return self._read(self._events.feed(block))

    def close(self) -> list[Delta]:
        """What was left when the body ended."""
        deltas = self._read(self._events.close())
        if self._ending:
            deltas.append(Delta(self._ending, None))
            self._ending = b""
        return deltas

    @property
    def pending_end(self) -> bytes:
        """The end of a block that goes out with the next event."""
        return self._ending

    @property
    def output_tokens(self) -> int:
        """Tokens of the answer, as far as the provider has counted them."""
        count = self._counts.get("output_tokens")
        return count if type(count) is int else 0

    def kind_of(self, index: int) -> str:
        """The type of the content block with that index; empty: there is none."""
        return str((self._blocks.get(index) or {}).get("type", ""))

    def block_of_call(self, number: int) -> int:
        """The index of the content block that is the stream's n-th tool call; -1: there is none."""
        calls = [index for index, block in self._blocks.items() if block.get("type") == "tool_use"]
        return calls[number] if 0 <= number < len(calls) else -1

    def _read(self, events: list[NamedEvent]) -> list[Delta]:
        if self._broken is not None:
            raise self._broken
        deltas: list[Delta] = []
        for event in events:
            if self.done:
                break
            before = len(deltas)
            try:
                if event.obj is not None:
                    self._take(event.obj, deltas)
            except (KeyError, TypeError, AttributeError, ValueError) as error:
                self._broken = StreamBroken(f"an event of the stream is none of Anthropic's: {error!r}")
                if not deltas:
                    raise self._broken from error
                break
            raw = self._ending + event.raw
            self._ending = b""
            if self.done:
                self.last_event = raw
                deltas.append(Delta(DONE, None))
            elif self._native:
                if event.obj is not None and event.obj.get("type") == "content_block_stop":
                    self._ending = raw
                elif len(deltas) == before:
                    deltas.append(Delta(raw, None))
                else:
                    deltas[before].raw = raw
        return deltas

    def _take(self, event: JSON, deltas: list[Delta]) -> None:
        kind = event.get("type")
        if kind == "content_block_delta":
            self._delta(event["delta"], self._blocks.get(event["index"]) or {}, deltas)
        elif kind == "content_block_start":
            self._start(event["index"], event["content_block"], deltas)
        elif kind == "content_block_stop":
            self.open_block = -1
        elif kind == "message_start":
            message = event["message"]
            self._chunks.model = message.get("model") or self._chunks.model
            self._chunks.id = message.get("id") or self._chunks.id
            self._count(message.get("usage"))
            deltas.append(self._chunks.delta({"role": "assistant", "content": ""}))
        elif kind == "message_delta":
            self._finish(event, deltas)
        elif kind == "message_stop":
            self.done = True
        elif kind == "error":
            deltas.append(_reported(event.get("error")))

    def _start(self, index: int, block: JSON, deltas: list[Delta]) -> None:
        self._blocks[index] = block
        self.open_block = index
        self.next_block = max(self.next_block, index + 1)
        kind = block["type"]
        if kind == "text":
            if block.get("text"):
                deltas.append(self._chunks.text(block["text"]))
        elif kind == "tool_use":
            if block["name"] == self._answer_tool:
                self._answered = True
            else:
                deltas.append(self._chunks.begin_tool(block["id"], block["name"]))
        elif kind == "redacted_thinking":
            if self._reasoning:
                detail = {"type": "reasoning.encrypted", "data": block["data"], "provider": "anthropic", "index": index}
                deltas.append(self._chunks.delta({"reasoning_details": [detail]}))
        elif kind == "thinking":
            if block.get("thinking") and self._reasoning:
                deltas.append(self._thought(index, block["thinking"]))
        else:
            # What only this provider has (a search that it runs) is shown under its name.
            deltas.append(self._chunks.delta({"anthropic": {"content_block": block}}))

    def _delta(self, delta: JSON, block: JSON, deltas: list[Delta]) -> None:
        kind = delta["type"]
        if kind == "text_delta":
            deltas.append(self._chunks.text(delta["text"]))
        elif kind == "input_json_delta":
            piece = delta["partial_json"]
            if block.get("type") != "tool_use" or not piece:
                return
            if block["name"] == self._answer_tool:
                deltas.append(self._chunks.text(piece))
            else:
                deltas.append(self._chunks.tool_arguments(piece))
        elif kind == "thinking_delta":
            if self._reasoning and delta["thinking"]:
                deltas.append(self._thought(self.open_block, delta["thinking"]))
        elif kind == "signature_delta":
            if self._reasoning:
                detail = {
                    "type": "reasoning.text",
                    "text": "",
                    "signature": delta["signature"],
                    "provider": "anthropic",
                    "index": self.open_block,
                }
                deltas.append(self._chunks.delta({"reasoning_details": [detail]}))
        elif kind == "citations_delta":
            deltas.append(self._chunks.delta({"anthropic": {"citation": delta["citation"]}}))

    def _thought(self, index: int, text: str) -> Delta:
        detail = {"type": "reasoning.text", "text": text, "provider": "anthropic", "index": index}
        return self._chunks.delta({"reasoning_content": text, "reasoning_details": [detail]})

    def _finish(self, event: JSON, deltas: list[Delta]) -> None:
        self._count(event.get("usage"))
        delta = event["delta"]
        reason = delta.get("stop_reason")
        finish = STOP_REASONS.get(reason or "end_turn", "stop")
        if finish == "tool_calls" and self._answered and not self._chunks.has_tools():
            finish = "stop"
        last = self._chunks.finish(finish)
        assert last.obj is not None
        own = beyond({**delta, "usage": self._counts}, reason)
        if own:
            last.obj["anthropic"] = own
        if self._native:
            last.obj["usage"] = usage(self._counts)
            deltas.append(last)
            return
        if own:
            last.raw = encode_event(last.obj)
        deltas.append(last)
        deltas += self._chunks.end(usage(self._counts))[:-1]

    def _count(self, counts: Any) -> None:
        """Later counts replace earlier ones, field by field."""
        if isinstance(counts, dict):
            self._counts.update({name: value for name, value in counts.items() if value is not None})


def _reported(error: Any) -> Delta:
    """An error event as the failure that it stands for."""
    said = error if isinstance(error, dict) else {}
    kind = str(said.get("type") or "api_error")
    obj: JSON = {
        "error": {
            "message": str(said.get("message") or "The provider broke its answer off."),
            "type": kind,
            "code": "overloaded" if kind == "overloaded_error" else kind,
            "status": STATUS_OF.get(kind, 502),
        }
    }
    return Delta(encode_event(obj), obj)
