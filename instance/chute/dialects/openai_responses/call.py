"""What one call of `/v1/responses` carries from its request to its answer; it lies in `x.state["responses"]`."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from instance.chute.answer import JSON
from instance.chute.dialects.openai_responses.item_ids import new_response_id
from instance.chute.dialects.openai_responses.response_object import skeleton

if TYPE_CHECKING:
    from instance.chute.dialects.openai_responses.store import ResponseStore
    from instance.chute.exchange import Exchange

OVERHEAD_BYTES = 4096
"""What a response takes beside its texts, about."""


class ResponseCall:
    """`items` is this request's own input, `history` what was stored of the conversation before it, oldest first."""

    __slots__ = (
        "_x",
        "ancestors",
        "created_s",
        "custom_tools",
        "history",
        "id",
        "items",
        "native",
        "native_only",
        "owner",
        "resolved",
        "store",
    )

    def __init__(self, x: Exchange, native: JSON, items: list[JSON]) -> None:
        self._x = x
        self.id = new_response_id()
        self.created_s = x.started_wall_ns // 1_000_000_000
        self.native = native
        self.items = items
        self.history: list[JSON] = []
        self.resolved = False
        """Whether stored items stand in place of `previous_response_id` and of references."""
        self.ancestors: tuple[str, ...] = ()
        """Ids of the responses that `history` came from."""
        self.custom_tools: frozenset[str] = frozenset()
        self.native_only: tuple[str, str] | None = None
        """What only a provider of Responses can do with this request, as (param, what)."""
        self.store: ResponseStore | None = None
        self.owner = ""

    @property
    def stored(self) -> bool:
        """Whether the caller wants the response kept, which is the default."""
        return self.native.get("store") is not False

    @property
    def context(self) -> list[JSON]:
        """All items that the model is to see."""
        return [*self.history, *self.items] if self.history else self.items

    def skeleton(self, model: str) -> JSON:
        return skeleton(self.id, self.created_s, self.native, model or self._x.model_requested)

    def keep(self, response: JSON, answer_bytes: int) -> None:
        """Have a response of ours stored soon, in the form that secretscan allows; nothing when it must not be.

        `answer_bytes` is about what the answer takes in memory."""
        redact = self._redaction()
        if self.store is not None and self.stored and redact is not None:
            self.store.put(self, response, redact, len(self._x.raw) + answer_bytes + OVERHEAD_BYTES)

    def made_by(self, provider: str, response_id: object) -> None:
        """Remember which provider made a response, so that it is found there again and by its owner only."""
        if self.store is not None and self.stored and isinstance(response_id, str) and response_id:
            self.store.put_foreign(self.owner, response_id, provider)

    def _redaction(self) -> Callable[[str], str] | None:
        x = self._x
        found: Callable[[str], str] | None = x.state.get("redact")
        if found is not None:
            return found
        return None if x.plan is not None and x.plan.redacts else _unchanged


def _unchanged(text: str) -> str:
    return text


def call_of(x: Exchange) -> ResponseCall:
    call: ResponseCall = x.state["responses"]
    return call
