"""Routes: which targets serve a model that is asked for. Their one home; the routing modules read them."""

from __future__ import annotations

from dataclasses import dataclass, field

ASKED_MODEL = "*"
"""As the model of a target: whatever was asked for, by its bare name."""


@dataclass(frozen=True, slots=True)
class RouteTarget:
    """One target of a route: `target` is `provider/model`, or `provider/*` for the asked model at that provider."""

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

    def names(self, provider: str) -> bool:
        """Whether one of its targets lies at that provider."""
        start = provider + "/"
        return any(one.target.startswith(start) for one in self.targets) or any(
            label.startswith(start) for label in self.fallback
        )


def split_target(label: str) -> tuple[str, str]:
    """(provider, model) of `provider/model`; raises `ValueError` for what is none."""
    provider, slash, model = label.strip().partition("/")
    if not slash or not provider or not model:
        raise ValueError(f"{label!r} is no target; write provider/model")
    return provider, model
