"""A stranger opens an account: with a first tenant, at once, and not without bound."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from sqlalchemy import Connection

from control_plane.api.client_address import origin
from control_plane.api.limits import RequestRate
from control_plane.config import Config, load_config
from control_plane.errors import CloudError
from control_plane.store import signups
from control_plane.store.database import Database
from tests.control_plane.conftest import Api, error_code


async def test_sign_up_answers_the_keys_once_and_the_tenant_goes_on_provisioning(api: Api) -> None:
    made = await api.sign_up("acme")
    assert made["api_key"].startswith("sk-sy-")
    assert made["admin_key"].startswith("sy_admin_")
    assert made["account_key"].startswith("sy_acct_")
    assert made["tenant"]["status"] == "provisioning"
    shown = await api("GET", "/api/tenants/acme", key=made["account_key"])
    assert shown.status_code == 200
    assert not {"api_key", "admin_key"} & shown.json().keys()


async def test_a_taken_slug_leaves_no_account_behind(api: Api) -> None:
    await api.sign_up("acme")
    body = {"email": "second@b.example", "tenant_slug": "acme"}
    refused = await api("POST", "/api/signup", body, key="")
    assert (refused.status_code, error_code(refused)) == (409, "slug_taken")
    again = await api("POST", "/api/signup", body | {"tenant_slug": "beta"}, key="")
    assert again.status_code == 201


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"tenant_slug": "www"}, 422, "bad_slug"),
        ({"tenant_slug": "A"}, 422, "bad_slug"),
        ({"email": "nobody"}, 422, "invalid_value"),
        ({"password": "short"}, 422, "invalid_value"),
        ({"plan": "pro"}, 422, "invalid_value"),
        ({"plan": "gold"}, 422, "invalid_value"),
        ({"emial": "x"}, 422, "unknown_field"),
        ({"email": 5}, 422, "invalid_value"),
    ],
)
async def test_a_bad_sign_up_is_refused(api: Api, change: dict[str, object], status: int, code: str) -> None:
    answer = await api("POST", "/api/signup", {"email": "a@b.example", "tenant_slug": "acme"} | change, key="")
    assert (answer.status_code, error_code(answer)) == (status, code)


async def test_a_password_is_kept_only_as_a_salted_hash(api: Api, config: Config) -> None:
    body = {"email": "a@b.example", "tenant_slug": "acme", "password": "correct horse battery"}
    assert (await api("POST", "/api/signup", body, key="")).status_code == 201
    assert b"correct horse" not in _files(config.data)


class TestClosed:
    @pytest.fixture
    def config(self, tmp_path: Path) -> Config:
        return load_config({"data": tmp_path / "cloud"}, {"STOCKYARD_CLOUD_SIGNUP": "closed"})

    async def test_nobody_signs_up_where_sign_up_is_closed(self, api: Api) -> None:
        answer = await api("POST", "/api/signup", {"email": "a@b.example", "tenant_slug": "acme"}, key="")
        assert (answer.status_code, error_code(answer)) == (403, "signup_closed")


class TestLimited:
    @pytest.fixture
    def config(self, tmp_path: Path) -> Config:
        env = {"STOCKYARD_CLOUD_SIGNUP_PER_ADDRESS_HOUR": "2"}
        return load_config({"data": tmp_path / "cloud"}, env)

    async def test_one_address_signs_up_only_so_often(self, api: Api) -> None:
        for slug in ("one", "two"):
            await api.sign_up(slug)
        body = {"email": "a@three.example", "tenant_slug": "three"}
        answer = await api("POST", "/api/signup", body, key="")
        assert (answer.status_code, error_code(answer)) == (429, "rate_limited")
        assert 0 < int(answer.headers["retry-after"]) <= 3600

    async def test_the_limit_outlives_the_control_plane(self, api: Api, config: Config) -> None:
        for slug in ("one", "two"):
            await api.sign_up(slug)
        await api.plane.database.close()
        again = Database(config.sqlalchemy_url)
        await again.open()
        with pytest.raises(CloudError, match="too many sign-ups"):
            await again.write(
                lambda connection: signups.take(
                    connection, "127.0.0.1", "three.example", per_address=2, per_domain=9, now=time.time()
                )
            )
        await again.close()

    async def test_what_a_stranger_says_of_its_address_is_not_believed(self, api: Api) -> None:
        answers = [
            await api(
                "POST",
                "/api/signup",
                {"email": f"a@{slug}.example", "tenant_slug": slug},
                key="",
                X_Forwarded_For=f"203.0.113.{number}",
            )
            for number, slug in enumerate(("one", "two", "three"))
        ]
        assert [answer.status_code for answer in answers] == [201, 201, 429]


class TestBehindAProxy:
    @pytest.fixture
    def config(self, tmp_path: Path) -> Config:
        env = {"STOCKYARD_CLOUD_SIGNUP_PER_ADDRESS_HOUR": "1", "STOCKYARD_CLOUD_TRUSTED_PROXIES": "127.0.0.0/8, ::1"}
        return load_config({"data": tmp_path / "cloud"}, env)

    async def test_each_address_that_the_proxy_saw_has_a_limit_of_its_own(self, api: Api) -> None:
        seen = ["203.0.113.1", "203.0.113.2", "203.0.113.9, 203.0.113.1", "2001:db8::1", "2001:db8::2"]
        answers = [
            await api(
                "POST",
                "/api/signup",
                {"email": f"a@d{number}.example", "tenant_slug": f"tenant-{number}"},
                key="",
                X_Forwarded_For=address,
            )
            for number, address in enumerate(seen)
        ]
        assert [answer.status_code for answer in answers] == [201, 201, 429, 201, 429]


class TestOneDomain:
    @pytest.fixture
    def config(self, tmp_path: Path) -> Config:
        return load_config({"data": tmp_path / "cloud"}, {"STOCKYARD_CLOUD_SIGNUP_PER_DOMAIN_HOUR": "2"})

    async def test_it_is_limited_over_all_addresses_and_free_again_after_an_hour(self, api: Api) -> None:
        bodies = [
            {"email": email, "tenant_slug": f"tenant-{number}"}
            for number, email in enumerate(("x@d.example", "y@D.example", "z@d.example.", "z@other.example"))
        ]
        answers = [await api("POST", "/api/signup", body, key="") for body in bodies[:2]]
        answers += [await api("POST", "/api/signup", bodies[2] | {"email": "z@d.example"}, key="")]
        answers += [await api("POST", "/api/signup", bodies[3], key="")]
        assert [answer.status_code for answer in answers] == [201, 201, 429, 201]

        def an_hour_later(connection: Connection) -> None:
            signups.take(
                connection, "elsewhere", "d.example", per_address=9, per_domain=2, now=time.time() + signups.WINDOW_S
            )

        await api.plane.database.write(an_hour_later)


@pytest.mark.parametrize(
    ("peer", "forwarded", "trusted", "expected"),
    [
        ("192.0.2.1", [], (), "192.0.2.1"),
        ("192.0.2.1", ["203.0.113.7"], (), "192.0.2.1"),
        ("192.0.2.1", ["203.0.113.7"], ("192.0.2.1",), "203.0.113.7"),
        ("192.0.2.1", ["6.6.6.6, 203.0.113.7"], ("192.0.2.0/24",), "203.0.113.7"),
        ("192.0.2.1", ["203.0.113.7, 192.0.2.9"], ("192.0.2.0/24",), "203.0.113.7"),
        ("192.0.2.1", ["203.0.113.7", "192.0.2.9"], ("192.0.2.0/24",), "203.0.113.7"),
        ("192.0.2.1", ["nonsense"], ("192.0.2.0/24",), "192.0.2.1"),
        ("::ffff:192.0.2.1", ["203.0.113.7"], ("192.0.2.1",), "203.0.113.7"),
        ("2001:db8:1:2:3:4:5:6", [], (), "2001:db8:1:2::/64"),
        ("?", ["203.0.113.7"], ("0.0.0.0/0",), "?"),
    ],
)
def test_the_address_that_counts(peer: str, forwarded: list[str], trusted: tuple[str, ...], expected: str) -> None:
    assert origin(peer, forwarded, trusted) == expected


def test_a_key_calls_a_burst_and_then_evenly() -> None:
    now = [0.0]
    rate = RequestRate(60, lambda: now[0])
    for _ in range(60):
        rate.take("a")
    with pytest.raises(CloudError) as refused:
        rate.take("a")
    assert refused.value.headers["Retry-After"] == "1"
    rate.take("b")
    now[0] = 1.0
    rate.take("a")


def _files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
