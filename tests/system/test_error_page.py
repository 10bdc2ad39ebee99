"""Where an error's `doc` leads."""

from instance.core.errors import REGISTRY
from tests.modules.conftest import running


async def test_the_link_in_an_error_leads_to_its_line_without_a_key() -> None:
    async with running() as s:
        http = s.http("sk-sy-not-a-key-of-this-instance")
        refused = await http.post("/v1/chat/completions", json=s.body())
        path, _, anchor = refused.json()["error"]["doc"].partition("#")
        page = await http.get(path)
        assert page.status_code == 200
        assert page.headers["content-type"].startswith("text/html")
        assert f'id="{anchor}"' in page.text
        assert all(f'id="{code}"' in page.text for code in REGISTRY)
        assert (await http.post(path)).status_code == 405
