"""The examples of the pages, run as they are printed."""

import asyncio
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
import uvloop

from docs.figures import figures
from instance.chute.module import Module, ModuleSettings
from tests.docs.pages import ROOT, blocks
from tests.modules.conftest import running


def pytest_asyncio_loop_factories(config: Any, item: Any) -> dict[str, Callable[[], Any]]:
    return {"uvloop": uvloop.new_event_loop}


def example(page: str, name: str) -> str:
    (block,) = blocks(ROOT / "docs" / page, f"file: {name}")
    return block.body


@pytest.fixture
def wordlimit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, other_packages: None) -> None:
    """The example's module as an installed package: what its pyproject.toml says lies beside it, as pip would put it."""
    project = example("writing-a-module.md", "pyproject.toml")
    point = project.partition('[project.entry-points."stockyard.modules"]\n')[2].strip()
    (tmp_path / "wordlimit.py").write_text(example("writing-a-module.md", "wordlimit.py"))
    info = tmp_path / "stockyard_wordlimit-0.1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stockyard-wordlimit\nVersion: 0.1\n")
    (info / "entry_points.txt").write_text(f"[stockyard.modules]\n{point.replace(chr(34), '')}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "wordlimit", raising=False)


async def test_the_module_of_the_page_is_found_by_its_entry_point_and_refuses(wordlimit: None) -> None:
    async with running(modules={"wordlimit": {"max_words": 3}}) as s:
        refused = await s.chat("one two three four")
        assert refused.status_code == 400
        assert refused.json()["error"]["code"] == "wordlimit_exceeded"
        assert refused.json()["error"]["param"] == "messages[0].content"


async def test_the_module_of_the_page_counts_the_words_of_whole_and_streamed_answers(wordlimit: None) -> None:
    async with running(modules={"wordlimit": True}) as s:
        whole = await s.chat("hi there")
        streamed = await s.chat("hi there", stream=True)
        await s.settled()
        for answer in (whole, streamed):
            trail = await s.trail(answer.headers["x-stockyard-trace-id"], "wordlimit")
            assert trail == [("counted", {"words": 3})], "echo: hi there"


def test_the_page_on_modules_names_everything_of_the_contract() -> None:
    page = (ROOT / "docs" / "writing-a-module.md").read_text()
    members = {name for name in vars(Module) if not name.startswith("_")} | set(Module.__annotations__)
    members |= {"API_VERSION", "API_VERSIONS_RUN", *ModuleSettings.model_fields}
    assert {name for name in members if not re.search(rf"\b{name}\b", page)} == set()


async def test_the_verifier_of_the_page_agrees_with_a_real_export_and_names_a_changed_entry(tmp_path: Path) -> None:
    async with running() as s:
        for text in ("one", "zwei – ü", "three"):
            await s.chat(text)
        await s.settled()
        export = (await s.http(s.admin_key).get("/api/trust/export")).content
    (tmp_path / "verify.py").write_text(example("ledger.md", "verify.py"))

    def verify(content: bytes) -> str:
        (tmp_path / "ledger.ndjson").write_bytes(content)
        command = [sys.executable, "verify.py", "ledger.ndjson"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
        return (done.stdout + done.stderr).strip()

    lines = export.splitlines(keepends=True)
    assert verify(export) == f"{len(lines) - 1} entries hold"
    assert (
        verify(export.replace(lines[2], lines[2].replace(b'created_at":"2', b'created_at":"3'))) == "broken at entry 2"
    )
    assert verify(b"".join(lines[:2] + lines[3:])) == "broken at entry 3"
    assert verify(b"".join(lines[:-1])) == f"broken after entry {len(lines) - 2}: the head is another"


async def test_an_instance_starts_with_the_settings_of_the_page() -> None:
    async with running(config=example("configuration.md", "stockyard.toml")) as s:
        assert s.instance.core.settings.limits.max_concurrent == 200
        assert s.module("cachelayer").settings.ttl_s == 600


def test_the_verifier_of_the_page_is_as_short_as_it_says() -> None:
    assert len(example("ledger.md", "verify.py").splitlines()) <= 22


def test_figures_are_told_with_their_machine() -> None:
    one = {"whole_added_us": 210.4, "stream_added_us": 300.0, "prompt_400kb_added_us": 1900.0}
    many = {"requests_per_s": 10234.4}
    machine = {
        "cpu": "A CPU",
        "cores": 2,
        "python": "3.11.7",
        "at": "2026-02-28T12:00:00",
        "commit": "0123456789abcdef",
    }
    ours = {"modules_on": 6, "one": one, "many_whole": many, "many_stream": many, "idle_rss_mb": 71.2}
    cases = {
        "whole": {"p50_us": 88.0, "beside_p50_us": 9.5, "handed": 1.5, "handed_us": 12.4},
        "32 KB prompt": {"p50_us": 1_250.0, "beside_p50_us": 400.0},
    }
    modules = {"dear": {"whole": 40.2}, "cheap": {"whole": 3.0}, "shared scan": {"whole": 61.0}}
    chain = {
        "machine": machine,
        "defaults": {"modules": 5, "cases": cases},
        "all_plain": {"modules": 11, "cases": cases},
        "all_on": {"modules": 11, "cases": cases, "by_module": modules},
    }
    text = figures(
        {"machine": machine, "stockyard": ours},
        {"machine": machine, "Another": {"one": one, "many_whole": many, "idle_rss_mb": 94.0}},
        chain,
    )
    assert "| 32 KB prompt | 1.250 ms | 1.250 ms | 1.250 ms | 0.400 ms |" in text
    assert "takes 61 us of such a whole call, and 1 modules take more than 15 us by themselves: dear 40." in text
    assert "hands 1.5 jobs to the embedder's thread, which takes 12 us." in text
    assert "| added to a call, one connection, 6 modules on | 0.21 ms |" in text
    assert "| Another | 0.21 ms | 0.30 ms | 1.9 ms | 10,234 | 94 MB |" in text
    assert "A CPU, 2 cores, Python 3.11.7, 2026-02-28, commit `0123456789ab`." in text


async def test_the_endpoints_of_the_page_answer_as_it_says() -> None:
    code = example("endpoints.md", "endpoints.py")
    async with running() as s:
        code = code.replace("http://localhost:4200/v1", s.url).replace("sk-sy-…", s.key)
        found: dict[str, Any] = {}
        await asyncio.to_thread(exec, code, found)
        assert [row.index for row in found["vectors"].data] == [0, 1]
        assert found["picture"].data[0].b64_json
        assert found["spoken"].content[:4] == b"RIFF"
        assert found["written"].text.startswith("transcript of apple.wav")
        assert found["judged"].results[0].flagged is False


async def test_the_walls_of_the_clients_page_are_taken_as_they_stand() -> None:
    async with running() as s:
        http = s.http(s.admin_key)
        wanted = orjson.loads(example("clients.md", "tenantwall.json"))
        answer = await http.put("/api/proxy/modules/tenantwall", json=wanted)
        assert answer.status_code == 200, answer.text
        key = (await http.post("/api/auth/me/keys", json={"name": "acme-app", "client": "acme"})).json()["key"]
        answer = await s.http(key).post("/v1/chat/completions", json={**s.body(), "model": "mock/gpt"})
        assert answer.status_code == 200, answer.text
        assert (await s.chat()).json()["error"]["code"] == "client_required"
