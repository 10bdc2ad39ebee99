"""What a check-up looks at, whether the control plane runs or not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from sqlalchemy import Connection

from control_plane.config import Config

T = TypeVar("T")


class Read(Protocol):
    """Runs a function with a connection to the control plane's database and answers what it answers."""

    def __call__(self, work: Callable[[Connection], T]) -> Awaitable[T]: ...


@dataclass(frozen=True, slots=True)
class Subject:
    """`reconciler` is the loop's own account of itself, None where no loop runs in this process."""

    config: Config
    read: Read
    reconciler: Mapping[str, Any] | None
    plane_runs: bool
    now: float  # wall clock, seconds since 1970 UTC
