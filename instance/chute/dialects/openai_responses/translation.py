"""What comes of translating a request: chat messages, where each came from, and what chat has no place for."""

from __future__ import annotations

from instance.chute.answer import JSON
from instance.core.errors import StockyardError

INSTRUCTIONS = -1
"""In place of an item's index: the message was made of `instructions`."""


class Translation:
    """Chat messages made from input items. Filled by `input_items` and `tools`.

    `sources[i]` are the indexes of the items that `messages[i]` was made of; `native_only` is the first thing that only a
    provider of Responses can do, as (param, what); `dropped` are params whose loss changes nothing of the answer's meaning.
    """

    __slots__ = ("custom_tools", "dropped", "messages", "native_only", "sources")

    def __init__(self) -> None:
        self.messages: list[JSON] = []
        self.sources: list[list[int]] = []
        self.native_only: tuple[str, str] | None = None
        self.custom_tools: frozenset[str] = frozenset()
        self.dropped: list[str] = []

    def only_native(self, param: str, what: str) -> None:
        """Remember that a provider of chat cannot serve the request; the first reason is the one that is told."""
        if self.native_only is None:
            self.native_only = (param, what)

    def add(self, message: JSON, index: int) -> JSON:
        """Append one message made of the item at `index`."""
        self.messages.append(message)
        self.sources.append([index])
        return message


def bad(param: str, message: str) -> StockyardError:
    """400 `bad_request` for a field of the caller's."""
    return StockyardError("bad_request", message, param=param)


def not_supported(param: str, message: str) -> StockyardError:
    """`not_supported`, with 400: the path is served, this field of the request is not."""
    error = StockyardError("not_supported", message, param=param, retryable=False)
    error.status = 400
    return error
