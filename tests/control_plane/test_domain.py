"""Names, addresses and the state that an instance is told."""

from __future__ import annotations

import pytest

from control_plane.domain.plans import FREE
from control_plane.domain.slugs import addresses, slug_problem
from control_plane.domain.state import desired_state, rfc3339
from control_plane.domain.tenants import Desired, Generation, KeyRecord, Tenant


def _tenant(*keys: KeyRecord) -> Tenant:
    return Tenant("acme", 1, "free", "local", Desired.RUNNING, "", "image", Generation(1, 7), 1, 0.0, keys=keys)


def _key(number: int, **more: object) -> KeyRecord:
    return KeyRecord(number, "acme", "k", "proxy", "ab" * 32, "sk-sy-…", 0.0, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize("slug", ["acme", "a-1", "0x0", "a" * 40])
def test_a_good_slug_has_no_problem(slug: str) -> None:
    assert slug_problem(slug) is None


@pytest.mark.parametrize("slug", ["", "a", "ab", "-ab", "ab-", "Acme", "a_b", "a" * 41, "www", "v1", "ours", "a\nb"])
def test_a_bad_or_reserved_slug_is_refused(slug: str) -> None:
    assert slug_problem(slug, ("ours",))


def test_in_development_a_tenant_is_reached_by_path_and_by_host() -> None:
    assert addresses("acme", "localhost", "0.0.0.0:8080") == (
        "http://127.0.0.1:8080/t/acme/v1",
        "http://127.0.0.1:8080/t/acme",
        "http://acme.localhost:8080/v1",
    )


def test_in_production_a_tenant_is_reached_by_host_only() -> None:
    assert addresses("acme", "ai.example", "0.0.0.0:443") == (
        "https://acme.ai.example/v1",
        "https://acme.ai.example",
        "https://acme.ai.example/v1",
    )


def test_a_revoked_key_is_not_in_the_state_and_an_expiring_one_says_when() -> None:
    state = desired_state(_tenant(_key(1, revoked_at=5.0), _key(2, expires_at=1.5, rpm=3)), FREE)
    assert [key["id"] for key in state["keys"]] == [2]
    assert state["keys"][0]["expires_at"] == "1970-01-01T00:00:01.500000Z"
    assert state["keys"][0]["limits"]["rpm"] == 3
    assert state["generation"] == {"incarnation": 1, "number": 7}


def test_a_key_is_valid_until_it_expires_or_is_revoked() -> None:
    assert _key(1, expires_at=10.0).valid_at(9.9)
    assert not _key(1, expires_at=10.0).valid_at(10.0)
    assert not _key(1, revoked_at=1.0).valid_at(0.0)


def test_times_are_rfc_3339_with_microseconds() -> None:
    assert rfc3339(0.000001) == "1970-01-01T00:00:00.000001Z"
    assert rfc3339(None) is None
