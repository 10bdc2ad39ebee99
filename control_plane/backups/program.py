"""Runs a check of a database as a program of its own, and reads its verdict."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import suppress

from control_plane.backups.check import Checked
from control_plane.reconcile.ports import Unavailable

TIMEOUT_S = 3600


async def verdict_of(module: str, *arguments: str, given: bytes = b"") -> Checked:
    """What `python -m MODULE ARGUMENTS` says, with `given` at its standard input. Raises `Unavailable` when it says nothing."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        module,
        *arguments,
        env={name: value for name, value in os.environ.items() if not name.startswith("STOCKYARD_")},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            out, err = await process.communicate(given)
    except TimeoutError:
        raise Unavailable(f"the check did not end within {TIMEOUT_S} s") from None
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
    if process.returncode != 0:
        raise Unavailable(f"the check failed: {err.decode('utf-8', 'replace')[-500:]}")
    return Checked(**json.loads(out))
