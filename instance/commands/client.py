"""The API of an instance as commands use it: of the one that runs, or of the data folder opened in this process."""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx2

from instance.commands.terminal import Failed
from instance.core.core import DATABASE_NAME, CoreOptions
from instance.core.data_folder import LOCK_NAME, DataFolderError
from instance.core.errors import StockyardError

TIMEOUT_S = 60.0


def data_folder(data: Path | None) -> Path:
    """The data folder as `serve` finds it."""
    return CoreOptions(data).folder()


def is_running(folder: Path) -> bool:
    """Whether a process holds the data folder."""
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


class Api:
    """Calls one instance. With `url`, or while the folder's instance runs, over the network with a key; else in process."""

    def __init__(self, data: Path | None, url: str | None, key: str | None) -> None:
        self._folder = data_folder(data)
        self._key = key
        self._address = url or (_address_of(self._folder) if is_running(self._folder) else None)
        if self._address is not None and not key:
            raise Failed("the instance is running: give its admin key with --key or STOCKYARD_ADMIN_KEY")
        if self._address is None and not (self._folder / DATABASE_NAME).exists():
            raise Failed(f"there is no instance in {self._folder}; `stockyard serve` makes one")

    def call(self, method: str, path: str, *, body: Any = None, query: Mapping[str, Any] | None = None) -> Any:
        """The answer's JSON; raises `Failed` with the error's message."""
        return asyncio.run(self._call(method, path, body, {k: v for k, v in (query or {}).items() if v is not None}))

    async def _call(self, method: str, path: str, body: Any, query: Mapping[str, Any]) -> Any:
        if self._address is None:
            return await self._in_process(method, path, body, query)
        headers = {"authorization": f"Bearer {self._key}"}
        transport, base = None, self._address
        if self._address.startswith("unix:"):
            transport, base = httpx2.AsyncHTTPTransport(uds=self._address.removeprefix("unix:")), "http://localhost"
        async with httpx2.AsyncClient(
            base_url=base, headers=headers, transport=transport, timeout=TIMEOUT_S, trust_env=False
        ) as client:
            return await _asked(client, method, path, body, query)

    async def _in_process(self, method: str, path: str, body: Any, query: Mapping[str, Any]) -> Any:
        from instance.server import Instance, ServeOptions

        logging.getLogger("stockyard").setLevel(logging.ERROR)
        try:
            instance = await Instance.open(ServeOptions(self._folder, open=True))
        except (DataFolderError, StockyardError) as problem:
            raise Failed(str(problem)) from None
        try:
            transport = httpx2.ASGITransport(app=instance.gateway)
            async with httpx2.AsyncClient(
                transport=transport, base_url="http://localhost", timeout=TIMEOUT_S
            ) as client:
                return await _asked(client, method, path, body, query)
        finally:
            await instance.close()


async def _asked(client: httpx2.AsyncClient, method: str, path: str, body: Any, query: Mapping[str, Any]) -> Any:
    try:
        answer = await client.request(method, path, json=body, params=query)
    except httpx2.TransportError as problem:
        raise Failed(f"the instance cannot be reached: {problem or type(problem).__name__}") from None
    try:
        content = answer.json()
    except ValueError:
        raise Failed(f"{path} answered {answer.status_code} without JSON") from None
    if answer.status_code >= 400:
        error = content.get("error", {})
        raise Failed(f"{error.get('message', 'refused')} ({error.get('code', answer.status_code)})")
    return content


def _address_of(folder: Path) -> str:
    from instance.server import ADDRESS_NAME

    try:
        return (folder / ADDRESS_NAME).read_text().strip()
    except OSError:
        raise Failed("the data folder is in use, but not by a server that listens; try again, or give --url") from None
