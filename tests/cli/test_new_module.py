"""`stockyard modules new`: what it writes is installed, found and exercised as somebody else's package would be."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from instance.cli import main

COMMAND = str(Path(sys.executable).with_name("stockyard"))
PROGRAM = """
import asyncio, json, sys
from pathlib import Path
from instance.server import Instance, ServeOptions
import httpx2

async def main():
    instance = await Instance.open(ServeOptions(Path(sys.argv[1]), port=0, env={}))
    root = await instance.listen()
    keys = instance.core.first_keys
    admin = {"authorization": f"Bearer {keys.admin}"}
    async with httpx2.AsyncClient(base_url=root, trust_env=False) as http:
        path = "/api/proxy/modules/word_limit"
        await http.put(path, headers=admin, json={"enabled": True, "config": {"forbidden": "secret"}})
        shown = (await http.get(path, headers=admin)).json()
        body = {"model": "mock/gpt", "messages": [{"role": "user", "content": "the secret"}]}
        refused = await http.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {keys.proxy}"})
    await instance.close()
    print(json.dumps([shown["enabled"], refused.status_code, refused.json()["error"]["code"]]))

asyncio.run(main())
"""


def _run(*arguments: str, **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(arguments, capture_output=True, text=True, timeout=120, **more)  # type: ignore[call-overload]


@pytest.mark.slow
def test_a_written_package_passes_its_test_and_its_module_works_once_it_is_installed(tmp_path: Path) -> None:
    package, site = tmp_path / "package", tmp_path / "site"
    done = _run(COMMAND, "modules", "new", "word_limit", "--folder", str(package), "--json")
    assert done.returncode == 0, done.stderr
    assert "test_word_limit.py" in json.loads(done.stdout)["files"]
    tested = _run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=package)
    assert tested.returncode == 0, tested.stdout
    assert "4 passed" in tested.stdout
    typed = _run(sys.executable, "-m", "mypy", "--strict", "--no-incremental", "word_limit.py", cwd=package)
    assert typed.returncode == 0, typed.stdout

    uv = shutil.which("uv", path=f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    installer = [uv, "pip"] if uv else [sys.executable, "-m", "pip"]
    installed = _run(*installer, "install", "--quiet", "--no-deps", "--target", str(site), str(package))
    assert installed.returncode == 0, installed.stderr
    ran = _run(
        sys.executable, "-c", PROGRAM, str(tmp_path / "data"), env={"PYTHONPATH": str(site), "PATH": "/usr/bin:/bin"}
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout.splitlines()[-1]) == [True, 400, "word_limit_refused"]


@pytest.mark.parametrize("name", ["costcap", "Upper", "1st", "class", "a" * 41, "../x"])
def test_a_name_that_cannot_be_writes_nothing(tmp_path: Path, name: str) -> None:
    assert main(["modules", "new", name, "--folder", str(tmp_path / "there")]) == 1
    assert not (tmp_path / "there").exists()


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert main(["modules", "new", "word_limit", "--folder", str(tmp_path)]) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
