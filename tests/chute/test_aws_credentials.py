"""Credentials of a role, asked of stand-ins for the metadata endpoints on the loopback."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import orjson
import pytest

from instance.chute.aws_credentials import RoleCredentials
from instance.core.clock import Clock
from instance.core.errors import StockyardError
from tests.chute.loopback import Asked, answering

NOW_S = 1_800_000_000


class StoppedClock(Clock):
    def __init__(self) -> None:
        self.now_s = float(NOW_S)

    def wall_ns(self) -> int:
        return round(self.now_s * 1e9)


def keys(number: int = 1, life_s: float = 3600) -> bytes:
    expires = datetime.fromtimestamp(NOW_S + life_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    found = {"AccessKeyId": f"ASIA{number}", "SecretAccessKey": "s", "Token": "t", "Expiration": expires}
    return orjson.dumps(found)


@asynccontextmanager
async def machine(give: Callable[[int], tuple[int, bytes]]) -> AsyncIterator[tuple[str, list[Asked]]]:
    """A machine's metadata, version 2; `give(n)` is the n-th answer with credentials."""
    given = 0

    def answer(asked: Asked) -> tuple[int, bytes]:
        nonlocal given
        if asked.path == "/latest/api/token":
            return (200, b"token-1") if asked.method == "PUT" else (405, b"")
        if asked.headers.get("x-aws-ec2-metadata-token") != "token-1":
            return 401, b""
        if asked.path.endswith("/security-credentials/"):
            return 200, b"my-role\n"
        assert asked.path.endswith("/security-credentials/my-role")
        given += 1
        return give(given)

    async with answering(answer) as (url, asked):
        yield url, asked


async def test_a_machines_role_is_asked_with_a_token_and_kept() -> None:
    async with machine(lambda n: (200, keys(n))) as (url, asked):
        role = RoleCredentials({}, StoppedClock(), instance_url=url)
        first = await role.get()
        assert (first.access_key, first.secret_key, first.session_token) == ("ASIA1", "s", "t")
        assert first.expires_at == NOW_S + 3600
        assert await role.get() is first
        assert [one.method for one in asked] == ["PUT", "GET", "GET"]


async def test_they_are_renewed_before_they_expire() -> None:
    clock = StoppedClock()
    async with machine(lambda n: (200, keys(n, 3600 * n))) as (url, _):
        role = RoleCredentials({}, clock, instance_url=url)
        await role.get()
        clock.now_s += 3600 - 301
        assert (await role.get()).access_key == "ASIA1"
        clock.now_s += 2
        assert (await role.get()).access_key == "ASIA2"


async def test_old_ones_serve_while_new_ones_cannot_be_had_and_no_longer() -> None:
    clock = StoppedClock()
    async with machine(lambda n: (200, keys()) if n == 1 else (500, b"")) as (url, asked):
        role = RoleCredentials({}, clock, instance_url=url)
        await role.get()
        clock.now_s += 3600 - 200
        assert (await role.get()).access_key == "ASIA1"
        before = len(asked)
        assert (await role.get()).access_key == "ASIA1"
        assert len(asked) == before, "a failed attempt is not repeated at once"
        clock.now_s += 300
        with pytest.raises(StockyardError) as caught:
            await role.get()
        assert caught.value.code == "no_valid_key"


async def test_a_container_is_asked_with_the_token_that_it_was_given(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("secret-token\n")

    def answer(asked: Asked) -> tuple[int, bytes]:
        assert asked.path == "/v2/credentials/abc"
        return (200, keys(7)) if asked.headers.get("authorization") == "secret-token" else (403, b"")

    async with answering(answer) as (url, _):
        relative = {
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI": "/v2/credentials/abc",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN": "secret-token",
        }
        assert (await RoleCredentials(relative, StoppedClock(), container_url=url).get()).access_key == "ASIA7"
        full = {
            "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{url}/v2/credentials/abc",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file),
        }
        assert (await RoleCredentials(full, StoppedClock()).get()).access_key == "ASIA7"


async def test_a_containers_address_that_leads_elsewhere_is_not_asked() -> None:
    environ = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://credentials.example/x"}
    with pytest.raises(StockyardError) as caught:
        await RoleCredentials(environ, StoppedClock()).get()
    assert "not the container's" in caught.value.message


@pytest.mark.parametrize("reply", [(200, b"{}"), (200, b"no json"), (404, b""), (200, b"[]")])
async def test_an_answer_without_keys_is_no_credentials(reply: tuple[int, bytes]) -> None:
    async with machine(lambda n: reply) as (url, _):
        with pytest.raises(StockyardError) as caught:
            await RoleCredentials({}, StoppedClock(), instance_url=url).get()
        assert caught.value.code == "no_valid_key"
