"""Routes and what they accept: unknown query parameters are refused, wrong methods are told the right ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from control_plane.errors import CloudError, nearest

Limit = Annotated[int, Query(ge=1, le=500, description="rows in this answer")]
Offset = Annotated[int, Query(ge=0, description="rows to leave out")]
Cursor = Annotated[int | None, Query(ge=0, description="`next_cursor` of the answer before")]


def refuse_unknown_query(request: Request) -> None:
    """Raise `unknown_field` for a query parameter that the route does not have."""
    route = request.scope.get("route")
    if not request.query_params or not isinstance(route, APIRoute):
        return
    known = sorted(_query_names(route.dependant))
    for name in request.query_params:
        if name not in known:
            raise CloudError("unknown_field", f"unknown parameter `{name}`: {nearest(name, known)}", param=name)


def make_router(tag: str, *, documented: bool = True) -> APIRouter:
    """A router whose routes accept only the parameters they declare."""
    return APIRouter(tags=[tag], dependencies=[Depends(refuse_unknown_query)], include_in_schema=documented)


def methods_at(routes: Sequence[BaseRoute], path: str) -> str:
    """The methods served at a path, for `Allow`."""
    parts = path.strip("/").split("/")
    served: set[str] = set()
    for route in routes:
        if isinstance(route, APIRoute) and _fits(route.path.strip("/").split("/"), parts):
            served |= route.methods or set()
    return ", ".join(sorted(served))


def _query_names(dependant: Dependant) -> Iterator[str]:
    yield from (field.alias for field in dependant.query_params)
    for part in dependant.dependencies:
        yield from _query_names(part)


def _fits(template: Iterable[str], parts: Sequence[str]) -> bool:
    names = list(template)
    return len(names) == len(parts) and all(
        part == name or name.startswith("{") for name, part in zip(names, parts, strict=True)
    )
