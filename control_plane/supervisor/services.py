"""The four processes of the service on one machine, and how each tells that it does its work."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from control_plane.backups.process import litestream_command, litestream_environment
from control_plane.config import ENV_PREFIX, LISTS, Config
from control_plane.routing.caddy import caddy_command, caddy_environment
from control_plane.supervisor.child import Child

PROBE_TIMEOUT_S = 2.0


def services(config: Config, config_file: Path | None, changed: Callable[[], None]) -> dict[str, Child]:
    """By name: `serve`, `activator`, `edge`, `litestream`, not started yet."""
    own = _own_environment(config, config_file)
    logs = config.logs_dir
    return {
        "serve": Child(
            "serve",
            lambda: _own("serve"),
            own | {f"{ENV_PREFIX}REPLICATED": str(not config.database_url).lower()},
            logs / "control-plane.log",
            is_ready=lambda: _answers_ready(config),
            changed=changed,
        ),
        "activator": Child(
            "activator",
            lambda: _own("activator"),
            own,
            logs / "activator.log",
            is_ready=lambda: _accepts(asyncio.open_unix_connection(config.activator_socket)),
            changed=changed,
        ),
        "edge": Child(
            "edge",
            caddy_command,
            caddy_environment(config),
            logs / "edge.log",
            is_ready=lambda: _accepts(asyncio.open_connection(*edge_address(config))),
            changed=changed,
        ),
        "litestream": Child(
            "litestream",
            lambda: litestream_command(config),
            litestream_environment(),
            logs / "litestream.log",
            is_ready=lambda: _accepts(asyncio.open_unix_connection(config.litestream_socket)),
            changed=changed,
            grace_s=40.0,  # it syncs every database before it ends
        ),
    }


def plane_address(config: Config) -> tuple[str, int]:
    """Where the control plane is reached from this machine."""
    return _reachable(config.listen_host), config.listen_port


def edge_address(config: Config) -> tuple[str, int]:
    """Where the edge is reached from this machine."""
    host, _, port = config.edge_listen.rpartition(":")
    return _reachable(host.strip("[]")), int(port)


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)


def _own(name: str) -> list[str]:
    return [sys.executable, "-P", "-m", "control_plane.supervisor.run", name]


def _own_environment(config: Config, config_file: Path | None) -> dict[str, str]:
    """This process's environment with what was decided here, flags included, so that the children decide the same."""
    decided = {
        f"{ENV_PREFIX}{name.upper()}": str(value)
        for name in type(config).model_fields
        if name not in ("plans", *LISTS, "replicated") and (value := getattr(config, name)) not in ("", None)
    }
    if config_file is not None:
        decided[f"{ENV_PREFIX}CONFIG"] = str(config_file.absolute())
    return dict(os.environ) | decided


async def _accepts(connecting: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]]) -> bool:
    try:
        _, writer = await asyncio.wait_for(connecting, PROBE_TIMEOUT_S)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def _answers_ready(config: Config) -> bool:
    with suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
        async with asyncio.timeout(PROBE_TIMEOUT_S):
            reader, writer = await asyncio.open_connection(*plane_address(config))
            writer.write(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            status = await reader.readline()
            writer.close()
            return b" 200 " in status
    return False
