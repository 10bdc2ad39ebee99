"""The key in a request's headers."""

from __future__ import annotations

import pytest

from instance.core.errors import StockyardError
from instance.core.principals import Principal
from instance.system.auth import require_address
from instance.system.credentials import demand, presented_key

Headers = list[tuple[bytes, bytes]]


@pytest.mark.parametrize(
    ("headers", "key"),
    [
        ([(b"authorization", b"Bearer sy_abc")], "sy_abc"),
        ([(b"authorization", b"bearer   sy_abc ")], "sy_abc"),
        ([(b"x-admin-key", b"sy_admin_x")], "sy_admin_x"),
        ([(b"x-admin-key", b"sy_x"), (b"authorization", b"Bearer sy_x")], "sy_x"),
        ([(b"cookie", b"a=b")], ""),
    ],
)
def test_a_key_is_found_where_it_may_be(headers: Headers, key: str) -> None:
    assert presented_key(headers) == key


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ([(b"authorization", b"Basic abc")], "unauthorized"),
        ([(b"authorization", b"Bearer \xff")], "unauthorized"),
        ([(b"authorization", b"Bearer " + b"x" * 600)], "unauthorized"),
        ([(b"x-admin-key", b"sy_1"), (b"authorization", b"Bearer sy_2")], "bad_request"),
    ],
)
def test_a_malformed_or_ambiguous_key_is_refused(headers: Headers, code: str) -> None:
    with pytest.raises(StockyardError) as refused:
        presented_key(headers)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("scopes", "wanted", "held"),
    [
        (["observe:read"], "observe:read", True),
        (["observe:write"], "observe:read", True),
        (["observe:read"], "observe:write", False),
        (["admin"], "trust:write", True),
        (["admin"], "instance", False),
        (["observe:read"], "self", True),
        (["proxy:call"], "proxy:read", False),
    ],
)
def test_a_scope_is_held_as_documented(scopes: list[str], wanted: str, held: bool) -> None:
    principal = Principal(1, "app", scopes)
    if held:
        assert demand(principal, wanted) is principal
        return
    with pytest.raises(StockyardError) as refused:
        demand(principal, wanted)
    assert (refused.value.code, refused.value.details) == ("scope_missing", {"scope": wanted})


@pytest.mark.parametrize(
    ("host", "allowed"),
    [("10.1.2.3", True), ("192.0.2.7", True), ("192.0.2.8", False), ("nonsense", False), ("", True)],
)
def test_a_key_bound_to_addresses_is_refused_elsewhere(host: str, allowed: bool) -> None:
    principal = Principal(1, "app", ["self"], ip_allow=["10.0.0.0/8", "192.0.2.7"])
    if allowed:
        require_address(principal, host)
        return
    with pytest.raises(StockyardError) as refused:
        require_address(principal, host)
    assert refused.value.code == "ip_denied"
