"""The file that carries an instance: whole, or refused with the reason and nothing written."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest

from instance.core.passphrase import require_passphrase, seal_under
from instance.core.portable import (
    KEYS,
    MANIFEST,
    MEMBERS,
    SECRETS,
    SETTINGS,
    Contents,
    PortableError,
    Source,
    TooLarge,
    pack,
    read_source,
    unpack,
)

PASSPHRASE = "correct horse battery"
SOURCE = Source("hosted", "acme", "0.1.0", "3", 12, "ab" * 32, "2026-02-28T14:30:00Z")
CONTENTS = Contents(SOURCE, {"settings": {"limits": {"messages": 7}}}, [{"id": 1, "name": "first"}], b"k" * 32)
CONTENT = b"SQLite format 3\0" + bytes(range(256)) * 9001


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    database = tmp_path_factory.mktemp("portable") / "stockyard.db"
    database.write_bytes(CONTENT)
    packed = pack(CONTENTS, database, PASSPHRASE)
    written = b"".join(packed.chunks())
    assert len(written) == packed.size
    return written


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "arrived.db"


def read(content: bytes, into: Path, passphrase: str = PASSPHRASE, most: int = 1 << 30) -> Contents:
    return unpack(io.BytesIO(content), passphrase, into, most)


def refused(content: bytes, into: Path, passphrase: str = PASSPHRASE, most: int = 1 << 30) -> str:
    """Why the file is refused; nothing of it is left."""
    with pytest.raises(PortableError) as problem:
        read(content, into, passphrase, most)
    assert list(into.parent.iterdir()) == []
    return str(problem.value)


def rewritten(whole: bytes, change: Callable[[list[tuple[tarfile.TarInfo, bytes]]], None]) -> bytes:
    """The archive written anew by `tarfile`, after a change of its members."""
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        members = [(member, _content(archive, member)) for member in archive]
    change(members)
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return target.getvalue()


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    assert file is not None
    return file.read()


def test_what_was_packed_is_unpacked(whole: bytes, into: Path) -> None:
    assert read(whole, into) == CONTENTS
    assert into.read_bytes() == CONTENT
    assert into.stat().st_mode & 0o777 == 0o600


def test_any_tar_reads_it_and_what_any_tar_wrote_is_read(whole: bytes, into: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        assert tuple(archive.getnames()) == MEMBERS
    assert read(rewritten(whole, lambda members: None), into) == CONTENTS


def test_neither_passphrase_nor_secret_key_lies_in_it(whole: bytes) -> None:
    for secret in (PASSPHRASE.encode(), b"k" * 32, (b"k" * 32).hex().encode()):
        assert secret not in whole


def test_it_says_what_it_is_without_the_passphrase(whole: bytes) -> None:
    assert read_source(io.BytesIO(whole)) == SOURCE
    assert read_source(io.BytesIO(CONTENT)) is None
    assert read_source(io.BytesIO(b"")) is None


def test_another_passphrase_opens_nothing(whole: bytes, into: Path) -> None:
    assert "passphrase" in refused(whole, into, "another passphrase")


@pytest.mark.parametrize("length", [0, 100, 512, 5000, 100_000, -1, -512, -1024])
def test_a_file_that_is_cut_off_is_refused(whole: bytes, into: Path, length: int) -> None:
    assert "cut off" in refused(whole[:length], into)


def test_a_changed_byte_anywhere_is_refused(whole: bytes, into: Path) -> None:
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        members = {member.name: member for member in archive}
    for name, member in members.items():
        for place in (member.offset_data, member.offset_data + member.size // 2, member.offset_data + member.size - 1):
            changed = bytearray(whole)
            changed[place] ^= 1
            assert refused(bytes(changed), into), name


def test_a_changed_manifest_is_refused_also_when_it_fits_the_rest(whole: bytes, into: Path) -> None:
    """Who edits the keys can make the manifest fit, but cannot seal the secrets to it."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        keys = orjson.dumps([{"id": 1, "name": "another"}])
        manifest = orjson.loads(members[0][1])
        manifest["members"][KEYS] = {"bytes": len(keys), "sha256": hashlib.sha256(keys).hexdigest()}
        members[0] = (members[0][0], orjson.dumps(manifest, option=orjson.OPT_INDENT_2))
        members[3] = (members[3][0], keys)

    assert "manifest was changed" in refused(rewritten(whole, change), into)


def test_a_newer_format_is_refused_by_its_number(whole: bytes, into: Path) -> None:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[0] = (members[0][0], orjson.dumps(orjson.loads(members[0][1]) | {"format": 2}))

    assert "format 2" in refused(rewritten(whole, change), into)


@pytest.mark.parametrize("name", ["../../stockyard.db", "/etc/passwd", "other.db"])
def test_a_member_by_another_name_is_refused(whole: bytes, into: Path, name: str) -> None:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[4][0].name = name

    assert "where stockyard.db should be" in refused(rewritten(whole, change), into)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.DIRTYPE])
def test_a_member_that_is_no_file_is_refused(whole: bytes, into: Path, kind: bytes) -> None:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members[4][0].type = kind
        members[4][0].linkname = "/etc/passwd"

    assert refused(rewritten(whole, change), into)


def test_a_member_too_many_is_refused(whole: bytes, into: Path) -> None:
    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        members.append((tarfile.TarInfo("more"), b"x"))

    assert "follows the database" in refused(rewritten(whole, change), into)


def test_a_database_that_is_too_large_is_refused_before_it_is_read(whole: bytes, into: Path) -> None:
    class Watched(io.BytesIO):
        read_bytes = 0

        def read(self, size: int | None = -1, /) -> bytes:
            content = super().read(size)
            Watched.read_bytes += len(content)
            return content

    with pytest.raises(TooLarge):
        unpack(Watched(whole), PASSPHRASE, into, len(CONTENT) - 1)
    assert Watched.read_bytes < 10_000
    assert list(into.parent.iterdir()) == []


@pytest.mark.parametrize("member", [MANIFEST, SECRETS, SETTINGS, KEYS])
def test_a_small_member_that_claims_to_be_large_is_not_read(whole: bytes, into: Path, member: str) -> None:
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        found = archive.getmember(member)
    head = tarfile.TarInfo(member)
    head.size = 1 << 40
    changed = whole[: found.offset] + head.tobuf(tarfile.GNU_FORMAT) + whole[found.offset + 512 :]
    assert "at most" in refused(changed, into)


def test_a_cost_that_the_file_chooses_is_refused(whole: bytes, into: Path) -> None:
    """A file must not make its reader compute for hours."""

    def change(members: list[tuple[tarfile.TarInfo, bytes]]) -> None:
        sealed: dict[str, Any] = orjson.loads(members[1][1])
        sealed["kdf"]["n"] = 1 << 30
        members[1] = (members[1][0], orjson.dumps(sealed))

    assert refused(rewritten(whole, change), into)


def test_the_same_secret_is_sealed_differently_each_time() -> None:
    first, second = (seal_under(PASSPHRASE, b"secret", b"context") for _ in range(2))
    assert (first["salt"], first["sealed"]) != (second["salt"], second["sealed"])


@pytest.mark.parametrize("weak", ["", "short", "x" * 1025])
def test_a_passphrase_that_protects_nothing_is_refused(weak: str) -> None:
    with pytest.raises(ValueError, match="12 to 1024"):
        require_passphrase(weak)


def test_what_it_says_of_itself_shows_no_secret() -> None:
    assert "6b6b" not in repr(CONTENTS)
    assert "kkk" not in repr(CONTENTS)
