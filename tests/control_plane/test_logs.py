"""A tenant's log through the API."""

from __future__ import annotations

from collections.abc import AsyncIterator

from control_plane.api import logs
from instance.core.keys import make_key
from tests.control_plane.conftest import Api, error_code

KEY = make_key("proxy")


class Engine:
    """A runtime of which only the logs are asked."""

    async def logs(self, name: str, *, lines: int, follow: bool) -> AsyncIterator[str]:
        for line in [f"{name} one", f"called with {KEY}"][-lines:]:
            yield line


async def test_an_owner_reads_the_log_of_their_instance_without_any_key_in_it(api: Api) -> None:
    owner = (await api.sign_up("acme"))["account_key"]
    api.plane.runtime = Engine()  # type: ignore[assignment]
    answer = (await api("GET", "/api/tenants/acme/logs", key=owner)).json()
    assert answer == {"lines": ["acme one", "called with sk-sy-…"], "count": 2}
    last = (await api("GET", "/api/tenants/acme/logs?lines=1", key=owner)).json()
    assert last["count"] == 1


async def test_a_followed_log_is_a_stream_of_events(api: Api) -> None:
    await api.sign_up("acme")
    api.plane.runtime = Engine()  # type: ignore[assignment]
    answer = await api("GET", "/api/tenants/acme/logs?follow=true")
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == ': open\n\ndata: "acme one"\n\ndata: "called with sk-sy-…"\n\n'


async def test_only_so_many_logs_are_followed_at_once(api: Api) -> None:
    await api.sign_up("acme")
    api.plane.runtime = Engine()  # type: ignore[assignment]
    followers: set[object] = set()
    stream = logs.followed(api.plane, api.plane.runtime, "acme", 5, followers)  # type: ignore[arg-type]
    await anext(stream)
    assert len(followers) == 1
    await stream.aclose()  # type: ignore[attr-defined]
    assert followers == set()


async def test_a_plane_that_runs_no_instances_says_so(api: Api) -> None:
    await api.sign_up("acme")
    assert error_code(await api("GET", "/api/tenants/acme/logs")) == "conflict"


async def test_more_lines_than_are_kept_are_refused(api: Api) -> None:
    await api.sign_up("acme")
    assert error_code(await api("GET", "/api/tenants/acme/logs?lines=100000")) == "invalid_value"
