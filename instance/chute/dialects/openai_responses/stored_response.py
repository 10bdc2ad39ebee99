"""A stored response, whose it is, and the refusal when there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from instance.chute.answer import JSON
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.core.principals import Principal


class StoredResponse(NamedTuple):
    """`provider` is empty for our own; a provider's has neither items nor response here."""

    id: str
    owner: str
    provider: str
    previous_id: str
    input: list[JSON]
    response: JSON

    @property
    def items(self) -> list[JSON]:
        """What it adds to a conversation: its input, and what was answered."""
        return [*self.input, *(self.response.get("output") or ())]


def opened(response_id: str, owner: str, provider: str, previous_id: str, body: bytes) -> StoredResponse:
    """With its body read; an empty body is that of a response that a provider keeps."""
    read: Any = orjson.loads(body) if body else {"input": [], "response": {}}
    return StoredResponse(response_id, owner, provider, previous_id, read["input"], read["response"])


def owner_of(principal: Principal) -> str:
    """Whose responses a key sees: its team's, else its own."""
    return f"team:{principal.team}" if principal.team else f"key:{principal.key_id}"


def gone(response_id: str) -> StockyardError:
    """For a response that is not here, or not the caller's: nobody learns which."""
    return StockyardError(
        "previous_response_not_found",
        f"There is no stored response {response_id!r}, or a part of its conversation is gone; send the whole input.",
        param="previous_response_id",
        retryable=False,
    )


def too_long() -> StockyardError:
    """For a conversation that no call could carry."""
    return StockyardError(
        "bad_request",
        "The stored conversation is too long to be continued; send what matters of it as `input`.",
        param="previous_response_id",
    )
