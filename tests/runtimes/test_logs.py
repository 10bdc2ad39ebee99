"""Following what instances write, on the real engines, and the bounds of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from control_plane.runtimes.log_file import lines_of
from control_plane.runtimes.protocol import LINE_MOST_BYTES
from tests.runtimes.engines import DEADLINE_S, Engine


async def taken(lines: AsyncIterator[str], count: int) -> list[str]:
    """The first lines of a stream that may never end."""
    found: list[str] = []
    stream: Any = lines
    async with asyncio.timeout(DEADLINE_S), aclosing(stream):
        async for line in stream:
            found.append(line)
            if len(found) == count:
                return found
    return found


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["process", pytest.param("docker", marks=pytest.mark.docker)], indirect=True)
async def test_a_log_is_followed_without_a_gap_or_a_repetition(engine: Engine) -> None:
    await engine.started(engine.spec(TOY_TALKS="1"))
    said = await taken(engine.runtime.logs("acme", lines=100, follow=True), 12)
    numbers = [line for line in said if line.startswith("said")]
    first = int(numbers[0].split()[1])
    assert len(numbers) >= 9
    assert numbers == [f"said {number}" for number in range(first, first + len(numbers))]


async def test_a_file_is_followed_over_its_replacement(tmp_path: Path) -> None:
    path = tmp_path / "acme.log"
    path.write_text("one\ntwo\nhal")
    stream = lines_of(path, lines=1, follow=True)
    assert await anext(stream) == "two"
    with path.open("a") as file:
        file.write("f\n")
    assert await anext(stream) == "half"
    path.rename(tmp_path / "acme.log.1")
    path.write_text("new\n")
    assert await anext(stream) == "new"
    await stream.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize("content", ["", "no end", "\n"])
async def test_a_file_without_a_whole_line_has_none(tmp_path: Path, content: str) -> None:
    path = tmp_path / "log"
    path.write_text(content)
    assert [line for line in [each async for each in lines_of(path, lines=5, follow=False)] if line] == []


async def test_a_line_without_end_is_cut(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 1_000_000 + b"\nlast\n")
    long, last = [each async for each in lines_of(path, lines=2, follow=False)]
    assert (len(long), last) == (LINE_MOST_BYTES, "last")


async def test_only_so_many_lines_are_told(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text("".join(f"{number}\n" for number in range(1000)))
    assert [each async for each in lines_of(path, lines=3, follow=False)] == ["997", "998", "999"]
