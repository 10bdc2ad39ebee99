"""What is asked under `/v1` beside calls: it makes no call through the chain, costs nothing and leaves no trace."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, NamedTuple

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

SIDE_ROUTES: dict[str, str] = {
    "/v1/responses/": "openai_responses.side_routes:stored_response",
    "/v1/messages/count_tokens": "anthropic.count_tokens:count_message_tokens",
}
"""By path, or by prefix where the name ends in `/`: where it is answered, below `instance.chute.dialects`."""


@cache
def _loaded(where: str) -> SideRoute:
    module, _, name = where.partition(":")
    found: SideRoute = getattr(import_module(f"instance.chute.dialects.{module}"), name)
    return found


def side_route(path: str) -> SideRoute | None:
    """Who answers that path."""
    for name, where in SIDE_ROUTES.items():
        if path == name or (name.endswith("/") and path.startswith(name)):
            return _loaded(where)
    return None
