"""Stored responses: read, listed, deleted and continued by their own team only; kept over a restart; expired; redacted."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest

from instance.chute.dialects.openai_responses import store as store_module
from instance.chute.dialects.openai_responses.reasoning import sealed
from instance.chute.dialects.openai_responses.store import ResponseStore
from instance.chute.dialects.openai_responses.stored_form import redacted
from instance.core.ids import new_id
from instance.server import Instance, ServeOptions
from tests.mock_replies import text
from tests.mock_upstream import MockUpstream
from tests.modules.conftest import Running, pytest_asyncio_loop_factories, running

__all__ = ["pytest_asyncio_loop_factories"]

RETENTION_NS = 30 * 86_400 * 10**9
CHAT = "up/small"
NATIVE = "openai/gpt"


def native(mock: Any) -> str:
    return f'[providers.openai]\nbase_url = "{mock.url}"\napi_key = "native-key-1"\nmodels = ["gpt"]\n'


def instance(modules: Any = None, **more: Any) -> Any:
    return running(modules, providers=native, **more)


async def key_of(s: Running, team: str) -> str:
    """A new proxy key of a team."""
    async with httpx2.AsyncClient(base_url=s.root, headers={"authorization": f"Bearer {s.admin_key}"}) as client:
        made = await client.post(
            "/api/auth/me/keys", json={"name": f"key {new_id(team)}", "kind": "proxy", "team_id": team or None}
        )
    assert made.status_code == 201, made.text
    key: str = made.json()["key"]
    return key


async def rows(s: Running) -> list[tuple[Any, ...]]:
    await store(s).flush()
    query = "SELECT id, owner, provider, body FROM responses"
    found: list[tuple[Any, ...]] = await s.instance.core.database.read(lambda c: c.execute(query).fetchall())
    return found


def store(s: Running) -> ResponseStore:
    found: ResponseStore = s.instance.core.services["responses"]
    return found


@pytest.mark.parametrize("model", [CHAT, NATIVE])
async def test_a_response_is_read_listed_and_deleted(model: str) -> None:
    async with instance() as s:
        sdk = s.sdk()
        made = await sdk.responses.create(model=model, input="hi there", metadata={"a": "b"})
        again = await sdk.responses.retrieve(made.id)
        assert (again.id, again.output_text, again.status) == (made.id, "echo: hi there", "completed")
        listed = await sdk.responses.input_items.list(made.id)
        (item,) = listed.data
        assert item.type == "message"
        assert "hi there" in str(item)
        await sdk.responses.delete(made.id)
        with pytest.raises(openai.NotFoundError):
            await sdk.responses.retrieve(made.id)
        with pytest.raises(openai.BadRequestError):
            await sdk.responses.create(model=model, input="more", previous_response_id=made.id)
        if model == NATIVE:
            assert [call.method for call in s.mock.calls][:4] == ["POST", "GET", "GET", "DELETE"]


async def test_a_streamed_response_is_stored_as_it_was_sent() -> None:
    async with instance() as s:
        async with s.sdk().responses.stream(model=CHAT, input="hi") as stream:
            final = await stream.get_final_response()
        again = await s.sdk().responses.retrieve(final.id)
        assert again.model_dump(exclude={"output"}) == final.model_dump(exclude={"output"})
        assert again.output_text == final.output_text


async def test_input_items_come_in_pages() -> None:
    async with instance() as s:
        given: Any = [{"role": "user", "content": str(number)} for number in range(5)]
        made = await s.sdk().responses.create(model=CHAT, input=given)
        found = [item async for item in s.sdk().responses.input_items.list(made.id, limit=2, order="asc")]
        assert [item.content[0].text for item in found] == ["0", "1", "2", "3", "4"]
        newest = await s.sdk().responses.input_items.list(made.id, limit=1)
        assert newest.data[0].content[0].text == "4"
        for query in ("limit=0", "limit=101", "limit=x", "order=up", "after=in_none"):
            answer = await s.http().get(f"/v1/responses/{made.id}/input_items?{query}")
            assert answer.status_code == 400
            assert answer.json()["error"]["param"] == query.partition("=")[0]


@pytest.mark.parametrize("model", [CHAT, NATIVE])
async def test_another_teams_key_finds_nothing_and_the_teams_other_key_everything(model: str) -> None:
    async with instance() as s:
        red, red_too, blue = [await key_of(s, team) for team in ("red", "red", "blue")]
        made = await s.sdk(red).responses.create(model=model, input="hi")
        assert (await s.sdk(red_too).responses.retrieve(made.id)).id == made.id
        calls = len(s.mock.calls)
        for key in (blue, s.key):
            http = s.http(key)
            for method, rest in (("GET", ""), ("DELETE", ""), ("POST", "/cancel"), ("GET", "/input_items")):
                answer = await http.request(method, f"/v1/responses/{made.id}{rest}")
                assert answer.status_code == 404
            with pytest.raises(openai.BadRequestError) as caught:
                await s.sdk(key).responses.create(model=model, input="go on", previous_response_id=made.id)
            assert caught.value.code == "previous_response_not_found"
        assert len(s.mock.calls) == calls
        goes_on = await s.sdk(red_too).responses.create(model=model, input="go on", previous_response_id=made.id)
        assert goes_on.output_text == "echo: go on"


async def test_keys_without_a_team_see_their_own_only() -> None:
    async with instance() as s:
        other = await key_of(s, "")
        made = await s.sdk().responses.create(model=CHAT, input="hi")
        assert (await s.http(other).get(f"/v1/responses/{made.id}")).status_code == 404
        assert (await s.http().get(f"/v1/responses/{made.id}")).status_code == 200


@pytest.mark.parametrize("model", [CHAT, NATIVE])
@pytest.mark.parametrize("stream", [False, True])
async def test_store_false_keeps_nothing(model: str, stream: bool) -> None:
    async with instance() as s:
        answer = await s.http().post(
            "/v1/responses", json={"model": model, "input": "hi", "store": False, "stream": stream}
        )
        assert answer.status_code == 200
        assert await rows(s) == []


async def test_an_operator_may_keep_nothing() -> None:
    async with instance(config="[responses]\nretention_days = 0\n") as s:
        made = await s.sdk().responses.create(model=CHAT, input="hi")
        assert await rows(s) == []
        with pytest.raises(openai.BadRequestError):
            await s.sdk().responses.create(model=CHAT, input="go on", previous_response_id=made.id)


def test_thoughts_that_hold_a_secret_are_not_stored_in_their_opaque_form_either() -> None:
    details = [{"type": "reasoning.text", "text": "the key is hunter2", "signature": "s"}]
    encrypted = sealed(details)
    clean = redacted({"encrypted_content": encrypted}, lambda text: text.replace("nothing", "*"))
    assert clean["encrypted_content"] == encrypted
    assert (
        redacted({"encrypted_content": encrypted}, lambda text: text.replace("hunter2", "*"))["encrypted_content"]
        is None
    )
    assert redacted({"encrypted_content": "blob"}, lambda text: "*")["encrypted_content"] == "blob"


async def test_a_response_that_was_answered_at_once_cannot_be_cancelled() -> None:
    async with instance() as s:
        made = await s.sdk().responses.create(model=CHAT, input="hi")
        with pytest.raises(openai.BadRequestError):
            await s.sdk().responses.cancel(made.id)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/responses/resp_none", 404),
        ("DELETE", "/v1/responses/resp_none", 404),
        ("POST", "/v1/responses/resp_none", 405),
        ("GET", "/v1/responses/resp_none/cancel", 405),
        ("GET", "/v1/responses/resp_none/else", 404),
        ("POST", "/v1/responses/input_tokens", 501),
        ("GET", "/v1/responses", 405),
    ],
)
async def test_what_is_not_there_or_not_so(method: str, path: str, status: int) -> None:
    async with instance() as s:
        answer = await s.http().request(method, path)
        assert answer.status_code == status
        assert answer.json()["error"]["code"]


async def test_on_disk_every_text_is_sealed_and_as_secretscan_leaves_it() -> None:
    secret = "AKIA" + "QZ7X3M5LN2WVB4TD"
    async with instance() as s:  # secretscan flags by default: what is sent stays, what is stored is redacted
        s.mock.script(text(f"your key is {secret}"))
        made = await s.sdk().responses.create(model=CHAT, input=f"my key is {secret}")
        assert secret in made.output_text
        ((_, _, _, body),) = await rows(s)
        assert b"my key is" not in body
        again = await s.http().get(f"/v1/responses/{made.id}")
        items = await s.http().get(f"/v1/responses/{made.id}/input_items")
        assert secret not in again.text + items.text
        assert "[SECRET:" in again.text
        assert "[SECRET:" in items.text
        await s.sdk().responses.create(model=CHAT, input="go on", previous_response_id=made.id)
        assert secret not in s.mock.calls[-1].body.decode()


async def test_what_is_over_its_time_is_gone_and_a_conversation_lives_as_long_as_its_newest_response(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with instance() as s:
        sdk = s.sdk()
        clock = s.instance.core.clock
        began = clock.wall_ns()
        first = await sdk.responses.create(model=CHAT, input="one")
        alone = await sdk.responses.create(model=CHAT, input="alone")
        await store(s).flush()
        monkeypatch.setattr(type(clock), "wall_ns", lambda _: began + RETENTION_NS * 9 // 10)
        second = await sdk.responses.create(model=CHAT, input="two", previous_response_id=first.id)
        await store(s).flush()
        monkeypatch.setattr(type(clock), "wall_ns", lambda _: began + RETENTION_NS + 10**12)
        assert (await s.http().get(f"/v1/responses/{alone.id}")).status_code == 404
        third = await sdk.responses.create(model=CHAT, input="three", previous_response_id=second.id)
        assert third.output_text == "echo: three"
        assert "echo: one" in s.mock.calls[-1].body.decode()
        await store(s).expire()
        assert {row[0] for row in await rows(s)} == {first.id, second.id, third.id}


async def test_a_conversation_whose_middle_was_deleted_cannot_be_continued() -> None:
    async with instance() as s:
        sdk = s.sdk()
        first = await sdk.responses.create(model=CHAT, input="one")
        second = await sdk.responses.create(model=CHAT, input="two", previous_response_id=first.id)
        await sdk.responses.delete(first.id)
        with pytest.raises(openai.BadRequestError) as caught:
            await sdk.responses.create(model=CHAT, input="three", previous_response_id=second.id)
        assert caught.value.code == "previous_response_not_found"


async def test_there_is_room_for_so_many_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "RESPONSES_MAX", 3)
    async with instance() as s:
        made = []
        for number in range(5):
            made.append((await s.sdk().responses.create(model=CHAT, input=str(number))).id)
            await store(s).flush()
        assert {row[0] for row in await rows(s)} == set(made[2:])


async def test_when_too_many_wait_to_be_written_the_newest_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "WAITING_MAX", 0)
    async with instance() as s:
        answer = await s.sdk().responses.create(model=CHAT, input="hi")
        assert answer.output_text == "echo: hi"
        assert await rows(s) == []


@asynccontextmanager
async def started(options: ServeOptions) -> AsyncIterator[tuple[Instance, str]]:
    made = await Instance.open(options)
    try:
        yield made, await made.listen()
    finally:
        await made.close()


async def test_a_restart_keeps_what_was_stored() -> None:
    async with MockUpstream() as mock:
        with tempfile.TemporaryDirectory(prefix="sy") as folder:
            file = Path(folder) / "test.toml"
            up = f'[providers.up]\nbase_url = "{mock.url}"\napi_key = "upstream-key-1"\nmodels = ["small"]\n'
            file.write_text(up + native(mock))
            options = ServeOptions(Path(folder) / "data", config=file, port=0, env={})
            key = ""
            ids: dict[str, str] = {}
            for turn in range(2):
                async with started(options) as (made, root):
                    first = made.core.first_keys
                    key = key or (first.proxy if first is not None else "")
                    async with openai.AsyncOpenAI(base_url=f"{root}/v1", api_key=key, max_retries=0) as sdk:
                        for model in (CHAT, NATIVE):
                            previous: Any = {"previous_response_id": ids[model]} if turn else {}
                            answer = await sdk.responses.create(model=model, input=f"turn {turn}", **previous)
                            if turn:
                                assert (await sdk.responses.retrieve(ids[model])).output_text == "echo: turn 0"
                            ids[model] = answer.id
            sent = mock.calls[4].json() if "messages" in mock.calls[4].body.decode() else mock.calls[2].json()
            assert [message["content"] for message in sent["messages"]] == ["turn 0", "echo: turn 0", "turn 1"]
