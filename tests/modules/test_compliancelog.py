"""compliancelog over HTTP: what the ledger says of calls, its seals, its retention, and the pack that verifies itself."""

from __future__ import annotations

import asyncio
import hashlib
import io
import sqlite3
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import orjson

from instance.brand.chain import signed_message
from instance.brand.signing import signature_holds
from tests.mock_replies import text
from tests.modules.conftest import Running, running
from tests.waiting import until

EVERYTHING = {"date_from": "2020-01-01", "date_to": "2100-01-01"}


async def _calls(s: Running, count: int) -> None:
    sdk = s.sdk()
    for _ in range(count):
        await sdk.chat.completions.create(**s.body())
    await s.settled()


async def _verify(s: Running) -> dict[str, Any]:
    answer: dict[str, Any] = (await s.http(s.admin_key).get("/api/trust/ledger/verify")).json()
    return answer


def _change(s: Running, statement: str) -> None:
    """Change the database behind the instance's back."""
    with sqlite3.connect(s.instance.core.data_dir / "stockyard.db") as connection:
        assert connection.execute(statement).rowcount


async def _events(s: Running, event_type: str) -> list[dict[str, Any]]:
    await s.settled()
    answer = await s.http(s.admin_key).get("/api/trust/ledger", params={"event_type": event_type})
    events: list[dict[str, Any]] = answer.json()["events"]
    return events


async def _pack(s: Running, folder: Path, **more: Any) -> dict[str, Any]:
    client = s.http(s.admin_key)
    made = await client.post("/api/trust/evidence", json={"name": "all", **EVERYTHING, **more})
    assert (made.status_code, made.json()["status"]) == (202, "building")
    pack: dict[str, Any] = {}

    async def ready() -> bool:
        pack.update((await client.get(f"/api/trust/evidence/{made.json()['id']}")).json())
        return bool(pack["status"] != "building")

    await until(ready)
    assert pack["status"] == "ready", pack["error"]
    content = (await client.get(f"/api/trust/evidence/{pack['id']}/download")).content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(folder)
    return pack


def _run_verifier(folder: Path, *more: str) -> tuple[int, str]:
    """As on a machine without Stockyard: no packages, not even the environment's."""
    command = [sys.executable, "-I", "-S", str(folder / "verify.py"), str(folder), *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/")
    return done.returncode, done.stdout + done.stderr


async def test_a_changed_character_and_a_missing_row_are_named() -> None:
    async with running() as s:
        await _calls(s, 50)
        whole = await _verify(s)
        assert whole["valid"] and whole["events_checked"] >= 50
        _change(
            s, "UPDATE ledger SET detail = replace(detail, '\"http_status\":200', '\"http_status\":201') WHERE seq = 33"
        )
        broken = await _verify(s)
        assert (broken["valid"], broken["broken_at_id"], broken["reason"]) == (False, 33, "hash_mismatch")
        _change(s, "DELETE FROM ledger WHERE seq = 21")
        gap = await _verify(s)
        assert (gap["broken_at_id"], gap["reason"]) == (21, "gap")


async def test_the_pack_verifies_with_its_own_script_and_names_what_was_changed(tmp_path: Path) -> None:
    async with running() as s:
        await _calls(s, 12)
        pack = await _pack(s, tmp_path, include=["ledger", "policies", "keys", "config", "costs", "traces", "feedback"])
        head = (await s.http(s.admin_key).get("/api/trust/ledger/head")).json()
    files = {row["file"]: row for row in pack["manifest"]}
    assert set(files) == {
        "ledger.ndjson",
        "policies.ndjson",
        "keys.ndjson",
        "config.json",
        "costs.json",
        "traces.ndjson",
        "feedback.ndjson",
    }
    assert files["traces.ndjson"]["rows"] == 12
    code, said = _run_verifier(tmp_path, "--key", head["public_key"])
    assert code == 0, said
    assert f"{pack['event_count']} entries, the chain holds" in said
    assert _run_verifier(tmp_path, "--key", "0" * 64)[0] == 1

    keys = (tmp_path / "keys.ndjson").read_bytes()
    (tmp_path / "keys.ndjson").write_bytes(keys.replace(b"proxy", b"proxi", 1))
    code, said = _run_verifier(tmp_path)
    assert code == 1 and "keys.ndjson: it was changed" in said
    (tmp_path / "keys.ndjson").write_bytes(keys)

    lines = (tmp_path / "ledger.ndjson").read_bytes().splitlines(keepends=True)
    changed = [line.replace(b'"http_status":200', b'"http_status":201') for line in lines]
    seq = next(orjson.loads(a)["seq"] for a, b in zip(changed, lines, strict=True) if a != b)
    for content, fault in (
        (changed, f"entry {seq}: it was changed"),
        (lines[:3] + lines[4:], "entry 3: it is missing"),
    ):
        (tmp_path / "ledger.ndjson").write_bytes(b"".join(content))
        code, said = _run_verifier(tmp_path)
        assert code == 1 and fault in said, said


async def test_a_pack_is_listed_and_removed_and_the_ledger_keeps_its_entry(tmp_path: Path) -> None:
    async with running() as s:
        await _calls(s, 1)
        client = s.http(s.admin_key)
        pack = await _pack(s, tmp_path)
        assert [row["id"] for row in (await client.get("/api/trust/evidence")).json()["packs"]] == [pack["id"]]
        assert (await client.delete(f"/api/trust/evidence/{pack['id']}")).status_code == 200
        assert (await client.get(f"/api/trust/evidence/{pack['id']}/download")).status_code == 404
        assert len(await _events(s, "evidence_generated")) == 1
        empty = {"name": "none", "date_from": "2020-01-01", "date_to": "2020-01-02"}
        assert (await client.post("/api/trust/evidence", json=empty)).status_code == 422
        reader = s.http().post("/api/trust/evidence", json={"name": "x", **EVERYTHING})
        assert (await reader).status_code == 403


async def test_an_entry_counts_the_decisions_and_digests_what_is_stored() -> None:
    secret = "sk-ant-api03-" + "Ab3dE6gH9" * 10 + "AA"
    async with running({"secretscan": {"action": "redact"}}) as s:
        s.mock.script(text("fine"))
        answer = await s.chat(f"use {secret}")
        trace_id = answer.headers["x-stockyard-trace-id"]
        await s.settled()
        (entry,) = (await s.http(s.admin_key).get("/api/trust/ledger", params={"trace_id": trace_id})).json()["events"]
        assert {"module": "secretscan", "action": "secret", "count": 1} in entry["detail"]["decisions"]
        (sent,) = s.mock.calls
        stored = {**s.body(f"use {secret}")}
        stored["messages"] = orjson.loads(sent.body)["messages"]
        assert entry["detail"]["request_sha256"] == hashlib.sha256(orjson.dumps(stored)).hexdigest()
        assert (await _verify(s))["valid"]


async def test_without_digests_an_entry_holds_none() -> None:
    async with running({"compliancelog": {"digests": False}}) as s:
        sdk = s.sdk()
        async for _ in await sdk.chat.completions.create(**s.body(), stream=True):
            pass
        (entry,) = await _events(s, "proxy_request")
        assert not [name for name in entry["detail"] if "sha256" in name]
        assert (await _verify(s))["valid"]


async def test_a_seal_follows_so_many_entries_and_is_sent_out(tmp_path: Path) -> None:
    file = tmp_path / "seals.ndjson"
    async with running() as s:
        url = f"{s.mock.url}/seals"
        await s.configure({"compliancelog": {"seal_every": 10, "seal_webhook": url, "seal_file": str(file)}})
        await _calls(s, 12)
        await until(lambda: _has_events(s, "seal"))
        seal = (await _events(s, "seal"))[-1]["detail"]
        assert signature_holds(seal["public_key"], seal["signature"], signed_message(seal["seq"], seal["hash"]))
        await until(lambda: asyncio.sleep(0, any(call.path.endswith("/seals") for call in s.mock.calls)))
        assert orjson.loads(file.read_bytes().splitlines()[0])["hash"] == seal["hash"]
        assert (await _verify(s))["valid"]


async def _has_events(s: Running, event_type: str) -> bool:
    return bool(await _events(s, event_type))


async def test_a_rewritten_chain_shows_at_the_seal() -> None:
    """Who can write the file can compute every hash anew, and still not sign."""
    async with running() as s:
        await _calls(s, 3)
        await s.instance.brand.seals.seal()
        _rewrite(s)
        broken = await _verify(s)
        assert (broken["valid"], broken["reason"]) == (False, "bad_signature")


def _rewrite(s: Running) -> None:
    from instance.brand import store
    from instance.brand.chain import canonical, entry_hash

    with sqlite3.connect(s.instance.core.data_dir / "stockyard.db") as connection:
        before = bytes(32)
        connection.execute("UPDATE ledger SET actor = 'key:9' WHERE event_type = 'proxy_request'")
        for row in store.after(connection, 0, 10**6, 10**6):
            entry = store.chained_of(row)
            if row[2] == "seal":
                said = orjson.loads(row[6]) | {"hash": before.hex()}
                detail = orjson.dumps(said, option=orjson.OPT_SORT_KEYS).decode()
                connection.execute("UPDATE ledger SET detail = ? WHERE seq = ?", (detail, row[0]))
                entry["detail"] = said
            own = entry_hash(before, canonical(entry))
            connection.execute("UPDATE ledger SET prev_hash = ?, hash = ? WHERE seq = ?", (before, own, row[0]))
            before = own


async def test_old_entries_go_as_one_prefix_and_what_is_left_verifies(tmp_path: Path) -> None:
    async with running() as s:
        await _calls(s, 20)
        (row,) = (await s.http(s.admin_key).get("/api/trust/ledger?from_seq=15&to_seq=15")).json()["events"]
        removed = await s.instance.brand.prune(row["created_at"])
        assert 10 <= removed < 15
        checked = await _verify(s)
        assert (checked["valid"], checked["anchored_at"], checked["first_seq"]) == (True, removed, removed + 1)
        await _pack(s, tmp_path)
        code, said = _run_verifier(tmp_path)
        assert code == 0, said
        _change(s, f"DELETE FROM ledger WHERE seq = {removed + 1}")
        assert (await _verify(s))["broken_at_id"] == removed + 1


async def test_the_chain_is_checked_after_a_start_and_bad_settings_are_refused() -> None:
    async with running() as s:
        await _calls(s, 2)
        module = s.module("compliancelog")
        await until(lambda: asyncio.sleep(0, "verified" in module.report()))
        assert module.report()["verified"]["valid"]
        for config, field in (({"seal_file": "seals"}, "seal_file"), ({"seal_webhook": "nonsense"}, "seal_webhook")):
            answer = await s.http(s.admin_key).put("/api/proxy/modules/compliancelog", json={"config": config})
            assert answer.status_code == 422
            assert field in answer.json()["error"]["param"]
