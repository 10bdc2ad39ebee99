"""The templates in memory, as calls use them: every head, and the versions that were asked for last."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import OrderedDict
from typing import TYPE_CHECKING

from instance.tack_room import store
from instance.tack_room.prompt import Prompt
from instance.tack_room.template import Template

if TYPE_CHECKING:
    from instance.core.core import Core

PROMPTS_MAX = 256
"""Versions that are kept parsed."""
COUNTS_MAX = 4096
NS_PER_DAY = 86_400 * 10**9
KEEP_DAYS = 400


class TemplateTable:
    """Read from the database when it is first needed; `put` and `drop` follow every write."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._by_slug: dict[str, Template] = {}
        self._by_id: dict[int, Template] = {}
        self._loading: asyncio.Lock = asyncio.Lock()
        self._loaded = False
        self._prompts: OrderedDict[tuple[int, int], Prompt] = OrderedDict()
        self._counts: dict[tuple[int, int, int], int] = {}

    async def load(self) -> None:
        """Read the heads, once."""
        if self._loaded:
            return
        async with self._loading:
            if not self._loaded:
                for template in reversed(await self._core.database.read(store.templates)):
                    self.put(template)
                self._loaded = True

    def find(self, slug: str) -> Template | None:
        """The template of a slug, or of a number as text."""
        found = self._by_slug.get(slug)
        return self._by_id.get(int(slug)) if found is None and slug.isdecimal() and len(slug) < 16 else found

    def all(self) -> list[Template]:
        """Every template, newest first."""
        return [self._by_id[ident] for ident in sorted(self._by_id, reverse=True)]

    def __len__(self) -> int:
        return len(self._by_id)

    def put(self, template: Template) -> None:
        """Hold this row from the next call on."""
        self._by_slug[template.slug] = self._by_id[template.id] = template

    def drop(self, template: Template) -> None:
        """The template is gone."""
        self._by_slug.pop(template.slug, None)
        self._by_id.pop(template.id, None)
        for key in [key for key in self._prompts if key[0] == template.id]:
            del self._prompts[key]

    async def prompt(self, template: Template, version: int) -> Prompt | None:
        """A version, parsed; `None` when there is none of that number."""
        key = (template.id, version)
        found = self._prompts.get(key)
        if found is None:
            row = await self._core.database.read(lambda connection: store.version_row(connection, *key))
            if row is None:
                return None
            found = self._prompts[key] = Prompt(version, row["content"])
            if len(self._prompts) > PROMPTS_MAX:
                self._prompts.popitem(last=False)
        else:
            self._prompts.move_to_end(key)
        return found

    def count(self, template: Template, version: int) -> None:
        """A call uses this version."""
        key = (template.id, version, self._core.clock.wall_ns() // NS_PER_DAY)
        if key in self._counts or len(self._counts) < COUNTS_MAX:
            self._counts[key] = self._counts.get(key, 0) + 1

    async def flush(self) -> None:
        """Write down what was counted."""
        counts, self._counts = self._counts, {}
        if not counts:
            return
        oldest = self._core.clock.wall_ns() // NS_PER_DAY - KEEP_DAYS

        def write(connection: sqlite3.Connection) -> None:
            store.count_calls(connection, counts)
            store.forget_days(connection, oldest)

        await self._core.writer.write(write)
