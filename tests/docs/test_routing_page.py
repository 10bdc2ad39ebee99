"""What the page on routing shows can be used as it stands."""

from collections.abc import Callable
from typing import Any

import uvloop

from tests.docs.pages import ROOT, blocks
from tests.modules.conftest import running


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], Any]]:
    return {"uvloop": uvloop.new_event_loop}


async def test_the_configuration_of_the_page_is_taken_as_it_is_printed() -> None:
    (block,) = blocks(ROOT / "docs" / "routing.md", "file: stockyard.toml")
    async with running(config=block.body) as s:
        http = s.http(s.admin_key)
        routes = (await http.get("/api/proxy/routes")).json()["routes"]
        assert [(row["pattern"], row["source"]) for row in routes] == [("chat-large", "file"), ("gpt-*", "file")]
        aliases = (await http.get("/api/proxy/aliases")).json()["aliases"]
        assert {row["alias"] for row in aliases} == {"fast", "my-*", "old"}
        for name in ("weightedrouter", "stickysession", "fallbackrouter"):
            assert s.module(name) is not None
