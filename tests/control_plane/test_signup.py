"""A stranger opens an account: with a first tenant, at once, and not without bound."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.api.limits import REMEMBERED, RequestRate, SignupLimits, Window
from control_plane.config import Config, load_config
from control_plane.errors import CloudError
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


def test_one_domain_is_limited_over_all_addresses_and_free_again_after_an_hour() -> None:
    now = [0.0]
    limits = SignupLimits(per_address=100, per_domain=2, clock=lambda: now[0])
    limits.take("a", "x@d.example")
    limits.take("b", "y@D.example")
    with pytest.raises(CloudError):
        limits.take("c", "z@d.example")
    limits.take("c", "z@other.example")
    now[0] = 3600.0
    limits.take("c", "z@d.example")


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


def test_the_limits_remember_a_bounded_number_of_names() -> None:
    window = Window(1)
    for number in range(REMEMBERED + 5):
        window.take(str(number))
    assert window.wait_s("0") == 0.0
    assert window.wait_s(str(REMEMBERED)) > 0


def _files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())
