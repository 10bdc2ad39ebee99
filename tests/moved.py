"""A self-hosted instance with a past, exported to a file: what a customer brings."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from instance.commands import moving
from instance.core.core import CoreOptions
from instance.core.portable import SUFFIX
from tests.opened import opened

PASSPHRASE = "correct horse battery"
TOML = """
max_database_bytes = 900000000
client_ip = "truncated"
[server]
port = 4999
[limits]
messages = 77
[providers.own]
base_url = "http://127.0.0.1:9/v1"
api_key = "own-provider-key-1"
[aliases."big-1.5"]
target = "mock/gpt"
"""


@dataclass(frozen=True)
class Moved:
    """The file, and the keys that work on it wherever it goes."""

    file: Path
    data: Path
    api_key: str
    admin_key: str
    left_behind: list[str]


async def moved(folder: Path) -> Moved:
    """An instance in `folder/data` that recorded two calls, has a stored provider key and budgets, and its export."""
    data, file = folder / "data", folder / f"home{SUFFIX}"
    async with opened(data, config=TOML) as one:
        one.record(model="gpt", cost_nano=1_500_000, key_id="2")
        one.record(status="error", error_code="provider_error", model="broken", key_id="2")
        await one.folded()
        async with one.client() as client:
            stored = {
                "name": "sealed",
                "type": "openai",
                "base_url": "http://127.0.0.1:9/v1",
                "api_key": "sealed-key-12",
            }
            assert (await client.post("/api/proxy/providers", json=stored)).status_code == 201
            module = {"enabled": True, "config": {"ttl_s": 77}}
            assert (await client.put("/api/proxy/modules/cachelayer", json=module)).status_code == 200
            budget = {"name": "all of it", "limit_usd": 5, "period": "month"}
            assert (await client.post("/api/billing/budgets", json=budget)).status_code == 201
            of_a_key = budget | {"name": "of a key", "scope": {"key": "2"}}
            assert (await client.post("/api/billing/budgets", json=of_a_key)).status_code == 201
            revoked = (await client.post("/api/auth/me/keys", json={"name": "revoked"})).json()
            assert (await client.delete(f"/api/keys/{revoked['id']}")).status_code < 300
        made = moving.export(CoreOptions(data, env={}), file, PASSPHRASE)
        return Moved(file, data, one.proxy_key, one.admin_key, made.left_behind)


def form(fields: dict[str, str], content: bytes, boundary: str = "cut") -> tuple[bytes, dict[str, str]]:
    """A body of `multipart/form-data` with the file last, and its headers."""
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n' for k, v in fields.items()]
    parts.append(f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n')
    body = "".join(parts).encode() + content + f"\r\n--{boundary}--\r\n".encode()
    return body, {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def fields(slug: str = "movers", **more: Any) -> dict[str, str]:
    """The fields of a form that opens a tenant."""
    return {"slug": slug, "passphrase": PASSPHRASE} | more
