"""What is done to the data folder of an instance that does not run."""

from __future__ import annotations

import asyncio
from pathlib import Path

from instance.commands.terminal import Failed
from instance.core.core import Core, CoreOptions
from instance.core.data_folder import DataFolderError
from instance.core.errors import StockyardError
from instance.core.first_keys import reset_admin_key as make_admin_key
from instance.core.writer import LedgerEvent


def reset_admin_key(data: Path | None) -> str:
    """A new admin key in place of the ones that were made here; noted in the ledger."""
    return asyncio.run(_reset(data))


async def _reset(data: Path | None) -> str:
    from instance.server import all_components, wire_folds

    try:
        core = await Core.open(CoreOptions(data, components=all_components()))
    except (DataFolderError, StockyardError) as problem:
        raise Failed(str(problem)) from None
    try:
        if core.hosted is not None:
            raise Failed("keys of a hosted instance are made at its control plane")
        wire_folds(core)
        await core.start()
        now = core.clock.wall_ns()
        event = LedgerEvent("key_event", "system", "keys", "reset", {"kind": "admin"})
        return await core.writer.write(lambda connection: make_admin_key(connection, now), [event])
    finally:
        await core.close()
