"""Every test of the protocol runs against each engine."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.runtimes.engines import TOY, Engine, docker_engine, process_engine, simulated_engine

ROOT = Path(__file__).resolve().parents[2]
BASE = "python:3.11-slim"
IMAGE = "stockyard-toy-instance"
DOCKERFILE = f"FROM {BASE}\nCOPY {TOY.name} /toy.py\nRUN printf '#!/bin/sh\\nexec python3 /toy.py \"$@\"\\n' \
> /usr/local/bin/stockyard && chmod 755 /usr/local/bin/stockyard /toy.py\n"


@pytest.fixture(
    params=[
        "simulated",
        pytest.param("process", marks=pytest.mark.slow),
        pytest.param("docker", marks=[pytest.mark.slow, pytest.mark.docker]),
    ]
)
async def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    """One engine, empty."""
    if request.param == "docker":
        engines = docker_engine(request.getfixturevalue("toy_image"))
    else:
        engines = simulated_engine() if request.param == "simulated" else process_engine(monkeypatch)
    async with engines as made:
        yield made


@pytest.fixture
async def processes(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Engine]:
    """The process engine."""
    async with process_engine(monkeypatch) as made:
        yield made


@pytest.fixture
async def containers(toy_image: str) -> AsyncIterator[Engine]:
    """The Docker engine."""
    async with docker_engine(toy_image) as made:
        yield made


@pytest.fixture(scope="session")
def toy_image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """An image whose `stockyard` is the toy."""
    if subprocess.run(["docker", "image", "inspect", BASE], capture_output=True, timeout=60).returncode:
        subprocess.run([str(ROOT / "deploy" / "build-image.sh"), "--if-missing"], check=True, timeout=900)
    folder = tmp_path_factory.mktemp("toy")
    (folder / TOY.name).write_bytes(TOY.read_bytes())
    (folder / "Dockerfile").write_text(DOCKERFILE)
    build = ["docker", "build", "-q", "-t", IMAGE, str(folder)]
    subprocess.run(build, check=True, capture_output=True, timeout=300)
    yield IMAGE
    subprocess.run(["docker", "rmi", "-f", IMAGE], capture_output=True, timeout=60)
