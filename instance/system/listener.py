"""Listens on a port or a Unix socket and serves one ASGI application through uvicorn's protocol, until told to stop."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.server import ServerState

from instance.system.connection import KEEP_ALIVE_S, Connection

SOCKET_PATH_MAX_BYTES = 107
SOCKET_MODE = 0o666
"""Who may connect is decided by the folder that the socket is in."""
HOSTED_SOCKET_MODE = 0o660
"""Of a hosted instance, whose only callers are its plane and its edge."""
BACKLOG = 2048
POLL_S = 0.01
SWEEP_S = 15.0


class CannotListen(Exception):
    """The address cannot be listened on; the message says why and what to do."""


class Listener:
    """Accepts connections. `connections` are those that are open, `tasks` the requests that run."""

    def __init__(self, application: Any) -> None:
        config = uvicorn.Config(
            application,
            loop="none",
            http=Connection,
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=KEEP_ALIVE_S,
        )
        config.load()
        self._config = config
        self._state = ServerState()
        self._server: asyncio.Server | None = None
        self._sweeper: asyncio.TimerHandle | None = None
        self._bound: tuple[Path, int] | None = None

    @property
    def connections(self) -> set[Any]:
        return self._state.connections

    async def listen(self, host: str, port: int) -> int:
        """Listen on a port; the one taken, when 0 was asked. Raises `CannotListen`."""
        try:
            self._server = await asyncio.get_running_loop().create_server(
                self._connection, host, port, backlog=BACKLOG, reuse_address=True
            )
        except OSError as problem:
            raise CannotListen(
                f"{host}:{port} cannot be listened on: {problem.strerror or problem}; give another with --port"
            ) from None
        self._sweep()
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def listen_unix(self, path: str, mode: int = SOCKET_MODE) -> None:
        """Listen on a Unix socket of these permissions; one that a dead process left is replaced. Raises `CannotListen`."""
        if len(os.fsencode(path)) > SOCKET_PATH_MAX_BYTES:
            raise CannotListen(f"the socket's path is over {SOCKET_PATH_MAX_BYTES} bytes; use a shorter one: {path}")
        _remove_stale(Path(path))
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.setblocking(False)
        try:
            sock.bind(path)
            Path(path).chmod(mode)
            self._server = await asyncio.get_running_loop().create_unix_server(
                self._connection, sock=sock, backlog=BACKLOG
            )
        except OSError as problem:
            sock.close()
            raise CannotListen(f"{path} cannot be listened on: {problem.strerror or problem}") from None
        self._bound = (Path(path), Path(path).stat().st_ino)
        self._sweep()

    async def close(self, deadline_s: float) -> int:
        """Accept nothing more, close idle connections, let requests run until the deadline, then cancel them; how many."""
        server, state = self._server, self._state
        if server is None:
            return 0
        server.close()
        self._unlink()
        if self._sweeper is not None:
            self._sweeper.cancel()
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + deadline_s
        while (state.connections or state.tasks) and loop.time() < ends_at:
            for connection in list(state.connections):
                connection.shutdown()
            await asyncio.sleep(POLL_S)
        cancelled = list(state.tasks)
        for task in cancelled:
            task.cancel()
        if cancelled:
            await asyncio.wait(cancelled, timeout=1.0)
        for connection in list(state.connections):
            connection.transport.abort()
        return len(cancelled)

    def _sweep(self) -> None:
        """Close the connections that have rested for longer than `KEEP_ALIVE_S`, again and again."""
        loop = asyncio.get_running_loop()
        latest = loop.time() - KEEP_ALIVE_S
        for connection in list(self._state.connections):
            if isinstance(connection, Connection) and 0.0 < connection.idle_since < latest:
                connection.transport.close()
        self._sweeper = loop.call_later(SWEEP_S, self._sweep)

    def _connection(self) -> asyncio.Protocol:
        return Connection(config=self._config, server_state=self._state, app_state={})

    def _unlink(self) -> None:
        if self._bound is None:
            return
        path, inode = self._bound
        with suppress(OSError):
            if path.stat().st_ino == inode:
                path.unlink()


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise CannotListen(f"{path} exists and is not a socket; it is left alone")
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    probe.settimeout(1.0)
    try:
        probe.connect(str(path))
    except OSError:
        path.unlink(missing_ok=True)
    else:
        raise CannotListen(f"{path} is served by a running process; stop it first")
    finally:
        probe.close()
