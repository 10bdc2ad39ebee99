"""How the activator asks the control plane to wake a tenant: `PlanePort` over the plane's own HTTP API."""

from __future__ import annotations

import asyncio
import os
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Protocol

from control_plane.config import Config
from control_plane.domain.tenants import Status
from control_plane.reconcile.ports import Unavailable
from control_plane.reconcile.unix_http import NobodyListens, request_json

CONNECTIONS = 128
ANSWER_S = 15.0  # beyond what it may hold a question for


class PlaneDown(Exception):
    """Nobody listens at the control plane's address: it is not running."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the control plane said of a tenant; `status` DELETED also for one that it does not know."""

    status: Status
    reason: str = ""
    failure: str = ""
    place: int = 0  # in the plane's own queue; 0 = it is worked on, or in none
    awake_in_s: float | None = None  # by that place; None = it is in none


class PlanePort(Protocol):
    """The control plane, as the activator reaches it."""

    async def wake(self, slug: str, wait_s: float) -> Told:
        """Ask for the tenant to be awake; the answer comes when it is or cannot be, at the latest after `wait_s`.

        Raises `PlaneDown`, or `Unavailable` for anything but an answer that says so.
        """


class PlaneClient:
    """`PlanePort` of the machine's own control plane, which may hold a question for `longest_wait_s`."""

    def __init__(self, config: Config, longest_wait_s: float) -> None:
        self._config = config
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(config.listen_host, config.listen_host)
        self._place = (host, config.listen_port)
        self._timeout_s = longest_wait_s + ANSWER_S
        self._connections = asyncio.Semaphore(CONNECTIONS)

    async def wake(self, slug: str, wait_s: float) -> Told:
        """Ask over HTTP, as the operator."""
        path = f"/internal/tenants/{slug}/wake?wait_s={wait_s}"
        try:
            async with self._connections:
                status, body = await request_json(
                    self._place, "POST", path, key=operator_key(self._config), timeout_s=self._timeout_s
                )
        except NobodyListens:
            raise PlaneDown from None
        except Unavailable as error:
            raise Unavailable(f"the control plane does not answer: {error}") from None
        if status == HTTPStatus.NOT_FOUND:
            return Told(Status.DELETED)
        if status != HTTPStatus.OK:
            raise Unavailable(f"the control plane answers {status}")
        place, in_s = _in_queue(body.get("queue"))
        return Told(Status(body["status"]), body.get("reason") or "", body.get("failure") or "", place, in_s)


def _in_queue(queue: Any) -> tuple[int, float | None]:
    """The place and the seconds of `{"position", "estimated_s"}`, if it has one."""
    place, in_s = (queue.get("position"), queue.get("estimated_s")) if isinstance(queue, dict) else (None, None)
    return place if isinstance(place, int) else 0, float(in_s) if isinstance(in_s, (int, float)) else None


def operator_key(config: Config) -> str:
    """Read each time: the control plane makes the file when it first starts, maybe later than this process."""
    given = os.environ.get("STOCKYARD_CLOUD_OPERATOR_KEY", "")
    with suppress(FileNotFoundError):
        return given or config.operator_key_file.read_text(encoding="utf-8").strip()
    return given
