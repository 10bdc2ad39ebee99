"""What is asked under `/v1` beside calls: it makes no call through the chain, costs nothing and leaves no trace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from instance.chute.dialects.anthropic.count_tokens import PATH as COUNT_TOKENS
from instance.chute.dialects.anthropic.count_tokens import count_message_tokens
from instance.chute.dialects.openai_responses.side_routes import PREFIX as RESPONSES
from instance.chute.dialects.openai_responses.side_routes import stored_response

if TYPE_CHECKING:
    from instance.chute.app import Chute
    from instance.core.principals import Principal


class SideCall(NamedTuple):
    """One such request, its key already checked. `headers` in lower case, `body` as it came."""

    chute: Chute
    method: str
    path: str
    query: bytes
    principal: Principal
    headers: Mapping[bytes, bytes]
    body: bytes
    request_id: str


SideRoute = Callable[[SideCall], Awaitable[tuple[int, Any]]]
"""Gives the status and what becomes the JSON body; raises `StockyardError`."""

SIDE_ROUTES: dict[str, SideRoute] = {
    RESPONSES: stored_response,
    COUNT_TOKENS: count_message_tokens,
}
"""By path, or by prefix where the name ends in `/`."""


def side_route(path: str) -> SideRoute | None:
    """Who answers that path."""
    exact = SIDE_ROUTES.get(path)
    if exact is not None:
        return exact
    return next((route for name, route in SIDE_ROUTES.items() if name.endswith("/") and path.startswith(name)), None)
