from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from instance.core import key_store
from instance.core.database import Database
from instance.core.first_keys import env_admin, make_first_keys, reset_admin_key
from instance.core.keys import hash_key, make_key
from instance.core.principals import Principal


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    database = Database(tmp_path / "a.db")
    connection = database.open()
    yield connection
    connection.close()
    database.close()


def test_a_key_is_read_as_it_was_stored(connection: sqlite3.Connection) -> None:
    stored = Principal(
        0,
        "app",
        ["trust:read", "proxy:call"],
        name="ci",
        user="ana",
        team="red",
        models=["mock/*"],
        ip_allow=["10.0.0.0/8"],
        expires_at_ns=99,
        rpm=5,
        budget_month_nano=7,
        prefix="sy_abc…1234",
        digest=b"d" * 32,
    )
    key_id = key_store.add(connection, stored, 1)
    (read,) = key_store.principals(connection)
    assert stored.key_id == key_id
    assert all(getattr(read, name) == getattr(stored, name) for name in Principal.__slots__)


def test_a_key_is_revoked_once(connection: sqlite3.Connection) -> None:
    key_id = key_store.add(connection, Principal(0, "proxy", ["self"], digest=b"d"), 1)
    assert key_store.revoke(connection, key_id, 5)
    assert not key_store.revoke(connection, key_id, 6)
    assert not key_store.expire(connection, key_id, 7)
    assert key_store.times(connection) == {key_id: (1, 5, 0)}
    found = key_store.one(connection, key_id)
    assert found is not None
    assert found.revoked


def test_the_id_of_a_key_never_comes_to_mean_another(connection: sqlite3.Connection) -> None:
    first = make_key("admin")
    key_store.take_env_key(connection, env_admin({"STOCKYARD_ADMIN_KEY": first}), 1)
    (old,) = key_store.principals(connection)
    key_store.take_env_key(connection, env_admin({"STOCKYARD_ADMIN_KEY": make_key("admin")}), 2)
    (new,) = key_store.principals(connection)
    assert new.key_id != old.key_id


def test_admin_keys_that_work_are_counted(connection: sqlite3.Connection) -> None:
    make_first_keys(connection, None, 1)
    assert key_store.admins_left(connection, 2) == 1
    key_store.add(connection, Principal(0, "admin", ["admin"], digest=b"x", expires_at_ns=10), 1)
    assert key_store.admins_left(connection, 9) == 2
    assert key_store.admins_left(connection, 10) == 1


def test_the_last_use_never_goes_back(connection: sqlite3.Connection) -> None:
    key_id = key_store.add(connection, Principal(0, "proxy", ["self"], digest=b"d"), 1)
    key_store.set_last_used(connection, {key_id: 9, "instance": 5, 12345: 4})
    key_store.set_last_used(connection, {key_id: 3})
    assert key_store.times(connection)[key_id][2] == 9


def test_a_reset_makes_one_admin_key_and_revokes_the_lost_ones(connection: sqlite3.Connection) -> None:
    made = make_first_keys(connection, None, 1)
    assert made is not None
    key = reset_admin_key(connection, 2)
    working = [one.digest for one in key_store.principals(connection) if one.kind == "admin" and not one.revoked]
    assert working == [hash_key(key)]
    assert key != made.admin
