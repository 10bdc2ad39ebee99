"""One instance: its apps put together into one ASGI application, served until a signal comes."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from time import perf_counter_ns
from typing import Any

from instance.billing.plan_quota import fold_quota
from instance.billing.spend import fold_spend
from instance.brand.app import MIGRATIONS as BRAND_MIGRATIONS
from instance.brand.app import Brand
from instance.brand.ledger import Ledger, head
from instance.chute.app import Chute, components
from instance.core import log_lines
from instance.core.core import Core, CoreOptions
from instance.core.data_folder import DataFolderError
from instance.core.errors import StockyardError
from instance.core.garbage import collect_seldom
from instance.core.large_blocks import return_large_blocks
from instance.core.principals import lease_expired
from instance.forge.app import MIGRATIONS as FORGE_MIGRATIONS
from instance.forge.app import Forge
from instance.lookout.app import MIGRATIONS as LOOKOUT_MIGRATIONS
from instance.lookout.app import Lookout
from instance.lookout.call_columns import CALL_KIND
from instance.memory.app import MIGRATIONS as MEMORY_MIGRATIONS
from instance.memory.app import Memory
from instance.system.control import ControlApi
from instance.system.gateway import Gateway
from instance.system.key_lease import KeyLease
from instance.system.listener import HOSTED_SOCKET_MODE, SOCKET_MODE, CannotListen, Listener
from instance.system.open_mode import OpenKeys, open_principal
from instance.system.pushed_state import PushedState
from instance.system.usage import fold_usage
from instance.system.usage_days import UsageDaysFold
from instance.tack_room.app import MIGRATIONS as TACK_ROOM_MIGRATIONS
from instance.tack_room.app import TackRoom

SYSTEM_MIGRATIONS = ("system", Path(__file__).parent / "system" / "migrations")
HOUSEKEEPING_S = 60.0
ADDRESS_NAME = "address"
"""File in the data folder that tells the commands where the running instance listens."""
LOOPBACK_NAMES = ("localhost",)

log = logging.getLogger("stockyard.server")


@dataclass(slots=True)
class ServeOptions:
    """What `stockyard serve` was asked. `open` turns key checks off, on loopback only."""

    data: Path | None = None
    config: Path | None = None
    host: str | None = None
    port: int | None = None
    uds: str | None = None
    open: bool = False
    env: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def flags(self) -> dict[str, Any]:
        """The settings that flags fix."""
        return {"server.host": self.host, "server.port": self.port, "server.uds": self.uds}


def all_components() -> list[tuple[str, Path]]:
    """Every part of the database with its folder of migrations; the core adds its own."""
    return [
        BRAND_MIGRATIONS,
        LOOKOUT_MIGRATIONS,
        FORGE_MIGRATIONS,
        SYSTEM_MIGRATIONS,
        TACK_ROOM_MIGRATIONS,
        MEMORY_MIGRATIONS,
        *components(),
    ]


def wire_folds(core: Core) -> tuple[Brand, Lookout]:
    """Attach the ledger and every fold to the core's writer, in the order in which they must run."""
    ledger = Ledger(core.clock)
    brand, lookout = Brand(core, ledger), Lookout(core, lambda: ledger.folded_calls)
    core.writer.append_ledger = ledger.append
    brand.start()
    lookout.start()
    core.writer.register(CALL_KIND, fold_usage)
    core.writer.register(CALL_KIND, UsageDaysFold())
    core.writer.register(CALL_KIND, fold_spend)
    core.writer.register(CALL_KIND, fold_quota)
    return brand, lookout


class Instance:
    """The apps of one instance and what they count. `await open()` makes one that can serve, `await close()` ends it."""

    def __init__(self, core: Core, brand: Brand, lookout: Lookout, *, is_open: bool) -> None:
        self.core = core
        self.brand = brand
        self.lookout = lookout
        self.tack_room = TackRoom(core)
        self.memory = Memory(core)
        self.chute = Chute(core)
        self.forge = core.services["forge"] = Forge(core)
        self.draining = False
        self.open_principal = open_principal() if is_open else None
        self._lease = KeyLease(core, self._end_streams)
        self._pushed = PushedState(core, self._lease)
        self._housekeeping: asyncio.Task[None] | None = None

    @classmethod
    async def open(cls, options: ServeOptions) -> Instance:
        """Open the data folder and start every app. Raises `StockyardError`, `DataFolderError` with what to do."""
        core = await Core.open(
            CoreOptions(options.data, options.config, options.flags(), options.env, all_components())
        )
        try:
            brand, lookout = wire_folds(core)
            await core.start(ledger_head=head)
            instance = cls(core, brand, lookout, is_open=options.open)
            core.services.update(lookout=lookout, brand=brand)
            await instance._start()
        except BaseException:
            await core.close()
            raise
        return instance

    async def _start(self) -> None:
        if self.core.hosted is not None:
            await self._pushed.load()
        await self.chute.start()
        await self.forge.begin(self.chute)
        if self.open_principal is not None:
            self.core.services["open_principal"] = self.open_principal
            self.chute.endpoint.keys = OpenKeys(self.open_principal)
        self.gateway = Gateway(self, ControlApi(self, self._pushed, self._lease))
        self.listener = Listener(self.gateway)
        self._started_ns = perf_counter_ns()
        self._housekeeping = asyncio.create_task(self._keep_house())

    @property
    def connections(self) -> set[Any]:
        """The open connections of callers."""
        return self.listener.connections

    @property
    def in_flight(self) -> int:
        """Requests that run: calls, and requests to `/api` other than the control plane's."""
        return self.chute.in_flight + self.gateway.api_in_flight

    @property
    def was_called(self) -> bool:
        """Whether anything was asked since the start."""
        return self._last_request_ns() > self._started_ns

    def idle_ns(self) -> int:
        """Nanoseconds since the last request was over, or since the start; 0 while one runs."""
        if self.in_flight:
            return 0
        return perf_counter_ns() - max(self._last_request_ns(), self._started_ns)

    def _last_request_ns(self) -> int:
        return max(self.chute.last_request_ns, self.gateway.last_api_ns)

    async def listen(self) -> str:
        """Listen where the settings say; the address to show. Raises `CannotListen`."""
        server = self.core.settings.server
        if self.open_principal is not None and self.core.hosted is not None:
            raise CannotListen("--open turns key checks off, which no hosted instance may do")
        if server.uds:
            mode = SOCKET_MODE if self.core.hosted is None else HOSTED_SOCKET_MODE
            await self.listener.listen_unix(server.uds, mode)
            return f"unix:{server.uds}"
        if self.open_principal is not None and not is_loopback(server.host):
            raise CannotListen(f"--open turns key checks off, so it listens on loopback only, not on {server.host}")
        port = await self.listener.listen(server.host, server.port)
        host = f"[{server.host}]" if ":" in server.host else server.host
        return f"http://{host}:{port}"

    async def close(self) -> None:
        """Accept nothing more, let running calls finish, fold the journal, close everything."""
        cancelled = await self.listener.close(self.core.settings.server.shutdown_s)
        if cancelled:
            log.warning("%d requests were cut off at the deadline", cancelled)
        if self._housekeeping is not None:
            self._housekeeping.cancel()
        await self._lease.close()
        await self.chute.stop()
        await self.core.close()

    def _end_streams(self) -> None:
        """The lease on keys has run out."""
        if self.chute.streams:
            self.chute.endpoint.streams.running.end_all(lease_expired())

    async def _keep_house(self) -> None:
        while True:
            await self.core.clock.sleep(HOUSEKEEPING_S)
            try:
                await self.chute.flush_refused()
            except Exception:  # tried again in a minute; the reason is in the log
                log.exception("the minute's housekeeping failed")


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host in LOOPBACK_NAMES:
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


async def serve(options: ServeOptions) -> None:
    """Serve until SIGTERM or SIGINT. Raises `StockyardError`, `DataFolderError`, `CannotListen`."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return_large_blocks()
    instance = await Instance.open(options)
    hosted = instance.core.hosted
    slug = hosted.slug if hosted is not None else ""
    log_lines.set_up(instance.core.settings.log_format, logging.WARNING, fixed_tenant=slug)
    address_file = instance.core.data_dir / ADDRESS_NAME
    try:
        address = await instance.listen()
        address_file.write_text(f"{address}\n")
        collect_seldom()  # a fifth of the fold's time
        _say(greeting(instance, address))
        await stop.wait()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, lambda: None)
    finally:
        address_file.unlink(missing_ok=True)
        await instance.close()


def greeting(instance: Instance, address: str) -> str:
    """What is printed at the start; with the keys and a first call when they were just made."""
    lines = [f"Stockyard is at {address}"]
    keys = instance.core.first_keys
    instance.core.first_keys = None
    base = address if address.startswith("http") else "http://localhost"
    if instance.open_principal is not None:
        lines.append("Keys are not checked (--open): whoever reaches this address may do everything.")
    if keys is not None:
        lines += ["", "Keys, shown this once:", f"  proxy  {keys.proxy}"]
        if keys.admin:
            lines.append(f"  admin  {keys.admin}")
        uds = "" if address.startswith("http") else f"--unix-socket {address.removeprefix('unix:')} "
        lines += [
            "",
            "A first call, to the built-in mock model:",
            f"  curl {uds}{base}/v1/chat/completions -H 'Authorization: Bearer {keys.proxy}' \\",
            "    -H 'Content-Type: application/json' \\",
            '    -d \'{"model": "mock/gpt", "messages": [{"role": "user", "content": "Hello"}]}\'',
        ]
    return "\n".join(lines)


def _say(text: str) -> None:
    print(text, flush=True)


def run(options: ServeOptions) -> int:
    """`stockyard serve`: the exit code: 0 after a signal, 1 when it could not start, 3 when the database is missing."""
    import uvloop

    log_lines.set_up("auto", logging.WARNING)
    try:
        uvloop.run(serve(options))
    except (StockyardError, DataFolderError, CannotListen) as problem:
        print(f"stockyard: {problem}", file=sys.stderr)
        code: int = getattr(problem, "exit_code", 1)
        return code
    return 0
