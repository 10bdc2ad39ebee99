from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.cloud.service import Service, Tenant

REPOSITORY = Path(__file__).parents[2]

CANARY = "of-the-operator-and-nobody-else"  # in the environment of `up`


@cache
def build_image() -> None:
    """The instances' image from the tree as it is, once a run; STOCKYARD_TEST_IMAGE names one that is built already."""
    if os.environ.get("STOCKYARD_TEST_IMAGE"):
        return
    subprocess.run([REPOSITORY / "deploy" / "build-image.sh"], check=True, stdout=subprocess.DEVNULL, timeout=600)


@pytest.fixture(
    scope="session",
    params=["process", pytest.param("docker", marks=pytest.mark.docker)],
)
def runtime(request: pytest.FixtureRequest) -> str:
    """Every test of the cloud runs on both engines."""
    if request.param == "docker":
        build_image()
    name: str = request.param
    return name


@pytest.fixture(scope="session")
def service(runtime: str) -> Iterator[Service]:
    service = Service(runtime, OPERATORS_CANARY=CANARY)
    service.start()
    yield service
    service.remove()


@pytest.fixture(scope="session")
def acme(service: Service) -> Tenant:
    return service.create("acme")
