"""Evidence packs: what happened in a period as one zip, signed, with the script that verifies it anywhere."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import zipfile
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from instance.brand import evidence_store, standalone_verifier
from instance.brand.evidence_parts import parts
from instance.brand.export import export_lines
from instance.brand.store import LedgerFilter
from instance.core.timestamps import rfc3339
from instance.core.writer import LedgerEvent

if TYPE_CHECKING:
    from instance.brand.app import Brand
    from instance.brand.evidence_store import Pack

FOLDER = "evidence"
BUILDING_MAX = 8
"""Packs that wait to be built or are being built."""
HOW_TO = """# Verify this evidence pack

Unpack it and run `python3 verify.py` in its folder; it needs Python 3.9 or later and nothing else. It checks every
file against `manifest.json`, the manifest's signature in `manifest.sig`, and each entry of `ledger.ndjson` against the
hash of the one before it. Compare the public key that it prints with the one you know from
`GET /api/trust/ledger/head`, or give it: `python3 verify.py --key PUBLIC_KEY`. `stockyard verify ledger.ndjson` checks
the ledger as well.
"""

log = logging.getLogger("stockyard.brand")


class Evidence:
    """Builds packs, one at a time, and knows their files."""

    def __init__(self, brand: Brand) -> None:
        self._brand = brand
        self._core = brand.core
        self._one_at_a_time = asyncio.Lock()
        self._building: dict[str, asyncio.Task[None]] = {}

    @property
    def full(self) -> bool:
        """No further pack is taken now."""
        return len(self._building) >= BUILDING_MAX

    def path(self, pack_id: str) -> Path:
        return self._core.data_dir / FOLDER / f"{pack_id}.zip"

    def state(self, pack: Pack) -> str:
        """`building`, `ready`, `failed`, or `expired` when its file is gone."""
        if pack["status"] == "building" and pack["id"] not in self._building:
            return "failed"  # the process that built it has ended
        if pack["status"] == "ready" and not self.path(pack["id"]).is_file():
            return "expired"
        return str(pack["status"])

    async def begin(self, pack: Pack, event: LedgerEvent) -> None:
        """Store the pack and build it in the background; `event` is the ledger's entry of it."""
        await self._core.writer.write(lambda connection: evidence_store.insert(connection, pack), [event])
        task = asyncio.create_task(self._build(pack))
        self._building[pack["id"]] = task
        task.add_done_callback(lambda _: self._building.pop(pack["id"], None))

    async def remove(self, pack_id: str, event: LedgerEvent) -> bool:
        """Remove a pack and its file; whether there was one."""
        task = self._building.get(pack_id)
        if task is not None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        events: list[LedgerEvent] = []

        def run(connection: Any) -> bool:
            there = evidence_store.delete(connection, pack_id)
            if there:
                events.append(event)
            return there

        there = await self._core.writer.write(run, events)
        await asyncio.to_thread(self.path(pack_id).unlink, missing_ok=True)
        return there

    async def _build(self, pack: Pack) -> None:
        fields: dict[str, Any]
        part = self.path(pack["id"]).with_suffix(".part")
        try:
            async with self._one_at_a_time:
                fields = await self._written(pack, part)
        except Exception as error:  # shown with the pack, and in the log
            log.exception("evidence pack %s could not be built", pack["id"])
            fields = {"status": "failed", "error": f"{type(error).__name__}: {error}"[:500]}
        finally:
            await asyncio.to_thread(part.unlink, missing_ok=True)
        await self._core.writer.write(lambda connection: evidence_store.built(connection, pack["id"], **fields))

    async def _written(self, pack: Pack, part: Path) -> dict[str, Any]:
        chosen = orjson.loads(pack["filter"])
        period = LedgerFilter(created_from=pack["date_from"], created_to=pack["date_to"], **chosen)
        first, last, count = await self._core.database.read(lambda c: evidence_store.extent(c, period))
        # Without a filter the whole stretch is given, so that each entry links to the one before it.
        narrowed = period if chosen else LedgerFilter()
        ledger = export_lines(self._core, self._brand.signer, replace(narrowed, from_seq=first, to_seq=last))
        included = orjson.loads(pack["include"])
        await self._brand.policies.load()
        await asyncio.to_thread(part.parent.mkdir, mode=0o700, parents=True, exist_ok=True)
        manifest: list[dict[str, Any]] = []
        with zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
            manifest.append(await _member(archive, "ledger.ndjson", ledger))
            for name, lines in parts(self._brand, pack, included):
                manifest.append(await _member(archive, name, lines))
            document = orjson.dumps(
                {
                    "format": "stockyard-evidence",
                    "v": 1,
                    "id": pack["id"],
                    "name": pack["name"],
                    "description": pack["description"],
                    "created_at": rfc3339(pack["created_at_ns"]),
                    "date_from": pack["date_from"],
                    "date_to": pack["date_to"],
                    "public_key": self._brand.signer.public_key,
                    "files": manifest,
                },
                option=orjson.OPT_INDENT_2,
            )
            archive.writestr("manifest.json", document)
            archive.writestr("manifest.sig", self._brand.signer.sign(b"stockyard-evidence-v1\n" + document))
            archive.writestr("VERIFY.md", HOW_TO)
            archive.write(standalone_verifier.__file__, "verify.py")
        final = self.path(pack["id"])
        await asyncio.to_thread(part.rename, final)
        return {
            "status": "ready",
            "first_seq": first,
            "last_seq": last,
            "event_count": count,
            "hash": hashlib.sha256(document).hexdigest(),
            "size_bytes": final.stat().st_size,
            "manifest": orjson.dumps(manifest).decode(),
        }


async def _member(archive: zipfile.ZipFile, name: str, lines: AsyncIterator[bytes]) -> dict[str, Any]:
    """Write one file of the pack and say what is in it; compressing runs beside the event loop."""
    digest = hashlib.sha256()
    size = rows = 0
    with archive.open(name, "w") as member:
        write: Callable[[bytes], object] = member.write
        async for page in lines:
            await asyncio.to_thread(write, page)
            digest.update(page)
            size += len(page)
            rows += page.count(b"\n")
    return {"file": name, "sha256": digest.hexdigest(), "bytes": size, "rows": rows}
