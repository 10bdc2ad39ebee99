"""Templates made, changed, labelled, archived and removed: each change one transaction with its ledger entry."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from instance.core.errors import StockyardError
from instance.system.audit import changed
from instance.tack_room import store
from instance.tack_room.template import LABEL, LATEST, SLUG, Template, Variant

if TYPE_CHECKING:
    from instance.core.core import Core
    from instance.core.principals import Principal
    from instance.core.writer import LedgerEvent
    from instance.tack_room.template_table import TemplateTable

TEMPLATES_MAX = 5_000
VERSIONS_MAX = 1_000
LABELS_MAX = 32


class TemplateAdmin:
    """The other side of the table: what `/api/studio/templates` does to it."""

    def __init__(self, core: Core, table: TemplateTable) -> None:
        self._core = core
        self._table = table
        self._changing = asyncio.Lock()

    async def one(self, slug: str) -> Template:
        """The template of a slug or an id. Raises `not_found`."""
        await self._table.load()
        found = self._table.find(slug)
        if found is None:
            raise StockyardError(
                "not_found", f"There is no template {slug[:64]!r}; GET /api/studio/templates lists them."
            )
        return found

    async def create(self, fields: Mapping[str, Any], content: Mapping[str, Any], principal: Principal) -> Template:
        """A template with its version 1. `fields`: slug, name, description, tags, status, author, change_note, label."""
        slug = fields["slug"]
        if not SLUG.fullmatch(slug):
            raise StockyardError("invalid_value", "A slug is 1 to 63 of a-z, 0-9 and -, not first a -.", param="slug")
        async with self._changing:
            await self._table.load()
            if self._table.find(slug) is not None:
                raise StockyardError("already_exists", f"There is a template {slug!r} already.", param="slug")
            if len(self._table) >= TEMPLATES_MAX:
                raise StockyardError("conflict", f"There are {TEMPLATES_MAX} templates, which is the most.")
            label = fields.get("label") or ""
            _check_label(label)
            now = self._core.clock.wall_ns()

            def write(connection: sqlite3.Connection) -> int:
                ident = store.add_template(connection, fields, now)
                store.add_version(connection, ident, 1, _stored(content), fields["author"], fields["change_note"], now)
                if label:
                    store.set_label(connection, ident, label, (Variant(1),), now)
                return ident

            return await self._write(write, changed(principal, f"template:{slug}", "create", content))

    async def add_version(
        self, slug: str, content: Mapping[str, Any], author: str, note: str, label: str, principal: Principal
    ) -> tuple[Template, bool]:
        """The next version; false, and nothing stored but the label, when the current one has the same content."""
        _check_label(label)
        async with self._changing:
            template = await self.one(slug)
            ident, now = template.id, self._core.clock.wall_ns()
            current = await self._core.database.read(
                lambda connection: store.version_row(connection, ident, template.current_version)
            )
            assert current is not None
            same = current["content"] == orjson.loads(_stored(content))
            version = template.current_version + (0 if same else 1)
            if version > VERSIONS_MAX:
                raise StockyardError("conflict", f"A template has at most {VERSIONS_MAX} versions.")
            if same and not label:
                return template, False

            def write(connection: sqlite3.Connection) -> int:
                if not same:
                    store.add_version(connection, ident, version, _stored(content), author, note, now)
                if label:
                    store.set_label(connection, ident, label, (Variant(version),), now)
                store.change_template(connection, ident, {}, now)
                return ident

            event = changed(
                principal,
                f"template:{template.slug}",
                "label" if same else "version",
                content,
                version=version,
                label=label,
            )
            return await self._write(write, event), not same

    async def change(self, slug: str, fields: Mapping[str, Any], principal: Principal) -> Template:
        """Set some of name, description, tags, status."""
        async with self._changing:
            template = await self.one(slug)
            now = self._core.clock.wall_ns()

            def write(connection: sqlite3.Connection) -> int:
                store.change_template(connection, template.id, fields, now)
                return template.id

            return await self._write(write, changed(principal, f"template:{template.slug}", "update", fields))

    async def point(self, slug: str, label: str, variants: tuple[Variant, ...], principal: Principal) -> Template:
        """Let a label serve these versions from the next call on. Raises `not_found` for a version that there is not."""
        _check_label(label)
        async with self._changing:
            template = await self.one(slug)
            for variant in variants:
                if variant.version > template.current_version:
                    raise StockyardError(
                        "not_found", f"{template.slug!r} has no version {variant.version}.", param="version"
                    )
            if label not in template.labels and len(template.labels) >= LABELS_MAX:
                raise StockyardError("conflict", f"A template has at most {LABELS_MAX} labels.")
            now = self._core.clock.wall_ns()

            def write(connection: sqlite3.Connection) -> int:
                store.set_label(connection, template.id, label, variants, now)
                store.change_template(connection, template.id, {}, now)
                return template.id

            event = changed(
                principal,
                f"template:{template.slug}",
                "label",
                ("version",),
                label=label,
                before=[each.version for each in template.labels.get(label, ())],
                after=[each.version for each in variants],
            )
            return await self._write(write, event)

    async def unlabel(self, slug: str, label: str, principal: Principal) -> Template:
        """Take a label away. Raises `not_found`."""
        async with self._changing:
            template = await self.one(slug)
            if label not in template.labels:
                raise StockyardError("not_found", f"{template.slug!r} has no label {label!r}.")

            def write(connection: sqlite3.Connection) -> int:
                store.remove_label(connection, template.id, label)
                return template.id

            return await self._write(write, changed(principal, f"template:{template.slug}", "unlabel", label=label))

    async def purge(self, slug: str, principal: Principal) -> Template:
        """Remove it with all versions. Raises `in_use` while a label points to one."""
        async with self._changing:
            template = await self.one(slug)
            if template.labels:
                raise StockyardError(
                    "in_use", f"Labels point to {template.slug!r}: {', '.join(template.labels)}. Take them away first."
                )
            event = changed(principal, f"template:{template.slug}", "purge")
            await self._core.writer.write(lambda connection: store.remove_template(connection, template.id), [event])
            self._table.drop(template)
            return template

    async def _write(self, write: Callable[[sqlite3.Connection], int], event: LedgerEvent) -> Template:
        """Run a write, and hold what the row is afterwards."""
        template = await self._core.writer.write(
            lambda connection: store.templates(connection, write(connection))[0], [event]
        )
        self._table.put(template)
        return template


def _check_label(label: str) -> None:
    if label == LATEST:
        raise StockyardError("invalid_value", f"{LATEST!r} is always the newest version.", param="label")
    if label and not LABEL.fullmatch(label):
        raise StockyardError("invalid_value", "A label is 1 to 63 of a-z, 0-9, _ and -, first a letter.", param="label")


def _stored(content: Mapping[str, Any]) -> bytes:
    return orjson.dumps(content, option=orjson.OPT_SORT_KEYS)
