"""What every test shares: how a part of the machine that is missing is treated."""

import gc
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
import typer.main
from hypothesis import HealthCheck, settings

from instance.chute.discovery import custom_modules
from instance.chute.embedding import embedder

REQUIRED = {part for part in os.environ.pop("STOCKYARD_REQUIRE", "").split(",") if part}
"""Taken out of the environment: an instance refuses a STOCKYARD_ variable that is no setting."""


settings.register_profile("untimed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("untimed")
"""A machine that others use too is no defect of what is tested."""

gc.disable()
"""Nothing of what is imported for the tests is garbage; `pytest_collection_finish` enables it."""

typer.main.get_command = cache(typer.main.get_command)
"""A command's tree of verbs and options is built once; each call would build it again."""

embedder._Model = cache(embedder._Model)  # type: ignore[misc,assignment]
"""The packaged model is read from its files once, not for each embedder: a third of a second each time. It never changes."""

SLOW = re.compile(r"^pytestmark = \[?\s*pytest\.mark\.slow\b", re.MULTILINE)
"""In a file whose every test is slow."""
RUNNING = re.compile(r"^from tests\.modules\.conftest import (?:\([^)]*|.*)\brunning\b", re.MULTILINE)
INTEGRATION = (
    "contract/*.py",
    "mock_upstream/*.py",
    "dialects/*/test_*over_*.py",
    "dialects/openai_responses/test_stored.py",
    "dialects/test_odd_requests.py",
    "modules/test_*shim.py",
    "modules/test_*_over_http.py",
    "modules/test_loadbalancer.py",
    "modules/test_misbehaving_providers.py",
)
"""Tests that put whole instances in front of the mock upstream, a second for every few of them: by their files, and all that import
`tests.modules.conftest.running`, which is seen without importing them."""


@pytest.fixture
def other_packages() -> Iterator[None]:
    """Modules of other packages are looked for anew in this test, and again after it; a process does that once."""
    custom_modules.cache_clear()
    yield
    custom_modules.cache_clear()


@cache
def _has_whole_instances(file: Path) -> bool:
    root = Path(__file__).parent
    path = file.relative_to(root) if file.is_relative_to(root) else file
    if path.suffix != ".py":
        return False
    return any(path.match(pattern) for pattern in INTEGRATION) or RUNNING.search(file.read_text()) is not None


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """A file whose every test is left out by `-m` is not imported either: its SDKs take seconds."""
    terms = [term.strip() for term in config.getoption("markexpr").split(" and ")]
    if "not integration" in terms and _has_whole_instances(collection_path):
        return True
    is_slow = "not slow" in terms and collection_path.suffix == ".py" and SLOW.search(collection_path.read_text())
    return True if is_slow else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _has_whole_instances(item.path):
            item.add_marker(pytest.mark.integration)


def pytest_collection_finish() -> None:
    """What every test shares is looked at no more: each full collection would else walk a million objects, for half a second."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)
    gc.enable()


@cache
def docker_problem() -> str:
    """Why Docker cannot be used here; empty when it can."""
    if shutil.which("docker") is None:
        return "the command `docker` is missing"
    answer = subprocess.run(["docker", "version"], capture_output=True, text=True)
    return "" if answer.returncode == 0 else "no Docker engine answers"


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("docker") is not None and (problem := docker_problem()):
        if "docker" in REQUIRED:
            pytest.fail(f"{problem}, and STOCKYARD_REQUIRE asks for it")
        pytest.skip(problem)
