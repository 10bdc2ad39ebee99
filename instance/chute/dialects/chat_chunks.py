"""The chunks of one streamed chat answer in canonical form, for readers of providers' own streams."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import DONE, JSON, Delta
from instance.chute.stream import encode_event


class ChunkWriter:
    """Makes canonical chunks: id, created and model stay the same within an answer, each choice's first delta has the role.

    `created` is in seconds. Tool calls are given by `begin_tool` (index, id and name) and then `tool_arguments` in pieces.
    """

    __slots__ = ("_begun", "_tools", "created", "finished", "id", "model")

    def __init__(self, model: str, created: int, answer_id: str) -> None:
        self.model = model
        self.created = created
        self.id = answer_id
        self.finished: set[int] = set()
        """Choices that have their finish_reason."""
        self._begun: set[int] = set()
        self._tools: dict[int, int] = {}

    def delta(self, delta: JSON, *, choice: int = 0, **more: Any) -> Delta:
        """One chunk with something of the answer; `more` goes beside `delta` in the choice (`logprobs`)."""
        if choice not in self._begun:
            self._begun.add(choice)
            delta = {"role": "assistant", **delta}
        return self._event({"index": choice, "delta": delta, "finish_reason": None, **more})

    def text(self, text: str, *, choice: int = 0, **more: Any) -> Delta:
        return self.delta({"content": text}, choice=choice, **more)

    def reasoning(self, text: str, *, choice: int = 0) -> Delta:
        return self.delta({"reasoning_content": text}, choice=choice)

    def begin_tool(self, call_id: str, name: str, arguments: str = "", *, choice: int = 0) -> Delta:
        """A new tool call of the choice; its index is the next."""
        index = self._tools[choice] = self._tools.get(choice, -1) + 1
        function = {"name": name, "arguments": arguments}
        return self.delta(
            {"tool_calls": [{"index": index, "id": call_id, "type": "function", "function": function}]}, choice=choice
        )

    def tool_arguments(self, piece: str, *, choice: int = 0) -> Delta:
        """More of the arguments of the choice's newest tool call."""
        index = self._tools.get(choice, 0)
        return self.delta({"tool_calls": [{"index": index, "function": {"arguments": piece}}]}, choice=choice)

    def has_tools(self, choice: int = 0) -> bool:
        return choice in self._tools

    def finish(self, reason: str, *, choice: int = 0, delta: JSON | None = None) -> Delta:
        """The choice's last chunk."""
        self.finished.add(choice)
        own: JSON = delta or {}
        if choice not in self._begun:
            self._begun.add(choice)
            own = {"role": "assistant", "content": "", **own}
        return self._event({"index": choice, "delta": own, "finish_reason": reason})

    def end(self, usage: JSON | None, **more: Any) -> list[Delta]:
        """The usage chunk, where the provider counted, with `more` at its top level, and the end of the stream."""
        events: list[Delta] = []
        if usage is not None:
            obj = {**self._head(), "choices": [], "usage": usage, **more}
            events.append(Delta(encode_event(obj), obj))
        events.append(Delta(DONE, None))
        return events

    def _head(self) -> JSON:
        return {"id": self.id, "object": "chat.completion.chunk", "created": self.created, "model": self.model}

    def _event(self, choice: JSON) -> Delta:
        obj = {**self._head(), "choices": [choice]}
        return Delta(encode_event(obj), obj)


def reported_error(message: str, status: int, code: str = "") -> Delta:
    """A failure that a provider reports inside its stream, with the status that it stands for."""
    obj: JSON = {"error": {"message": message, "status": status, "code": code or None}}
    return Delta(encode_event(obj), obj)
