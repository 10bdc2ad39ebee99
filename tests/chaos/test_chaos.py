"""A minute of misfortunes on an engine of its own, another one each time: the seed is printed with what was seen."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cloud.conftest import build_image

pytestmark = [pytest.mark.slow, pytest.mark.docker]
DEADLINE_S = 900


def test_after_a_minute_of_misfortunes_everything_holds(capsys: pytest.CaptureFixture[str]) -> None:
    build_image()
    with subprocess.Popen(
        [sys.executable, "-m", "tests.chaos", "--minutes", "1", "--tenants", "8"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            said, _ = process.communicate(timeout=DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.terminate()
            said, _ = process.communicate(timeout=120)
    with capsys.disabled():
        print(f"\n{said}")
    assert process.returncode == 0, said
