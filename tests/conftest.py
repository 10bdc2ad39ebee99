"""What every test shares: how a part of the machine that is missing is treated."""

import os
import shutil
import subprocess
from functools import cache

import pytest

REQUIRED = {part for part in os.environ.pop("STOCKYARD_REQUIRE", "").split(",") if part}
"""Taken out of the environment: an instance refuses a STOCKYARD_ variable that is no setting."""


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
