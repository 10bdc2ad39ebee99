"""A process that appends and folds is killed at random points; nothing that was appended is lost or folded twice."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.core.appender import text_of
from tests.core.conftest import Stack

KILLS = 30
SEED = 20_260_228


def run_and_kill(folder: Path, after_s: float) -> list[int]:
    """The sequences whose append had returned when the process was killed."""
    command = [sys.executable, "-m", "tests.core.appender", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        descriptor = process.stdout.fileno()
        output = b""
        kill_at = float("inf")
        while time.monotonic() < kill_at:
            if select.select([descriptor], [], [], max(0.0, min(5.0, kill_at - time.monotonic())))[0]:
                block = os.read(descriptor, 1 << 16)
                assert block, "the process ended by itself"
                output += block
                if kill_at == float("inf"):
                    assert output.startswith(b"ready\n")
                    kill_at = time.monotonic() + after_s
        process.send_signal(signal.SIGKILL)
        while block := os.read(descriptor, 1 << 16):
            output += block
    whole, _, _ = output.rpartition(b"\n")
    return [int(line) for line in whole.split(b"\n")[1:]]


@pytest.mark.slow
async def test_after_kill_9_at_any_point_every_record_is_folded_exactly_once(tmp_path: Path) -> None:
    chance = random.Random(SEED)
    confirmed: list[int] = []
    for _ in range(KILLS):
        confirmed += run_and_kill(tmp_path, chance.choice([0, 0.01, 0.05, chance.uniform(0, 0.3)]))
    stack = Stack(tmp_path)
    stack.writer.start()
    await stack.writer.drain()
    rows = await stack.rows()
    folded = [sequence for sequence, _ in rows]
    assert folded == list(range(1, len(folded) + 1)), "each once, in order, without a gap"
    assert set(confirmed) <= set(folded)
    assert len(confirmed) > KILLS
    assert len(folded) - len(confirmed) <= KILLS, "at most the one that was being confirmed at each kill"
    assert all(text.encode() == text_of(sequence) for sequence, text in rows)
    await stack.close()
    assert [path.name for path in (tmp_path / "journal").iterdir()] == ["reserve"]
