"""A call that is looked at while it goes through the chain: who changed the request, and how long each module took."""

from __future__ import annotations

from time import perf_counter_ns
from typing import TYPE_CHECKING

import orjson

from instance.chute.exchange import Exchange

if TYPE_CHECKING:
    from instance.chute.answer import Answer
    from instance.chute.targets import Target

BEFORE = frozenset(("on_request", "prepare", "around"))
"""Hooks that may change the request."""


class ModuleWatch:
    """Follows one call from module to module. Time that a provider or a deliberate wait took is nobody's."""

    __slots__ = ("_idle_ns", "_last", "_module", "_nest", "_since_ns", "_snapshots", "steps", "times_ns")

    def __init__(self, x: Exchange, module: str, *, snapshots: bool) -> None:
        self.times_ns: dict[str, int] = {}
        self.steps: list[tuple[str, str, bytes, bytes]] = []
        """Module, hook, and the request before and after it."""
        self._module = module
        self._nest: list[str] = []
        self._snapshots = snapshots
        self._since_ns = perf_counter_ns()
        self._idle_ns = x.upstream_ns + x.waited_ns
        self._last = self._snapshot(x)

    def enters(self, x: Exchange, module: str) -> None:
        """The chain comes to a module."""
        self._close(x)
        if x.current_hook == "around":
            if module in self._nest:
                del self._nest[self._nest.index(module) :]  # what was left by an exception never said so
            self._nest.append(module)
        self._module = module

    def leaves(self, x: Exchange) -> None:
        """An `around` gave its answer to the one outside of it."""
        self._close(x)
        if x.current_hook == "around" and self._nest:
            self._nest.pop()
            self._module = self._nest[-1] if self._nest else ""

    def _close(self, x: Exchange) -> None:
        now = perf_counter_ns()
        idle = x.upstream_ns + x.waited_ns
        own = now - self._since_ns - (idle - self._idle_ns)
        module = self._module
        if module:
            self.times_ns[module] = self.times_ns.get(module, 0) + max(0, own)
            if self._snapshots and x.current_hook in BEFORE:
                after = self._snapshot(x)
                if after != self._last:
                    self.steps.append((module, x.current_hook, self._last, after))
                    self._last = after
        self._idle_ns = idle
        self._since_ns = perf_counter_ns()

    def _snapshot(self, x: Exchange) -> bytes:
        """The request as it stands, with the targets that it would go to."""
        if not self._snapshots:
            return b""
        targets: list[Target] = x.targets
        try:
            return orjson.dumps({"request": x.req, "targets": [target.label for target in targets]})
        except orjson.JSONEncodeError:
            return b"{}"


_CURRENT_MODULE, _ANSWER = Exchange.__dict__["current_module"], Exchange.__dict__["answer"]


class WatchedExchange(Exchange):
    """An exchange that tells its watch where it is. A call becomes one by its class, so that no other call pays for it."""

    @property
    def current_module(self) -> str:
        found: str = _CURRENT_MODULE.__get__(self)
        return found

    @current_module.setter
    def current_module(self, module: str) -> None:
        self.lens.modules.enters(self, module)
        _CURRENT_MODULE.__set__(self, module)

    @property
    def answer(self) -> Answer | None:
        found: Answer | None = _ANSWER.__get__(self)
        return found

    @answer.setter
    def answer(self, answer: Answer | None) -> None:
        if answer is not None:
            self.lens.modules.leaves(self)
        _ANSWER.__set__(self, answer)
