"""The `on_delta` hooks that one call still needs, and what of them is called with the text alone of a plain event."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Set
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from instance.chute.containment import Link, SyncHook

Feed = Callable[[str, bool], str | None]
"""A module's way with the text of a plain event (see `plain_part`): called with a text that is not empty and with `False`, as it is
not the last, it gives what stands in its place; `None`: it took nothing, and `on_delta` is called with the event."""
Feeds = Mapping[str, Feed | None]
"""By module. `None`: plain events are nothing to it."""


class DeltaHooks:
    """Immutable: made anew when a module wants no more events (`skipped`) or gives a `Feed`.

    `events` are for events of any kind. `texts` are for plain ones: the feed or `None`, the hook, the link, and whether a feed
    follows, for which the text has to be read again once the hook had the event. `empty` are for plain ones without any text.
    """

    __slots__ = ("empty", "events", "feeds", "skipped", "texts")

    def __init__(
        self, hooks: tuple[tuple[SyncHook, Link], ...], skipped: Set[str] | None = None, feeds: Feeds | None = None
    ) -> None:
        self.skipped = skipped
        self.feeds = feeds
        self.events = tuple([each for each in hooks if each[1].name not in skipped]) if skipped else hooks
        self.texts: tuple[tuple[Feed | None, SyncHook, Link, bool], ...] = ()
        if feeds is not None:
            texts: list[tuple[Feed | None, SyncHook, Link, bool]] = []
            follows = False
            for hook, link in reversed(self.events):
                feed = feeds.get(link.name)
                if feed is not None or link.name not in feeds:
                    texts.append((feed, hook, link, follows))
                    follows = follows or feed is not None
            self.texts = tuple(reversed(texts))
        self.empty = self.texts
        if not any(follows for feed, _, _, follows in self.texts if feed is None):
            self.empty = tuple(each for each in self.texts if each[0] is None)
