"""Routes: which targets serve a model that is asked for. Their one home; the routing modules read them."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RouteTarget:
    """One target of a route: `target` is `provider/model`."""

    target: str
    weight: int = 1
    region: str = ""


@dataclass(frozen=True, slots=True)
class Route:
    """One route. `pattern` is a glob of the asked model, `path` one of the request's path; the lowest `priority` wins."""

    id: int
    pattern: str
    targets: tuple[RouteTarget, ...]
    fallback: tuple[str, ...] = field(default=())
    sticky: bool = False
    hedge_after_ms: int = 0
    path: str = "*"
    priority: int = 100
    enabled: bool = True
    source: str = "stored"
