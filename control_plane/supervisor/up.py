"""Starts control plane, activator, edge and Litestream together, keeps them running, and ends everything on request."""

from __future__ import annotations

import asyncio
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from control_plane.config import Config
from control_plane.errors import ConfigError
from control_plane.supervisor.holder import DataFolder, InUse
from control_plane.supervisor.services import edge_address, plane_address, services
from control_plane.supervisor.sockets import remove_sockets

if TYPE_CHECKING:
    from control_plane.supervisor.first_tenant import Demo

READY_DEADLINE_S = 60.0


def up(config: Config, *, demo: bool, config_file: Path | None) -> int:
    """See `run_up`."""
    config.prepare()
    try:
        folder = DataFolder(config.run_dir)
    except InUse as refusal:
        print(refusal, file=sys.stderr)
        return 1
    try:
        for name in folder.end_leftovers():
            print(f"ended `{name}`, left over from a start that was killed", file=sys.stderr)
        _require_free(config)
        return asyncio.run(_Service(config, config_file, folder).run(demo))
    except ConfigError as problem:
        print(problem, file=sys.stderr)
        return 1
    finally:
        folder.release()


class _Service:
    def __init__(self, config: Config, config_file: Path | None, folder: DataFolder) -> None:
        self._config = config
        self._folder = folder
        self._children = services(config, config_file, self._note_children)
        self._asked_to_end = asyncio.Event()

    async def run(self, demo: bool) -> int:
        """Until a signal; 1 if the service could not be started."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._asked_to_end.set)
        remove_sockets(self._config, keep_instances=True)
        starting = asyncio.create_task(self._start(demo))
        asked = asyncio.create_task(self._asked_to_end.wait())
        try:
            await asyncio.wait((starting, asked), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                await asked
        except (RuntimeError, TimeoutError, OSError) as problem:
            print(f"the service did not start: {problem}", file=sys.stderr)
            return 1
        finally:
            starting.cancel()
            asked.cancel()
            await asyncio.gather(starting, asked, return_exceptions=True)
            await self._end()
        return 0

    async def _start(self, demo: bool) -> None:
        await asyncio.gather(*(child.start() for child in self._children.values()))
        from control_plane.supervisor.first_tenant import Demo  # while the children start, not before

        # The tenant is made while the edge and the others still start: its instance takes longest.
        await self._children["serve"].ready(READY_DEADLINE_S)
        tenant = Demo(self._config) if demo else None
        others = asyncio.gather(*(child.ready(READY_DEADLINE_S) for child in self._children.values()))
        key = await _ensure(tenant) if tenant else ""
        await others
        _announce(self._config, tenant.url if tenant else "", key)

    async def _end(self) -> None:
        """First who might start an instance or send it calls, then the instances, last who copies their databases."""
        print("ending …", file=sys.stderr, flush=True)
        await asyncio.gather(*(self._children[name].stop() for name in ("edge", "activator", "serve")))
        from control_plane.supervisor.ending import end_instances

        for problem in await end_instances(self._config):
            print(problem, file=sys.stderr)
        await self._children["litestream"].stop()
        remove_sockets(self._config)

    def _note_children(self) -> None:
        self._folder.note({name: pid for name, child in self._children.items() if (pid := child.pid) is not None})


async def _ensure(tenant: Demo) -> str:
    try:
        return await asyncio.to_thread(tenant.ensure)
    finally:
        tenant.given_up.set()


def _announce(config: Config, url: str, key: str) -> None:
    host, port = plane_address(config)
    lines = ["Stockyard Cloud is up.", f"  control plane  http://{host}:{port}", f"  logs           {config.logs_dir}"]
    if url:
        body = '{"model": "mock/gpt", "messages": [{"role": "user", "content": "Hello!"}]}'
        lines += [
            f"  tenant `demo`  {url}",
            f"  its key        {key}",
            "",
            f"curl {url}/chat/completions -H 'Authorization: Bearer {key}' \\",
            f"  -H 'Content-Type: application/json' -d '{body}'",
        ]
    print("\n".join([*lines, "", "Ctrl-C ends everything."]), flush=True)


def _require_free(config: Config) -> None:
    """Raise `ConfigError` if somebody else listens where this service shall."""
    for setting, (host, port) in (("listen", plane_address(config)), ("edge_listen", edge_address(config))):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as problem:
                flag = f"--{setting.replace('_', '-')}"
                raise ConfigError(f"cannot listen on {host}:{port}: {problem.strerror}; choose with {flag}") from None
