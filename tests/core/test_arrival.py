"""What a database is changed in when it comes from another control plane."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from instance.core import arrival
from tests.opened import INSTANCE_KEY, SECRET_KEY, opened

STATE: dict[str, Any] = {"keys": [], "quotas": {}, "plan": "free", "settings": {}}


async def push(data: Path, number: int) -> tuple[int, list[Any]]:
    """Start a hosted instance on it, push a state of this generation; the answer, and the ledger's `restore` entries."""
    async with opened(data, hosted=True) as one:
        async with one.client(INSTANCE_KEY) as client:
            state = STATE | {"generation": {"incarnation": 1, "number": number}}
            answer = await client.put("/api/instance/state", json=state)
        rows = await one.core.database.read(
            lambda connection: connection.execute("SELECT detail FROM ledger WHERE event_type = 'restore'").fetchall()
        )
        return answer.status_code, [row[0] for row in rows]


async def test_a_database_from_another_plane_begins_anew_under_the_next(tmp_path: Path) -> None:
    """Both count epochs and generations from 1, and mean different ones."""
    assert await push(tmp_path, 9) == (200, [])
    with arrival.opened(tmp_path / "stockyard.db") as connection:
        arrival.require_key(connection, bytes.fromhex(SECRET_KEY))
        arrival.become_hosted(connection, "acme", {})
    status, restores = await push(tmp_path, 1)
    assert status == 200
    assert len(restores) == 1
    assert '"from":"acme/1"' in restores[0].replace(" ", "")


async def test_another_secret_key_is_told_apart(tmp_path: Path) -> None:
    await push(tmp_path, 1)
    with arrival.opened(tmp_path / "stockyard.db") as connection, pytest.raises(arrival.Unfit, match="not sealed"):
        arrival.require_key(connection, b"x" * 32)
