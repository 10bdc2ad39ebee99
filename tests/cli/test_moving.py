"""`stockyard export` and `stockyard restore` of what was exported."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from instance.cli import main
from instance.core.portable import Contents, Source, pack, unpack
from instance.core.timestamps import rfc3339
from tests.moved import PASSPHRASE, Moved, moved
from tests.opened import opened


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Moved:
    return asyncio.run(moved(tmp_path_factory.mktemp("home")))


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("STOCKYARD_URL", "STOCKYARD_ADMIN_KEY", "STOCKYARD_INSTANCE_FILE", "STOCKYARD_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    yield


@pytest.fixture
def passphrase_file(tmp_path: Path) -> Path:
    file = tmp_path / "passphrase"
    file.write_text(PASSPHRASE + "\n")
    return file


def run(verb: str, file: Path, data: Path, passphrase_file: Path, *more: str) -> int:
    return main([verb, str(file), "--data", str(data), "--passphrase-file", str(passphrase_file), *more])


def hosted(home: Moved, folder: Path, keys: list[dict[str, Any]]) -> Path:
    """What a control plane would export of it, with these keys."""
    database, file = folder / "hosted.db", folder / "hosted.stockyard"
    with home.file.open("rb") as stream:
        found = unpack(stream, PASSPHRASE, database)
    with closing(sqlite3.connect(database, isolation_level=None)) as connection:
        connection.execute("INSERT INTO pushed_state VALUES (1, 1, 9, 0, '{}')")
    source = Source("hosted", "acme", "0.1.0", "3", 9, "ab" * 32, rfc3339(0))
    contents = Contents(source, {"settings": {}}, keys, found.secret_key)
    file.write_bytes(b"".join(pack(contents, database, PASSPHRASE).chunks()))
    return file


async def answers(data: Path, key: str) -> int:
    async with opened(data) as one, one.client(key) as client:
        return (await client.get("/v1/models")).status_code


def test_what_the_export_does_not_carry_is_named(home: Moved) -> None:
    assert home.left_behind == ["aliases.big-1.5.target (stockyard.toml)", "providers.own.api_key (stockyard.toml)"]


def test_an_exported_instance_lives_on_elsewhere(home: Moved, tmp_path: Path, passphrase_file: Path) -> None:
    there = tmp_path / "there"
    assert run("restore", home.file, there, passphrase_file) == 0
    assert (there / "secret.key").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in there.iterdir() if path.name.startswith(".")) == []

    async def look() -> None:
        async with opened(there) as one, one.client(home.admin_key) as client:
            assert one.core.settings.limits.messages == 77  # what its stockyard.toml said
            assert one.core.settings.server.port == 4200  # but not where it listened
            traces = (await client.get("/api/observe/traces")).json()["traces"]
            assert len(traces) == 2
            (restored,) = (await client.get("/api/trust/ledger?event_type=restore")).json()["events"]
            assert restored["detail"]["from"].startswith("r")
            assert (await client.get("/api/trust/ledger/verify")).json()["valid"] is True
            module = (await client.get("/api/proxy/modules/cachelayer")).json()
            assert (module["enabled"], module["config"]["ttl_s"]) == (True, 77)
            budgets = (await client.get("/api/billing/budgets")).json()["budgets"]
            spent = {budget["name"]: budget["spent_usd"] for budget in budgets}
            assert spent == {"all of it": 0.001501, "of a key": 0.001501}
            provider = (await client.get("/api/proxy/providers/sealed")).json()
            assert provider["api_key_set"] is True

    asyncio.run(look())
    assert asyncio.run(answers(there, home.api_key)) == 200


def test_the_keys_of_a_control_plane_become_the_instances_own(
    home: Moved, tmp_path: Path, passphrase_file: Path
) -> None:
    """And the only ones: a key that was revoked after the move in must not live again after the move out."""
    from instance.core.keys import hash_key

    def row(key_id: int, text: str, **more: Any) -> dict[str, Any]:
        return {"id": key_id, "sha256": hash_key(text).hex(), "name": text, "kind": "proxy", "scopes": []} | more

    keys = [
        row(57, "sk-sy-of-the-cloud-1234", limits={"rpm": 5, "budget_usd_month": 1.5, "models": ["mock/*"]}),
        row(58, "sy_admin_of-the-cloud-1", kind="admin"),
    ]
    there = tmp_path / "there"
    assert run("restore", hosted(home, tmp_path, keys), there, passphrase_file) == 0

    async def look() -> None:
        async with opened(there) as one:
            first, second = one.core.keys.principals()
            assert (first.key_id, first.rpm, first.budget_month_nano) == (57, 5, 1_500_000_000)
            assert (first.origin, second.kind) == ("local", "admin")
            async with one.client("sy_admin_of-the-cloud-1") as client:
                made = await client.post("/api/auth/me/keys", json={"name": "next"})
            assert made.json()["key"].startswith("sk-sy-")  # no control plane makes them any more

    asyncio.run(look())
    assert asyncio.run(answers(there, "sk-sy-of-the-cloud-1234")) == 200
    assert asyncio.run(answers(there, home.api_key)) == 401


def test_what_was_there_is_kept_with_its_secret_key(home: Moved, tmp_path: Path, passphrase_file: Path) -> None:
    there = tmp_path / "there"
    assert asyncio.run(answers(there, "sk-sy-none")) == 401
    before = (there / "secret.key").read_text()
    assert run("restore", home.file, there, passphrase_file) == 0
    (kept,) = there.glob("secret.key.replaced-*")
    assert kept.read_text() == before
    assert (there / "secret.key").read_text() == (home.data / "secret.key").read_text()
    assert len(list(there.glob("stockyard.db.replaced-*"))) == 1


def test_a_dry_run_says_what_would_happen_and_does_nothing(
    home: Moved, tmp_path: Path, passphrase_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run("restore", home.file, tmp_path / "there", passphrase_file, "--dry-run") == 0
    assert "would become the database" in capfd.readouterr().out
    assert not (tmp_path / "there").exists()


def test_a_file_that_does_not_hold_leaves_the_folder_as_it_was(
    home: Moved, tmp_path: Path, passphrase_file: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    there = tmp_path / "there"
    asyncio.run(answers(there, "sk-sy-none"))
    before = {path.name: path.stat().st_ino for path in there.iterdir()}
    damaged = tmp_path / "damaged.stockyard"
    content = bytearray(home.file.read_bytes())
    content[len(content) // 2] ^= 1
    damaged.write_bytes(content)
    assert run("restore", damaged, there, passphrase_file) == 1
    assert "damaged" in capfd.readouterr().err
    passphrase_file.write_text("another passphrase")
    assert run("restore", home.file, there, passphrase_file) == 1
    assert {path.name: path.stat().st_ino for path in there.iterdir()} == before


def test_another_secret_key_in_the_environment_is_refused_before_anything_changes(
    home: Moved, tmp_path: Path, passphrase_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOCKYARD_SECRET_KEY", "ab" * 32)
    assert run("restore", home.file, tmp_path / "there", passphrase_file) == 1
    assert not (tmp_path / "there" / "stockyard.db").exists()


def test_an_export_writes_no_file_over_another(home: Moved, tmp_path: Path, passphrase_file: Path) -> None:
    there = tmp_path / "there.stockyard"
    there.write_text("mine")
    assert run("export", there, home.data, passphrase_file) == 1
    assert there.read_text() == "mine"
    assert run("export", tmp_path / "new.stockyard", home.data, passphrase_file) == 0
    passphrase_file.write_text("short")
    assert run("export", tmp_path / "other.stockyard", home.data, passphrase_file) == 2
    assert not (tmp_path / "other.stockyard").exists()


def test_without_a_terminal_a_passphrase_must_be_in_a_file(
    home: Moved, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", (tmp_path / "nothing").open("w+"))
    assert main(["restore", str(home.file), "--data", str(tmp_path / "there")]) == 2


def test_an_export_is_the_same_instance_whoever_reads_it(home: Moved, tmp_path: Path) -> None:
    with home.file.open("rb") as stream:
        found = unpack(stream, PASSPHRASE, tmp_path / "copy.db")
    assert found.source.origin == "self-hosted"
    assert sorted(key["kind"] for key in found.keys) == ["admin", "proxy"]  # the revoked one is not among them
