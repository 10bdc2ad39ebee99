"""A control plane's API in the test's own event loop, on a real database in a folder of its own; nothing is reconciled."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from control_plane.api.frame import Frame
from control_plane.api.plane import Plane
from control_plane.app import api_app
from control_plane.config import Config, load_config
from control_plane.running import running_plane
from control_plane.store.database import Database

OPERATOR_KEY = "sy_op_for-these-tests-only"


@dataclass(frozen=True)
class Api:
    """The API as the operator calls it; `key` calls as somebody else, "" as nobody."""

    client: httpx2.AsyncClient
    plane: Plane

    async def __call__(
        self, method: str, path: str, body: Any = None, *, key: str = OPERATOR_KEY, **headers: str
    ) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        if key:
            named["Authorization"] = f"Bearer {key}"
        return await self.client.request(method, path, json=body, headers=named)

    async def sign_up(self, slug: str) -> dict[str, Any]:
        """A new account with a tenant of this name; the whole answer."""
        body = {"email": f"{slug}@{slug}.example", "tenant_slug": slug}
        answer = await self("POST", "/api/signup", body, key="")
        assert answer.status_code == 201, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Defaults, in the test's folder."""
    return load_config({"data": tmp_path / "cloud"}, {})


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database file with the schema and no rows: to be copied, which is faster than to migrate."""
    path = tmp_path_factory.mktemp("migrated") / "control.db"

    async def make() -> None:
        database = Database(f"sqlite:///{path}")
        await database.open()
        await database.close()

    asyncio.run(make())
    return path


@pytest.fixture
async def api(config: Config, migrated: Path) -> AsyncIterator[Api]:
    """The API, answering."""
    env = {"STOCKYARD_CLOUD_OPERATOR_KEY": OPERATOR_KEY, "STOCKYARD_CLOUD_MASTER_KEY": "ab" * 32}
    config.prepare()
    shutil.copy(migrated, config.database_file)
    async with running_plane(config, reconcile=False, env=env) as plane:
        transport = httpx2.ASGITransport(Frame(api_app(plane)), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://plane") as client:
            yield Api(client, plane)


def error_code(answer: httpx2.Response) -> str:
    """The code of a refusal."""
    code: str = answer.json()["error"]["code"]
    return code
