"""What a run is about: the service, its engine, its tenants and their callers, and what was done to them."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

import httpx2

from tests.chaos.callers import Caller
from tests.chaos.disturbances import OK, Call, Disturbance, Loss
from tests.chaos.engine import Engine
from tests.cloud.service import Service, Tenant

T = TypeVar("T")
TRIES_S = 60.0
TROUBLE = (AssertionError, OSError, KeyError, ValueError, StopIteration, httpx2.HTTPError, subprocess.SubprocessError)


class World:
    """Faults reach for it from many threads; each list is only appended to."""

    def __init__(self, service: Service, engine: Engine | None) -> None:
        self.service = service
        self.engine = engine
        self.callers: dict[str, Caller] = {}
        self.disturbances: list[Disturbance] = []
        self.losses: list[Loss] = []
        self.violations: list[str] = []
        self.one_at_a_time = {slug: threading.Lock() for slug in ("",)}

    def admit(self, tenant: Tenant, seed: int) -> None:
        """Let this tenant take part: it is called from now on."""
        self.callers[tenant.slug] = Caller(tenant, seed)
        self.one_at_a_time[tenant.slug] = threading.Lock()
        self.callers[tenant.slug].start()

    def tenant(self, slug: str) -> Tenant:
        return self.callers[slug].tenant

    def calls(self, slug: str = "") -> list[Call]:
        """What was called so far, of one tenant or of all."""
        callers = [self.callers[slug]] if slug else list(self.callers.values())
        return [call for caller in callers for call in list(caller.calls)]

    def must_be_kept(self, slug: str) -> dict[str, Call]:
        """Completed calls, by nonce, that no loss excuses: they must be in the tenant's traces."""
        losses = [each for each in self.losses if each.tenant == slug]
        return {
            call.nonce: call
            for call in self.calls(slug)
            if call.code == OK and not any(each.excuses(call) for each in losses)
        }

    def insist(self, work: Callable[[], T], what: str, deadline_s: float = TRIES_S) -> T:
        """Do it, again and again while a part that it needs is away."""
        end = time.monotonic() + deadline_s
        while True:
            try:
                return work()
            except TROUBLE as problem:
                if time.monotonic() > end:
                    raise AssertionError(f"could not {what} within {deadline_s:.0f} s: {problem}") from None
                time.sleep(0.2)

    def ask(self, method: str, path: str, **options: Any) -> Any:
        """The control plane's answer, whenever it is there again."""

        def once() -> Any:
            answer = self.service.api(method, path, **options)
            assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text[:300]}"
            return answer.json()

        return self.insist(once, f"{method} {path}")
