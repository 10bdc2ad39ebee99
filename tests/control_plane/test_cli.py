"""The command against a control plane that answers on a loopback port; a small loop stands in for the reconciler."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import click
import pytest
import typer
import uvicorn
from typer.testing import CliRunner

from control_plane.api.frame import Frame
from control_plane.api.plane import Plane
from control_plane.app import api_app
from control_plane.cli import app
from control_plane.config import load_config
from control_plane.domain.tenants import Desired, Status
from control_plane.running import running_plane
from tests.control_plane.conftest import OPERATOR_KEY

DEADLINE_S = 20
Invoke = Callable[..., Any]


async def _obey(plane: Plane) -> None:
    """Do at once what is desired of every tenant, as far as the database can tell."""
    reached = {
        Desired.RUNNING: Status.RUNNING,
        Desired.ASLEEP: Status.ASLEEP,
        Desired.SUSPENDED: Status.SUSPENDED,
        Desired.DELETED: Status.DELETED,
    }
    store = plane.store
    while True:
        for tenant in await store.tenants():
            slug = tenant.slug
            if tenant.epoch == 0:
                await store.new_epoch(slug, None)
                await store.confirm(slug, 1, 1)
            if tenant.restore is not None:
                ok = tenant.restore.epoch is None
                await store.restore_done(slug, tenant.restore.requested_at, {"ok": ok, "detail": "unreadable"})
            status = Status.FAILED if "fail" in slug else reached[tenant.desired]
            failure = "does_not_start" if status is Status.FAILED else ""
            await store.save_status(slug, tenant.generation, status=status, failure=failure, applied=tenant.generation)
        for slug, _ in await store.verify_requests():
            await store.verified(slug, 1, ok=True, detail={})
        await store.wait_change(DEADLINE_S)


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory, migrated: Path) -> Iterator[str]:
    """Where the control plane answers."""
    config = load_config({"data": tmp_path_factory.mktemp("cli") / "cloud"}, {})
    config.prepare()
    shutil.copy(migrated, config.database_file)
    env = {"STOCKYARD_CLOUD_OPERATOR_KEY": OPERATOR_KEY, "STOCKYARD_CLOUD_MASTER_KEY": "ab" * 32}
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()  # who calls before it serves waits
    stop = threading.Event()

    async def run() -> None:
        async with running_plane(config, reconcile=False, env=env) as plane:
            server = uvicorn.Server(uvicorn.Config(Frame(api_app(plane)), log_level="warning", lifespan="off"))
            obeying = asyncio.create_task(_obey(plane))
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            await asyncio.to_thread(stop.wait)
            server.should_exit = True
            await serving
            obeying.cancel()
            with suppress(asyncio.CancelledError):
                await obeying

    thread = threading.Thread(target=asyncio.run, args=(run(),))
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    stop.set()
    thread.join(DEADLINE_S)


@pytest.fixture
def stockyard_cloud(url: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Invoke:
    """Runs the command; answers its result."""
    monkeypatch.setenv("STOCKYARD_CLOUD_URL", url)
    monkeypatch.setenv("STOCKYARD_CLOUD_OPERATOR_KEY", OPERATOR_KEY)
    monkeypatch.setenv("STOCKYARD_CLOUD_DATA", str(tmp_path))

    def invoke(*words: str, code: int = 0) -> Any:
        result = CliRunner().invoke(app, list(words))
        assert result.exit_code == code, (words, result.output, result.exception)
        return json.loads(result.stdout) if "--json" in words and result.stdout else result

    return invoke


def test_create_prints_exactly_the_promised_object_once_it_runs(stockyard_cloud: Invoke) -> None:
    made = stockyard_cloud("tenants", "create", "acme", "--json")
    assert list(made) == ["tenant", "url", "root_url", "host_url", "api_key", "admin_key", "status"]
    assert (made["tenant"], made["status"]) == ("acme", "running")
    assert made["host_url"].startswith("http://acme.localhost:")


def test_create_that_fails_still_prints_the_keys_and_ends_with_1(stockyard_cloud: Invoke) -> None:
    made = stockyard_cloud("tenants", "create", "failing", "--json", code=1)
    assert made["api_key"].startswith("sk-sy-")


def test_sleep_wake_suspend_and_resume_wait_until_it_is_observed(stockyard_cloud: Invoke) -> None:
    stockyard_cloud("tenants", "create", "sleepy", "--json")
    for verb, status in (("sleep", "asleep"), ("wake", "running"), ("suspend", "suspended"), ("resume", "running")):
        assert stockyard_cloud("tenants", verb, "sleepy", "--json")["status"] == status
    told = stockyard_cloud("tenants", "events", "sleepy").stdout
    assert "tenant.suspend" in told
    assert stockyard_cloud("tenants", "show", "sleepy", "--json")["slug"] == "sleepy"
    assert "sleepy" in stockyard_cloud("tenants", "list", "--status", "running").stdout


def test_restore_says_what_was_restored_or_why_not(stockyard_cloud: Invoke) -> None:
    stockyard_cloud("tenants", "create", "back", "--json")
    assert stockyard_cloud("tenants", "restore", "back", "--json")["restored"]["ok"]
    refused = stockyard_cloud("tenants", "restore", "back", "--epoch", "1", "--json", code=1)
    assert refused["error"] == {"code": "restore_failed", "message": "back was not restored: unreadable"}
    assert stockyard_cloud("backups", "verify", "back", "--json")["status"] == "verified"
    assert stockyard_cloud("backups", "list", "back", "--json")["epochs"][0]["n"] == 1


def test_keys_are_made_rotated_and_revoked(stockyard_cloud: Invoke) -> None:
    stockyard_cloud("tenants", "create", "keyed", "--json")
    made = stockyard_cloud("keys", "create", "keyed", "--name", "ci", "--model", "gpt-*", "--rpm", "5", "--json")
    assert (made["models"], made["rpm"], made["effective"]) == (["gpt-*"], 5, True)
    rotated = stockyard_cloud("keys", "rotate", "keyed", str(made["id"]), "--json")
    assert rotated["key"] != made["key"]
    assert stockyard_cloud("keys", "revoke", "keyed", str(made["id"]), "--json")["state"] == "revoked"
    assert "revoked" in stockyard_cloud("keys", "list", "keyed").stdout


def test_delete_lists_first_what_would_go(stockyard_cloud: Invoke) -> None:
    stockyard_cloud("tenants", "create", "going", "--json")
    assert stockyard_cloud("tenants", "delete", "going", "--dry-run", "--json")["would_delete"]["keys"] == 2
    assert stockyard_cloud("tenants", "delete", "going", "--yes", "--json")["desired"] == "deleted"


def test_sign_up_usage_ledger_and_doctor_answer(stockyard_cloud: Invoke) -> None:
    made = stockyard_cloud("signup", "--email", "ann@ann.example", "--slug", "ann", "--json")
    assert made["account_key"].startswith("sy_acct_")
    assert stockyard_cloud("tenants", "usage", "ann", "--from", "2026-01-01", "--json")["usage"] == []
    assert stockyard_cloud("ledger", "verify", "--json")["valid"]
    assert not stockyard_cloud("doctor", "--json", code=1)["ok"]  # nothing reconciles here


def test_a_refusal_is_exit_code_1_and_wrong_usage_2(stockyard_cloud: Invoke) -> None:
    assert "not_found" in stockyard_cloud("tenants", "show", "nobody", code=1).stderr
    assert stockyard_cloud("tenants", "sleep", "nobody", "--json", code=1)["error"]["code"] == "not_found"
    stockyard_cloud("tenants", "show", code=2)
    stockyard_cloud("tenants", "shw", "acme", code=2)
    stockyard_cloud("serve", "--listen", "nowhere", code=2)


def test_without_a_control_plane_it_says_how_to_start_one(
    stockyard_cloud: Invoke, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STOCKYARD_CLOUD_URL", "http://127.0.0.1:9")
    assert "stockyard-cloud up" in stockyard_cloud("tenants", "list", code=1).stderr


def test_the_key_comes_from_the_file_when_the_environment_has_none(
    stockyard_cloud: Invoke, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("STOCKYARD_CLOUD_OPERATOR_KEY")
    assert "unauthorized" in stockyard_cloud("tenants", "list", code=1).stderr
    (tmp_path / "operator.key").write_text(OPERATOR_KEY + "\n")
    stockyard_cloud("tenants", "list")


def _verbs(command: click.Command, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    if isinstance(command, click.Group) or hasattr(command, "commands"):
        for name, each in command.commands.items():
            yield from _verbs(each, (*words, name))
    else:
        yield words


def test_every_verb_has_help_with_an_example() -> None:
    for words in _verbs(typer.main.get_command(app)):
        shown = CliRunner().invoke(app, [*words, "--help"])
        assert "Example: stockyard-cloud" in shown.output, words


def test_help_imports_neither_server_nor_database() -> None:
    program = (
        "import sys; from control_plane.cli import app\n"
        "try: app(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'fastapi', 'sqlalchemy', 'pydantic', 'uvicorn', 'httpx2'} & set(sys.modules)\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
