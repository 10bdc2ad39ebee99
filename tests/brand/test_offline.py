"""An export is verified without the instance, and any change of it is named."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from instance.brand.chain import Verdict
from instance.brand.offline import NotAnExport, verify_file
from tests.opened import opened

ENTRIES = 12


async def _exports() -> dict[str, bytes]:
    async with opened() as one:
        for n in range(ENTRIES):
            one.record(key_id=str(n % 2), model=f"gpt-{n}")
        await one.folded()
        async with one.client() as client:
            queries = {"whole": "", "part": "?from_seq=4&to_seq=8", "filtered": "?actor=key:1", "none": "?from_seq=99"}
            answers = {name: await client.get(f"/api/trust/export{query}") for name, query in queries.items()}
        return {name: answer.content for name, answer in answers.items()}


@pytest.fixture(scope="module")
def exports() -> Iterator[dict[str, bytes]]:
    yield asyncio.run(_exports())


def verdict_of(folder: Path, content: bytes, public_key: str | None = None) -> Verdict:
    file = folder / "ledger.ndjson"
    file.write_bytes(content)
    return verify_file(file, public_key)


@pytest.mark.parametrize(
    ("name", "checked"), [("whole", ENTRIES), ("part", 5), ("filtered", ENTRIES // 2), ("none", 0)]
)
def test_an_untouched_export_holds(exports: dict[str, bytes], tmp_path: Path, name: str, checked: int) -> None:
    verdict = verdict_of(tmp_path, exports[name])
    assert (verdict.valid, verdict.checked) == (True, checked)


def test_a_changed_byte_anywhere_in_an_entry_is_named_at_that_entry(exports: dict[str, bytes], tmp_path: Path) -> None:
    lines = exports["whole"].splitlines(keepends=True)
    chance = random.Random(3)
    for _ in range(150):
        number = chance.randrange(1, len(lines))
        line = bytearray(lines[number])
        place = chance.randrange(len(line) - 1)
        line[place] = chance.choice([byte for byte in range(33, 127) if byte != line[place]])
        verdict = verdict_of(tmp_path, b"".join([*lines[:number], bytes(line), *lines[number + 1 :]]))
        assert not verdict.valid, (number, place, bytes(line))
        assert verdict.broken_at is not None
        assert verdict.broken_at in (number, orjson.loads(lines[number])["seq"]), (verdict, bytes(line))


def test_a_changed_byte_in_the_header_is_found(exports: dict[str, bytes], tmp_path: Path) -> None:
    header, rest = exports["whole"].split(b"\n", 1)
    chance = random.Random(4)
    for _ in range(200):
        changed = bytearray(header)
        place = chance.randrange(len(changed))
        changed[place] = chance.choice([byte for byte in range(33, 127) if byte != changed[place]])
        try:
            assert not verdict_of(tmp_path, bytes(changed) + b"\n" + rest).valid, bytes(changed)
        except NotAnExport:
            pass


def test_a_dropped_line_is_named(exports: dict[str, bytes], tmp_path: Path) -> None:
    lines = exports["whole"].splitlines(keepends=True)
    verdict = verdict_of(tmp_path, b"".join(lines[:5] + lines[6:]))
    assert (verdict.broken_at, verdict.reason) == (5, "gap")


def test_a_cut_end_is_named(exports: dict[str, bytes], tmp_path: Path) -> None:
    lines = exports["whole"].splitlines(keepends=True)
    verdict = verdict_of(tmp_path, b"".join(lines[:-2]))
    assert (verdict.broken_at, verdict.reason) == (ENTRIES - 1, "gap")


def test_a_line_that_breaks_off_is_named(exports: dict[str, bytes], tmp_path: Path) -> None:
    verdict = verdict_of(tmp_path, exports["whole"][:-30])
    assert (verdict.broken_at, verdict.reason) == (ENTRIES, "hash_mismatch")


def test_swapped_lines_are_named(exports: dict[str, bytes], tmp_path: Path) -> None:
    lines = exports["whole"].splitlines(keepends=True)
    lines[3], lines[4] = lines[4], lines[3]
    verdict = verdict_of(tmp_path, b"".join(lines))
    assert (verdict.broken_at, verdict.reason) == (3, "gap")


def test_another_signer_is_refused_when_the_key_is_known(exports: dict[str, bytes], tmp_path: Path) -> None:
    own = orjson.loads(exports["whole"].splitlines()[0])["public_key"]
    assert verdict_of(tmp_path, exports["whole"], own).valid
    assert verdict_of(tmp_path, exports["whole"], "ab" * 32).reason == "bad_signature"


@pytest.mark.parametrize("content", [b"", b"hello\n", b"[1]\n", b'{"format":"other"}\n', b"\xff\xfe\n", b'{"seq":1}\n'])
def test_what_is_no_export_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(NotAnExport):
        verdict_of(tmp_path, content)
