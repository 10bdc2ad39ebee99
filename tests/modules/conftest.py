"""A real instance in the test's own loop, with a scriptable upstream behind it.

    async with running(modules={"retry": {"base_delay_s": 0.01}}) as s:
        s.mock.script(status(503), text("hi"))
        answer = await s.sdk().chat.completions.create(model=s.model, messages=...)

`modules` maps a name to its settings (the module is switched on), `True` or `False`. What is not named stays as it is by
default; `only` switches every other module off.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import httpx2
import openai
import uvloop

from instance.lookout import store
from instance.lookout.trace_record import whole
from instance.server import Instance, ServeOptions
from tests.mock_upstream import MockUpstream
from tests.plain_http import NO_TLS

UPSTREAM_KEY = "upstream-key-of-the-tests-1"


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], Any]]:
    """The loop that the server runs on."""
    return {"uvloop": uvloop.new_event_loop}


class Running:
    """A running instance: `url` for an SDK, `key` a proxy key, `mock` the upstream that serves `model`."""

    def __init__(self, instance: Instance, root: str, mock: MockUpstream) -> None:
        self.instance = instance
        self.root = root
        self.url = f"{root}/v1"
        made = instance.core.first_keys
        assert made is not None
        self.key = made.proxy
        self.admin_key = made.admin
        self.mock = mock
        self.model = "up/small"
        self._clients: list[Any] = []

    def sdk(self, key: str = "", **more: Any) -> openai.AsyncOpenAI:
        """The official client, which repeats nothing by itself."""
        options: dict[str, Any] = {"max_retries": 0, "timeout": 30.0, **more}
        options.setdefault("http_client", openai.DefaultAsyncHttpxClient(verify=NO_TLS))
        client = openai.AsyncOpenAI(base_url=self.url, api_key=key or self.key, **options)
        self._clients.append(client)
        return client

    def claude(self) -> anthropic.AsyncAnthropic:
        """Anthropic's official client, which repeats nothing by itself."""
        client = anthropic.AsyncAnthropic(
            base_url=self.root,
            api_key=self.key,
            max_retries=0,
            timeout=30.0,
            http_client=anthropic.DefaultAsyncHttpxClient(verify=NO_TLS),
        )
        self._clients.append(client)
        return client

    def http(self, key: str = "") -> httpx2.AsyncClient:
        """A plain client with the proxy's key (or another), for what an SDK hides."""
        client = httpx2.AsyncClient(
            base_url=self.root, headers={"authorization": f"Bearer {key or self.key}"}, timeout=30.0, verify=NO_TLS
        )
        self._clients.append(client)
        return client

    def body(self, content: str = "hi", **more: Any) -> dict[str, Any]:
        """A chat request for the upstream."""
        return {"model": self.model, "messages": [{"role": "user", "content": content}], **more}

    async def chat(
        self, content: str = "hi", *, headers: Mapping[str, str] | None = None, **more: Any
    ) -> httpx2.Response:
        """One chat call, whole, as plain HTTP."""
        return await self.http().post(
            "/v1/chat/completions", json=self.body(content, **more), headers=dict(headers or {})
        )

    async def configure(self, modules: Mapping[str, Any]) -> None:
        """Switch and configure modules while the instance runs."""
        await self.instance.chute.registry.change({name: _change(value) for name, value in modules.items()}, "key:1")

    def module(self, name: str) -> Any:
        """The running module."""
        return self.instance.chute.registry.slots[name].running

    async def settled(self) -> None:
        """Return when every call so far is in the database."""
        await self.instance.core.writer.drain()

    async def trace(self, trace_id: str) -> dict[str, Any]:
        """The trace as `GET /api/observe/traces/{id}` shows it to the admin."""
        await self.settled()
        found = await self.instance.core.database.read(lambda connection: store.one(connection, trace_id, ""))
        assert found is not None, f"there is no trace {trace_id}"
        return whole(*found, may_read_content=True)

    async def recent_traces(self, count: int) -> list[dict[str, Any]]:
        """The latest traces, the newest first."""
        await self.settled()
        ids = await self.instance.core.database.read(
            lambda connection: connection.execute(
                "SELECT id FROM traces ORDER BY created_at_ns DESC LIMIT ?", (count,)
            ).fetchall()
        )
        return [await self.trace(row[0]) for row in ids]

    async def trail(self, trace_id: str, module: str) -> list[tuple[str, dict[str, Any]]]:
        """(action, detail) of each decision of a module in a trace."""
        trace = await self.trace(trace_id)
        return [(entry["action"], entry["detail"]) for entry in trace["decisions"] if entry["module"] == module]

    async def close(self) -> None:
        for client in self._clients:
            await (client.aclose() if isinstance(client, httpx2.AsyncClient) else client.close())


def _change(value: Any) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"enabled": value}
    return {"enabled": True, "config": dict(value), "replace": True}


@asynccontextmanager
async def running(
    modules: Mapping[str, Any] | None = None,
    *,
    only: bool = False,
    config: str = "",
    providers: Callable[[MockUpstream], str] | None = None,
) -> AsyncIterator[Running]:
    """An instance on a free port, its data in a fresh folder. `config` is added to its `stockyard.toml`, and what `providers`
    makes of the mock that listens."""
    async with MockUpstream() as mock:
        with tempfile.TemporaryDirectory(prefix="sy") as folder:
            data = Path(folder)
            file = data / "test.toml"
            provider = (
                f'[providers.up]\nbase_url = "{mock.url}"\napi_key = "{UPSTREAM_KEY}"\nmodels = ["small", "large"]\n'
            )
            more = providers(mock) if providers is not None else ""
            file.write_text(f"{config}\n{provider}\n{more}")
            options = ServeOptions(data / "data", config=file, port=0, env={})
            instance = await Instance.open(options)
            try:
                root = await instance.listen()
                running = Running(instance, root, mock)
                changes = {slot.name: False for slot in instance.chute.registry.slots.values()} if only else {}
                if modules or changes:
                    await running.configure({**changes, **(modules or {})})
                try:
                    yield running
                finally:
                    await running.close()
            finally:
                await instance.close()
