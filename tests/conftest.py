"""What every test shares: how a part of the machine that is missing is treated."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from instance.chute.discovery import custom_modules

REQUIRED = {part for part in os.environ.pop("STOCKYARD_REQUIRE", "").split(",") if part}
"""Taken out of the environment: an instance refuses a STOCKYARD_ variable that is no setting."""


RUNNING = "tests.modules.conftest"
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
"""Tests that put whole instances in front of the mock upstream, a second for every few of them: by their files, and all that use
`tests.modules.conftest.running`."""


@pytest.fixture
def other_packages() -> Iterator[None]:
    """Modules of other packages are looked for anew in this test, and again after it; a process does that once."""
    custom_modules.cache_clear()
    yield
    custom_modules.cache_clear()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    root = Path(__file__).parent
    for item in items:
        path = item.path.relative_to(root) if item.path.is_relative_to(root) else item.path
        whole = getattr(getattr(item, "module", None), "running", None)
        if any(path.match(pattern) for pattern in INTEGRATION) or getattr(whole, "__module__", "") == RUNNING:
            item.add_marker(pytest.mark.integration)


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
