"""An instance that is stopped and started again over the same data, for what has to survive that."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from instance.server import Instance, ServeOptions
from tests.mock_upstream import MockUpstream
from tests.plain_http import NO_TLS


class Restarting:
    """`async with starts.started() as http` is one life of the instance; `http` carries the proxy's key."""

    def __init__(self, options: ServeOptions) -> None:
        self._options = options
        self._key = ""

    @asynccontextmanager
    async def started(self, modules: Mapping[str, Any] | None = None) -> AsyncIterator[httpx2.AsyncClient]:
        """One start to its stop; `modules` (name: settings) are switched on and stay so."""
        instance = await Instance.open(self._options)
        try:
            root = await instance.listen()
            if instance.core.first_keys is not None:
                self._key = instance.core.first_keys.proxy
            changes = {name: {"enabled": True, "config": dict(config)} for name, config in (modules or {}).items()}
            if changes:
                await instance.chute.registry.change(changes, "key:1")
            headers = {"authorization": f"Bearer {self._key}"}
            async with httpx2.AsyncClient(base_url=root, headers=headers, timeout=30.0, verify=NO_TLS) as http:
                yield http
        finally:
            await instance.close()


@asynccontextmanager
async def restarting() -> AsyncIterator[Restarting]:
    """An instance with the provider `up`, not yet started."""
    async with MockUpstream() as mock:
        with tempfile.TemporaryDirectory(prefix="sy") as folder:
            file = Path(folder) / "test.toml"
            file.write_text(f'[providers.up]\nbase_url = "{mock.url}"\napi_key = "key-of-the-upstream"\n')
            yield Restarting(ServeOptions(Path(folder) / "data", config=file, port=0, env={}))
