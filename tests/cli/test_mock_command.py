"""`stockyard mock`: the environment that it prints, and that what it names is served."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from urllib.parse import urlsplit

import httpx2
import pytest

from instance.chute.provider_spec import bundled_providers, merged_specs
from instance.commands.mock import environment_of
from instance.mock_upstream.dialects import by_path
from tests.mock_upstream import MockUpstream
from tests.mock_upstream.talk import DIALECTS


def variables(lines: list[str]) -> dict[str, str]:
    return dict(re.fullmatch(r"export ([A-Z_]+)=(\S+)", line).groups() for line in lines if line.startswith("export "))  # type: ignore[union-attr]


async def test_every_provider_with_a_dialect_of_its_own_is_in_the_environment() -> None:
    async with MockUpstream() as upstream:
        environ = variables(environment_of(upstream))
        specs = merged_specs({}, {}, environ)
        own = {name for name, row in bundled_providers().items() if row.get("type") == name} | {"openai"}
        for name in own:
            assert specs[name].base_url.startswith(upstream.root), name
            assert specs[name].usable or name == "ollama", name
            dialect, _ = by_path(urlsplit(specs[name].base_url + "/x").path)
            assert dialect.name == name


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "instance.cli", "mock", "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        head = process.stdout.readline()
        root = re.search(r"mock providers on (http://127\.0\.0\.1:\d+);", head)
        assert root is not None, head
        for dialect in DIALECTS.values():
            answer = httpx2.post(root[1] + dialect.path, json=dialect.body("hi there", False), headers=dialect.headers)
            assert dialect.read(answer.json()).text == "echo: hi there"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_a_port_that_is_taken_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    from instance.cli import main

    with MockUpstream.in_thread() as upstream:
        assert main(["mock", "--port", str(upstream.port)]) == 1
    assert f"cannot listen on 127.0.0.1:{upstream.port}" in capfd.readouterr().err
