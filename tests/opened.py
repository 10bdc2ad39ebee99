"""A real instance opened in the test's own loop, without a socket: its gateway is called directly."""

from __future__ import annotations

import json
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from time import time_ns
from typing import Any

import httpx2
import orjson

from instance.core.ids import new_id
from instance.lookout.call_columns import CALL_COLUMNS, CALL_KIND
from instance.server import Instance, ServeOptions

INSTANCE_KEY = "sy_inst_" + "k" * 43
SECRET_KEY = "5" * 64

DEFAULT_CALL: dict[str, Any] = {
    "service": "proxy",
    "operation": "chat.completion",
    "source": "live",
    "dialect_in": "openai.chat",
    "dialect_out": "openai",
    "provider": "mock",
    "model": "gpt",
    "model_requested": "mock/gpt",
    "status": "ok",
    "http_status": 200,
    "stream": False,
    "duration_us": 2500,
    "ttft_us": None,
    "upstream_us": 2000,
    "overhead_us": 500,
    "tokens_in": 10,
    "tokens_out": 20,
    "tokens_cached": 0,
    "tokens_reasoning": 0,
    "usage_source": "reported",
    "cost_nano": 1000,
    "saved_nano": 0,
    "cache": "off",
    "attempts_count": 1,
    "project": "default",
    "key_id": "7",
    "bytes_out": 100,
    "modules_active": 3,
    "decisions_count": 0,
    "safety_count": 0,
}


class Opened:
    """An open instance with its first keys."""

    def __init__(self, instance: Instance) -> None:
        self.instance = instance
        self.core = instance.core
        keys = instance.core.first_keys
        self.admin_key = keys.admin if keys else ""
        self.proxy_key = keys.proxy if keys else ""

    def client(self, key: str | None = None, **headers: str) -> httpx2.AsyncClient:
        """A client of the instance with this key: the admin's unless said, none for an empty one."""
        key = self.admin_key if key is None else key
        if key:
            headers["authorization"] = f"Bearer {key}"
        transport = httpx2.ASGITransport(app=self.instance.gateway)
        return httpx2.AsyncClient(transport=transport, base_url="http://instance", headers=headers)

    def record(
        self, *, detail: Mapping[str, Any] | None = None, texts: tuple[bytes, bytes] = (b"", b""), **call: Any
    ) -> str:
        """Append the record of a call to the journal; its trace id."""
        trace_id = call.setdefault("id", new_id("tr_"))
        call.setdefault("created_at_ns", time_ns())
        values = dict.fromkeys(CALL_COLUMNS, "") | DEFAULT_CALL | call
        proof = {"status": values["status"], "tokens_in": values["tokens_in"], "tokens_out": values["tokens_out"]}
        self.core.journal.append(
            CALL_KIND,
            orjson.dumps([values[name] for name in CALL_COLUMNS]),
            orjson.dumps(detail or {"decisions": [], "attempts": [], "costs": []}),
            orjson.dumps(proof, option=orjson.OPT_SORT_KEYS),
            *texts,
        )
        return str(trace_id)

    async def folded(self) -> None:
        """Wait until everything recorded is in the database."""
        await self.core.writer.drain()


def instance_file(folder: Path, epoch: int = 1) -> Path:
    """An `instance.json` of a hosted instance."""
    path = folder / "instance.json"
    content = {
        "epoch": epoch,
        "previous_head": None,
        "instance_key": INSTANCE_KEY,
        "secret_key": SECRET_KEY,
        "slug": "acme",
        "control_plane_url": "http://127.0.0.1:4300",
    }
    path.write_text(json.dumps(content))
    return path


@asynccontextmanager
async def opened(
    data: Path | None = None, *, hosted: bool = False, is_open: bool = False, config: str = ""
) -> AsyncIterator[Opened]:
    """Open an instance on `data`, else on a fresh folder; `config` is the text of its stockyard.toml."""
    with tempfile.TemporaryDirectory(prefix="sy") as scratch:
        folder = data or Path(scratch) / "data"
        folder.mkdir(exist_ok=True, parents=True)
        if config:
            (folder / "stockyard.toml").write_text(config)
        env = {"STOCKYARD_INSTANCE_FILE": str(instance_file(Path(scratch)))} if hosted else {}
        instance = await Instance.open(ServeOptions(folder, open=is_open, env=env))
        try:
            yield Opened(instance)
        finally:
            await instance.close()
