"""The routes in force, and which of them a call takes: a compiled matcher in memory, asked once for each call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import translate
from typing import TYPE_CHECKING

from instance.chute.routes import Route, RouteTarget

if TYPE_CHECKING:
    from instance.core.settings import RouteSettings

MATCHED_MAX = 4096
ANY = "*"


class RouteTable:
    """Every route, of the database and of stockyard.toml, the first that applies first.

    `active` is empty when no route is on: then a call costs no more than the question.
    """

    def __init__(self, configured: Sequence[RouteSettings] = ()) -> None:
        self._configured = tuple(from_settings(number, row) for number, row in enumerate(configured, 1))
        self._matched: dict[tuple[str, str, bool], Route | None] = {}
        self.routes: tuple[Route, ...] = ()
        self.active: tuple[tuple[re.Pattern[str], re.Pattern[str] | None, Route], ...] = ()
        self.replace_stored(())

    def replace_stored(self, stored: Iterable[Route]) -> None:
        """Take the database's routes. Of equal priority those come before the file's, the older before the newer."""
        everything = [*stored, *self._configured]
        self.routes = tuple(sorted(everything, key=lambda route: (route.priority, route.id < 0, abs(route.id))))
        self.active = tuple(
            (_compiled(route.pattern), None if route.path == ANY else _compiled(route.path), route)
            for route in self.routes
            if route.enabled
        )
        self._matched = {}

    def get(self, route_id: int) -> Route | None:
        """The route of that number."""
        return next((route for route in self.routes if route.id == route_id), None)

    def match(self, model: str, path: str, *, named: bool = False) -> Route | None:
        """The first route that is on and fits. `named`: the model is a `provider/model`, which only a pattern that has a
        slash itself may send elsewhere."""
        key = (model, path, named)
        known = self._matched
        if key in known:
            return known[key]
        if len(known) >= MATCHED_MAX:
            known.clear()
        found = known[key] = self._find(model, path, named)
        return found

    def _find(self, model: str, path: str, named: bool) -> Route | None:
        for pattern, path_pattern, route in self.active:
            if (
                (not named or "/" in route.pattern)
                and pattern.match(model)
                and (path_pattern is None or path_pattern.match(path))
            ):
                return route
        return None

    def naming(self, provider: str) -> list[int]:
        """The ids of the routes that have a target at that provider."""
        return [route.id for route in self.routes if route.names(provider)]


def _compiled(glob: str) -> re.Pattern[str]:
    return re.compile(translate(glob))


def from_settings(number: int, row: RouteSettings) -> Route:
    """A route of stockyard.toml; its id is negative, so that it is never one of the database's."""
    return made(-number, row.model_dump(), source="file")


def made(route_id: int, fields: Mapping[str, object], *, source: str = "stored") -> Route:
    """A route from checked fields (`targets` as a list of tables)."""
    values = dict(fields)
    targets = values.pop("targets")
    assert isinstance(targets, list)
    fallback = values.pop("fallback", ())
    return Route(
        route_id,
        targets=tuple(RouteTarget(**target) for target in targets),
        fallback=tuple(fallback),  # type: ignore[arg-type]
        source=source,
        **values,  # type: ignore[arg-type]
    )
