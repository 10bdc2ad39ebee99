"""The windows over calls that the rules of an instance need: filled by calls that are over, and once from what is recorded."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import TYPE_CHECKING

from instance.lookout.alerts import store
from instance.lookout.alerts.call_window import Bucket, CallFacts, CallWindow, bucket_s
from instance.lookout.alerts.rule import Rule

if TYPE_CHECKING:
    from instance.core.core import Core

BATCH_CALLS = 64
NS_PER_S = 10**9

Key = tuple[tuple[tuple[str, str], ...], int]
"""A filter and the length of the buckets: rules that have both in common share a window."""


class CallWindows:
    """One for each instance. `make` says for which rules; `feed` is called at the end of each call, which is counted later."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._windows: dict[Key, CallWindow] = {}
        self._unseeded: list[CallWindow] = []
        self._calls: list[CallFacts] = []

    def feed(self, call: CallFacts) -> None:
        """Take a call that is over."""
        calls = self._calls
        calls.append(call)
        if len(calls) >= BATCH_CALLS:
            self._count()

    def make(self, rules: Iterable[Rule]) -> None:
        """One window for each filter and length of buckets that these rules need; those that are there go on."""
        self._count()
        now_ns = self._core.clock.wall_ns()
        needed: dict[Key, int] = {}
        for rule in rules:
            key = _key(rule)
            needed[key] = max(needed.get(key, 0), rule.window_seconds)
        windows = {}
        for key, span_s in needed.items():
            window = self._windows.get(key)
            if window is None or window.span_s < span_s:
                window = CallWindow(dict(key[0]), key[1], now_ns)
                self._unseeded.append(window)
            window.span_s = span_s
            windows[key] = window
        self._windows = windows

    async def last(self, rule: Rule) -> Bucket | None:
        """The calls of a rule's window until now as one; `None` when it has no window."""
        self._count()
        await self._seed()
        now_ns = self._core.clock.wall_ns()
        window = self._windows.get(_key(rule))
        return window.last(rule.window_seconds, now_ns // NS_PER_S) if window is not None else None

    def forget(self, now_ns: int) -> None:
        """Drop what is older than any rule asks for."""
        for window in self._windows.values():
            window.forget(now_ns // NS_PER_S)

    def _count(self) -> None:
        calls, self._calls = self._calls, []
        for window in self._windows.values():
            for call in calls:
                window.add(call)

    async def _seed(self) -> None:
        """Fill new windows with the calls that were recorded before they were made."""
        if not self._unseeded:
            return
        core = self._core
        await core.writer.drain()
        while self._unseeded:
            window = self._unseeded.pop()
            first_ns = window.since_ns - window.span_s * NS_PER_S
            query = partial(store.recorded_calls, narrowed=window.narrowed, since_ns=first_ns, until_ns=window.since_ns)
            for call in await core.database.read(query):
                window.add(call)


def _key(rule: Rule) -> Key:
    return tuple(sorted(rule.filter.items())), bucket_s(rule.window_seconds)
