"""`require(scope)`: the dependency by which every FastAPI route says who may call it."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address, ip_network
from typing import TYPE_CHECKING

from fastapi import Request

from instance.chute.client_address import client_address
from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.system.client_wall import require_within
from instance.system.credentials import demand, identify

if TYPE_CHECKING:
    from instance.core.core import Core


def require(scope: str) -> Callable[[Request], Principal]:
    """A dependency that answers the caller's `Principal`, or 401, or 403 `scope_missing`.

    Use it as `principal: Annotated[Principal, Depends(require("trust:read"))]`. `self` is held by every key. The scope is
    kept as the attribute `scope` of the dependency, from which the tests and OpenAPI read it.
    """

    async def dependency(request: Request) -> Principal:
        return admitted(request, scope)

    dependency.scope = scope  # type: ignore[attr-defined]
    return dependency  # type: ignore[return-value]


def admitted(request: Request, scope: str) -> Principal:
    """The caller's principal, checked for `scope`, its client's wall, address and management rate; remembered in
    `request.state.principal`."""
    state = request.app.state
    core: Core = state.core
    principal: Principal | None = state.open_principal
    if principal is None:
        principal = identify(core, request.scope["headers"])
        if principal.ip_allow:
            peer, headers = request.scope.get("client"), dict(request.scope["headers"])
            require_address(principal, client_address(peer, headers, state.trusted_proxies))
        rate = state.management_rate.admit(principal.key_id, core.clock.mono_ns())
        request.scope["state"]["rate_headers"] = rate
    request.state.principal = principal
    demand(principal, scope)
    require_within(principal, request.scope)
    return principal


def require_address(principal: Principal, host: str) -> None:
    """Raise `ip_denied` unless the key may be used from this address; who calls at a Unix socket itself has none."""
    if not principal.ip_allow or not host:
        return
    try:
        address = ip_address(host)
    except ValueError:
        address = None
    if address is None or not any(address in ip_network(network, strict=False) for network in principal.ip_allow):
        raise StockyardError("ip_denied", "This key may not be used from this address.")
