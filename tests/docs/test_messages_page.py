import asyncio
from typing import Any

from tests.docs.test_examples import example
from tests.modules.conftest import running


async def test_the_example_of_the_page_runs() -> None:
    code = example("messages.md", "messages.py")
    async with running() as s:
        code = code.replace("http://localhost:4200", s.root).replace("sk-sy-…", s.key)
        found: dict[str, Any] = {}
        await asyncio.to_thread(exec, code, found)
        assert found["answer"].content[0].text
        assert "".join(found["pieces"]) == found["answer"].content[0].text
        assert found["counted"].input_tokens > 0
        assert found["counted"].stockyard == {"exact": False}
