"""Keys of clients, for tests of the walls between them."""

from __future__ import annotations

from typing import Any

from tests.modules.conftest import Running

HEADER = "x-stockyard-client"


async def key_of(s: Running, client: str | None = None, *, kind: str = "proxy", **more: Any) -> str:
    """A new key of a client, of many (`multi_client=True`), or of none."""
    wanted = {"name": f"{client or 'front'}-{kind}", "kind": kind, "client": client, **more}
    answer = await s.http(s.admin_key).post("/api/auth/me/keys", json=wanted)
    assert answer.status_code == 201, answer.text
    key: str = answer.json()["key"]
    return key


async def said(s: Running, key: str, content: str = "hi", *, stream: bool = False, **more: Any) -> str:
    """What the model answers a client, by the official SDK."""
    made = await s.sdk(key).chat.completions.create(**{**s.body(content), **more}, stream=stream)
    if not stream:
        return made.choices[0].message.content or ""
    return "".join([chunk.choices[0].delta.content or "" async for chunk in made if chunk.choices])
