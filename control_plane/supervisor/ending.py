"""Ends what no supervisor is the parent of: the instances."""

from __future__ import annotations

import asyncio

from control_plane.backups.litestream import LitestreamBackups
from control_plane.config import Config
from control_plane.reconcile.ports import Unavailable
from control_plane.runtimes import open_runtime
from control_plane.runtimes.protocol import EngineError, Observed, Runtime

GRACE_S = 12.0  # an instance gives running calls 10 s


async def end_instances(config: Config) -> list[str]:
    """Stop and remove every instance, then copy the last of each database to its backup; what went wrong.

    The control plane must not run any more, or it starts them again; Litestream must still run.
    """
    runtime = open_runtime(config)
    try:
        seen = await runtime.observe()
    except EngineError as problem:
        return [f"instances may be left running: {problem}"]
    problems = await asyncio.gather(*(_end(runtime, each) for each in seen))
    return [problem for problem in problems if problem] + await _sync_all(config)


async def _end(runtime: Runtime, seen: Observed) -> str:
    try:
        await runtime.stop(seen.name, GRACE_S)
        await runtime.remove(seen.name)
    except EngineError as problem:
        return f"the instance of {seen.name} is left behind: {problem}"
    return ""


async def _sync_all(config: Config) -> list[str]:
    backups = LitestreamBackups(config)
    try:
        copied = await backups.registered()
        return [problem for problem in await asyncio.gather(*(_sync(backups, slug) for slug in copied)) if problem]
    except Unavailable as problem:
        return [f"the backups may lack the last second: {problem}"]
    finally:
        await backups.close()


async def _sync(backups: LitestreamBackups, slug: str) -> str:
    try:
        await backups.sync_wait(slug)
    except Unavailable as problem:
        return f"the backup of {slug} may lack the last second: {problem}"
    return ""
