"""The verbs of `stockyard`: what they print, and their exit codes."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import orjson
import pytest

from instance.cli import main
from tests.opened import opened
from tests.server.process import serving

Run = Callable[..., tuple[int, str, str]]


async def _filled(data: Path) -> None:
    async with opened(data) as one:
        one.record(model="gpt", cost_nano=1_500_000)
        one.record(status="error", error_code="provider_error", model="broken")
        await one.folded()
        async with one.client() as client:
            (data.parent / "ledger.ndjson").write_bytes((await client.get("/api/trust/export")).content)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the data of an instance that recorded two calls, and `ledger.ndjson`, its export."""
    folder = tmp_path_factory.mktemp("filled")
    asyncio.run(_filled(folder / "data"))
    return folder


@pytest.fixture
def folder(filled: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    return tmp_path


@pytest.fixture
def run(folder: Path, capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Runs one command on the folder; its exit code and what it wrote to standard output and error."""
    for name in ("STOCKYARD_URL", "STOCKYARD_ADMIN_KEY", "STOCKYARD_INSTANCE_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("STOCKYARD_DATA", str(folder / "data"))

    def command(*arguments: str) -> tuple[int, str, str]:
        code = main(arguments)
        out, err = capfdbinary.readouterr()
        return code, out.decode(), err.decode()

    yield command


def read_json(result: tuple[int, str, str]) -> Any:
    code, out, err = result
    assert code == 0, err
    return orjson.loads(out)


@pytest.mark.parametrize(
    "verb",
    [
        ["verify"],
        ["traces", "list"],
        ["traces", "show"],
        ["keys", "list"],
        ["keys", "create"],
        ["keys", "revoke"],
        ["modules", "list"],
        ["modules", "on"],
        ["modules", "off"],
        ["modules", "set"],
        ["config", "show"],
        ["config", "set"],
        ["config", "reset"],
        ["backup"],
        ["export"],
        ["restore"],
        ["doctor"],
    ],
)
def test_every_verb_has_help_with_an_example(run: Run, verb: list[str]) -> None:
    code, out, _ = run(*verb, "--help")
    assert code == 0
    assert "Example: stockyard " in out
    assert "--json" in out


def test_serve_has_help_with_an_example(run: Run) -> None:
    with pytest.raises(SystemExit) as ended:
        run("serve", "--help")
    assert ended.value.code == 0


@pytest.mark.parametrize(
    "wrong", [["nonsense"], ["traces", "list", "--limit", "0"], ["keys", "revoke", "x"], ["verify", "--no"]]
)
def test_wrong_use_is_exit_code_2(run: Run, wrong: list[str]) -> None:
    assert run(*wrong)[0] == 2


def test_an_export_that_holds_is_exit_code_0(run: Run, folder: Path) -> None:
    code, out, _ = run("verify", str(folder / "ledger.ndjson"))
    assert (code, out.startswith("The ledger holds: 2 entries (1 to 2)")) == (0, True)


def test_a_broken_export_names_its_entry_with_exit_code_1(run: Run, folder: Path) -> None:
    export = folder / "ledger.ndjson"
    header, first, second = export.read_bytes().splitlines(keepends=True)
    export.write_bytes(header + first + second.replace(b'"error"', b'"perror"'))
    code, out, _ = run("verify", str(export))
    assert code == 1
    assert "BROKEN at entry 2: hash_mismatch" in out
    code, out, _ = run("verify", str(export), "--json")
    assert (code, orjson.loads(out)["broken_at"]) == (1, 2)


def test_what_is_no_export_is_exit_code_2(run: Run, folder: Path) -> None:
    assert run("verify", str(folder / "nothing.ndjson"))[0] == 2
    assert run("verify", __file__)[0] == 2


def test_the_own_ledger_is_verified_without_a_file(run: Run, folder: Path) -> None:
    assert run("verify")[0] == 0
    with closing(sqlite3.connect(folder / "data" / "stockyard.db", isolation_level=None)) as connection:
        connection.execute("UPDATE ledger SET actor = 'key:666' WHERE seq = 1")
    code, out, _ = run("verify")
    assert (code, "BROKEN at entry 1" in out) == (1, True)


def test_traces_are_listed_and_shown(run: Run) -> None:
    listed = read_json(run("traces", "list", "--status", "failed", "--json"))
    assert [trace["model"] for trace in listed["traces"]] == ["broken"]
    shown = read_json(run("traces", "show", listed["traces"][0]["id"]))
    assert shown["error"]["code"] == "provider_error"
    code, out, _ = run("traces", "list")
    assert (code, out.splitlines()[0].split()[:3]) == (0, ["ID", "CREATED", "STATUS"])
    assert out.splitlines()[-1] == "2 of 2"


def test_a_trace_that_is_not_there_is_exit_code_1(run: Run) -> None:
    code, _, err = run("traces", "show", "tr_nothing")
    assert (code, "not_found" in err) == (1, True)


def test_keys_are_made_listed_and_revoked(run: Run) -> None:
    made = read_json(run("keys", "create", "--name", "build", "--rpm", "60", "--json"))
    assert made["key"].startswith("sk-sy-")
    of_client = read_json(run("keys", "create", "--name", "acme-app", "--client", "acme", "--json"))
    assert (of_client["client"], of_client["multi_client"]) == ("acme", False)
    of_many = read_json(run("keys", "create", "--name", "front", "--multi-client", "--json"))
    assert (of_many["client"], of_many["multi_client"]) == (None, True)
    assert run("keys", "revoke", str(made["id"]))[0] == 0
    listed = {key["name"]: key for key in read_json(run("keys", "list", "--json"))["keys"]}
    assert listed["build"]["revoked_at"] is not None
    assert "key" not in listed["build"]
    code, _, err = run("keys", "revoke", str(made["id"]))
    assert (code, "not_found" in err) == (1, True)


def test_a_lost_admin_key_is_replaced(run: Run) -> None:
    made = read_json(run("keys", "reset", "--json"))["key"]
    admins = [key for key in read_json(run("keys", "list", "--json"))["keys"] if key["kind"] == "admin"]
    assert [(key["name"], key["revoked_at"] is None) for key in admins] == [
        ("first admin key", False),
        ("reset admin key", True),
    ]
    assert made.startswith("sy_admin_")
    assert run("verify")[0] == 0


def test_modules_are_switched_and_set(run: Run) -> None:
    assert run("modules", "on", "cachelayer")[0] == 0
    assert run("modules", "set", "cachelayer", "ttl_s=60")[0] == 0
    modules = {module["name"]: module for module in read_json(run("modules", "list", "--json"))["modules"]}
    assert (modules["cachelayer"]["enabled"], modules["cachelayer"]["config"]["ttl_s"]) == (True, 60)
    assert run("modules", "off", "cachelayer")[0] == 0
    assert run("modules", "on", "nonsense")[0] == 1
    assert run("modules", "set", "cachelayer", "ttl_s")[0] == 2


def test_settings_are_shown_set_and_reset(run: Run) -> None:
    assert run("config", "set", "limits.messages=77", "metrics_public=true")[0] == 0
    assert read_json(run("config", "show", "--json"))["limits"]["messages"]["value"] == 77
    assert run("config", "reset", "limits.messages")[0] == 0
    config = read_json(run("config", "show", "--json"))
    assert (config["limits"]["messages"]["source"], config["metrics_public"]["source"]) == ("default", "api")
    code, _, err = run("config", "set", "limits.mesages=5")
    assert (code, "did you mean limits.messages" in err) == (1, True)


def test_a_backup_is_taken_and_restored_with_a_note_in_the_ledger(run: Run, folder: Path) -> None:
    copy = folder / "copy.db"
    assert read_json(run("backup", str(copy), "--json"))["bytes"] == copy.stat().st_size
    assert run("backup", str(copy))[0] == 1
    run("keys", "create", "--name", "lost")
    assert run("restore", str(copy))[0] == 0
    assert "lost" not in [key["name"] for key in read_json(run("keys", "list", "--json"))["keys"]]
    with closing(sqlite3.connect(folder / "data" / "stockyard.db")) as connection:
        (detail,) = connection.execute("SELECT detail FROM ledger WHERE event_type = 'restore'").fetchone()
    assert orjson.loads(detail)["lost_after_seq"] == 2
    assert run("verify")[0] == 0


def test_doctor_finds_what_is_wrong_and_says_how_to_mend_it(run: Run, folder: Path) -> None:
    assert run("doctor")[0] == 0
    (folder / "data" / "secret.key").chmod(0o644)
    with closing(sqlite3.connect(folder / "data" / "stockyard.db", isolation_level=None)) as connection:
        connection.execute("DELETE FROM ledger WHERE seq = 1")
    code, out, _ = run("doctor")
    assert code == 1
    assert "FAIL  secret key: mode 0644" in out
    assert "chmod 600" in out
    assert "FAIL  ledger: broken at entry 1: gap" in out


def test_a_folder_without_an_instance_is_said_to_be_empty(run: Run, tmp_path: Path) -> None:
    code, _, err = run("traces", "list", "--data", str(tmp_path / "empty"))
    assert (code, "stockyard serve" in err) == (1, True)
    assert not (tmp_path / "empty").exists()


@pytest.mark.slow
def test_while_the_instance_runs_the_verbs_ask_it_with_a_key(run: Run, folder: Path) -> None:
    with serving(["--data", str(folder / "data"), "--port", "0"], folder / "log") as server:
        server.wait_until_said("Stockyard is at")
        code, _, err = run("keys", "list")
        assert (code, "--key" in err) == (1, True)
        assert run("keys", "reset")[0] == 1
        assert run("doctor")[0] == 0
        code, _, err = run("keys", "list", "--key", "sy_admin_wrong")
        assert (code, "unauthorized" in err) == (1, True)
        assert server.stop() == 0
    admin = read_json(run("keys", "reset", "--json"))["key"]
    with serving(["--data", str(folder / "data"), "--port", "0"], folder / "log2") as server:
        server.wait_until_said("Stockyard is at")
        assert run("modules", "on", "cachelayer", "--key", admin)[0] == 0
        assert run("traces", "list", "--key", admin)[0] == 0
        assert run("verify", "--key", admin)[0] == 0
