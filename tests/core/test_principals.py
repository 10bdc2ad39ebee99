from __future__ import annotations

import pytest

from instance.core.errors import StockyardError
from instance.core.keys import DEFAULT_SCOPES, SCOPES, hash_key
from instance.core.principals import KeyTable, Principal, has_scope
from instance.core.request_rate import NS_PER_MINUTE

DIGEST = hash_key("sk-sy-test")


def principal(**values: object) -> Principal:
    return Principal(1, "proxy", DEFAULT_SCOPES["proxy"], digest=DIGEST, **values)  # type: ignore[arg-type]


def code_of(table: KeyTable, digest: bytes, now_ns: int = 1) -> str:
    with pytest.raises(StockyardError) as caught:
        table.lookup(digest, now_ns)
    return caught.value.code


def test_a_known_key_leads_to_its_holder() -> None:
    table = KeyTable()
    holder = principal()
    table.replace([holder])
    assert table.lookup(DIGEST, 1) is holder


def test_an_unknown_a_revoked_and_an_expired_key_are_told_apart() -> None:
    table = KeyTable()
    assert code_of(table, DIGEST) == "unauthorized"
    table.replace([principal(revoked=True)])
    assert code_of(table, DIGEST) == "key_revoked"
    table.replace([principal(expires_at_ns=100)])
    assert table.lookup(DIGEST, 99).key_id == 1
    assert code_of(table, DIGEST, 100) == "key_expired"


def test_a_key_that_is_gone_from_the_set_is_refused() -> None:
    table = KeyTable()
    table.replace([principal()])
    table.replace([])
    assert code_of(table, DIGEST) == "unauthorized"


def test_fixed_keys_stay_whatever_the_set_is_and_are_not_listed() -> None:
    plane = Principal("instance", "instance", DEFAULT_SCOPES["instance"], digest=b"plane")
    table = KeyTable([plane])
    table.replace([principal()])
    assert table.lookup(b"plane", 1) is plane
    assert len(table) == 1
    assert plane not in table.principals()


def test_a_rate_lets_its_number_through_at_once_and_then_one_at_a_time() -> None:
    table = KeyTable()
    holder = principal(rpm=3)
    table.replace([holder])
    for _ in range(3):
        table.check_rate(holder, NS_PER_MINUTE)
    with pytest.raises(StockyardError) as caught:
        table.check_rate(holder, NS_PER_MINUTE)
    assert caught.value.code == "rate_limited"
    assert caught.value.headers == {"Retry-After": "20"}
    table.check_rate(holder, NS_PER_MINUTE + NS_PER_MINUTE // 3)
    with pytest.raises(StockyardError):
        table.check_rate(holder, NS_PER_MINUTE + NS_PER_MINUTE // 3)


def test_a_refused_request_does_not_use_up_the_rate() -> None:
    table = KeyTable()
    holder = principal(rpm=1)
    table.replace([holder])
    table.check_rate(holder, NS_PER_MINUTE)
    for _ in range(5):
        with pytest.raises(StockyardError):
            table.check_rate(holder, NS_PER_MINUTE + 1)
    table.check_rate(holder, 2 * NS_PER_MINUTE)


def test_a_rate_goes_on_when_the_keys_are_replaced() -> None:
    table = KeyTable()
    table.replace([principal(rpm=1)])
    table.check_rate(principal(rpm=1), NS_PER_MINUTE)
    table.replace([principal(rpm=1)])
    with pytest.raises(StockyardError):
        table.check_rate(principal(rpm=1), NS_PER_MINUTE)


def test_what_is_remembered_of_keys_goes_with_them() -> None:
    table = KeyTable()
    holder = principal(rpm=1)
    table.replace([holder])
    table.lookup(DIGEST, 5)
    table.check_rate(holder, NS_PER_MINUTE)
    table.replace([])
    assert table.last_used_ns == {}
    assert table._arrivals == {}


def test_when_a_key_was_used_is_taken_once() -> None:
    table = KeyTable()
    table.replace([principal()])
    table.lookup(DIGEST, 7)
    assert table.take_last_used() == {1: 7}
    assert table.take_last_used() == {}


def test_writing_includes_reading_and_not_the_other_way() -> None:
    writer = Principal(1, "app", ["trust:write"])
    reader = Principal(2, "app", ["trust:read"])
    assert has_scope(writer, "trust:read")
    assert not has_scope(reader, "trust:write")
    assert not has_scope(writer, "observe:read")


def test_an_admin_holds_every_scope_but_the_control_planes() -> None:
    admin = Principal(1, "admin", DEFAULT_SCOPES["admin"])
    assert all(has_scope(admin, scope) for scope in SCOPES)
    assert not has_scope(admin, "instance")


def test_the_control_planes_key_holds_its_scope_and_nothing_else() -> None:
    plane = Principal("instance", "instance", DEFAULT_SCOPES["instance"])
    assert has_scope(plane, "instance")
    assert not any(has_scope(plane, scope) for scope in SCOPES)


def test_running_or_opting_out_is_no_reading() -> None:
    assert not has_scope(Principal(1, "app", ["studio:run"]), "studio:read")
