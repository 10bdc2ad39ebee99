"""The file that carries a whole instance from one place to another: `NAME.stockyard`, described in docs/moving.md.

A tar archive with exactly these members, in this order: `manifest.json`, `secrets.sealed`, `settings.json`, `keys.json`,
`stockyard.db`. The manifest holds length and SHA-256 of those behind the sealed one, and is itself bound to it as the
associated data of its cipher: who opens the secrets knows that every other byte is as it was written. Any `tar` can list and
extract it. Written and read as a stream, so that a large database takes no memory.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, BinaryIO

import orjson

from instance.core.passphrase import open_under, seal_under
from instance.core.secrets import KEY_BYTES, SecretError

FORMAT = 1
SUFFIX = ".stockyard"
MEDIA_TYPE = "application/vnd.stockyard"
MANIFEST, SECRETS, SETTINGS, KEYS, DATABASE = MEMBERS = (
    "manifest.json",
    "secrets.sealed",
    "settings.json",
    "keys.json",
    "stockyard.db",
)
SMALL_MAX_BYTES = {MANIFEST: 64 << 10, SECRETS: 64 << 10, SETTINGS: 1 << 20, KEYS: 32 << 20}
OVERHEAD_MAX_BYTES = sum(SMALL_MAX_BYTES.values()) + (64 << 10)
"""What a file may be larger than its database."""
DATABASE_MAX_BYTES = 1 << 40
_CHUNK = 1 << 20
_BLOCK = tarfile.BLOCKSIZE


class PortableError(Exception):
    """The file cannot be used; the message says why."""


class TooLarge(PortableError):
    """Its database is larger than is allowed here."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where an instance comes from. `origin` is `hosted` or `self-hosted`, `name` its slug or machine."""

    origin: str
    name: str
    version: str
    epoch: str
    ledger_seq: int
    ledger_hash: str
    made_at: str


@dataclass(frozen=True, slots=True)
class Contents:
    """What is packed beside the database."""

    source: Source
    settings: dict[str, Any]
    keys: list[dict[str, Any]]
    secret_key: bytes

    def __repr__(self) -> str:
        return f"Contents({self.source!r}, …)"


@dataclass(frozen=True, slots=True)
class Packed:
    """A file about to be written: `size` bytes in all, its parts in `chunks()`."""

    size: int
    _head: bytes
    _database: Path
    _database_bytes: int

    def chunks(self) -> Iterator[bytes]:
        """The whole file, a megabyte at a time. Raises `PortableError` when the database was cut meanwhile."""
        yield self._head
        left = self._database_bytes
        with self._database.open("rb") as file:
            while left:
                chunk = file.read(min(_CHUNK, left))
                if not chunk:
                    raise PortableError("the copy of the database was cut while it was read")
                left -= len(chunk)
                yield chunk
        yield bytes(-self._database_bytes % _BLOCK + 2 * _BLOCK)


def pack(contents: Contents, database: Path, passphrase: str) -> Packed:
    """A file with these contents and a database at rest, which is read once for its hash and once more as it is written."""
    small = {SETTINGS: orjson.dumps(contents.settings), KEYS: orjson.dumps(contents.keys)}
    described = {name: _described(len(content), hashlib.sha256(content)) for name, content in small.items()}
    size, digest = _hash_of(database)
    described[DATABASE] = _described(size, digest)
    manifest = orjson.dumps(
        {"format": FORMAT, **asdict(contents.source), "members": described}, option=orjson.OPT_INDENT_2
    )
    sealed = seal_under(passphrase, orjson.dumps({"secret_key": contents.secret_key.hex()}), _context(manifest))
    parts = {MANIFEST: manifest, SECRETS: orjson.dumps(sealed), **small}
    for name, content in parts.items():
        if len(content) > SMALL_MAX_BYTES[name]:
            raise PortableError(f"{name} would be larger than {SMALL_MAX_BYTES[name]} bytes")
    head = b"".join(_header(name, len(part)) + part + bytes(-len(part) % _BLOCK) for name, part in parts.items())
    head += _header(DATABASE, size)
    return Packed(len(head) + size + -size % _BLOCK + 2 * _BLOCK, head, database, size)


def unpack(file: BinaryIO, passphrase: str, into: Path, database_max_bytes: int = DATABASE_MAX_BYTES) -> Contents:
    """Check the whole file and write its database to `into`, a new file (0600) that is there only when all of it holds.

    Raises `PortableError` saying what is wrong, `TooLarge` for its database before any of it is read.
    """
    reader = _Reader(file)
    manifest = reader.small(MANIFEST)
    described = _read_manifest(manifest)
    size = described["members"][DATABASE]["bytes"]
    if size > database_max_bytes:
        raise TooLarge(f"its database has {size} bytes; {database_max_bytes} are allowed")
    secret_key = _open_secrets(reader.small(SECRETS), passphrase, manifest)
    settings, keys = (_checked_json(name, reader.small(name), described) for name in (SETTINGS, KEYS))
    if not isinstance(settings, dict) or not isinstance(keys, list):
        raise PortableError("its settings or keys are not what they should be")
    reader.to_file(DATABASE, described["members"][DATABASE], into)
    source = Source(**{name: described[name] for name in Source.__dataclass_fields__})
    return Contents(source, settings, keys, secret_key)


def read_source(file: BinaryIO) -> Source | None:
    """What the file says of itself, not yet checked; `None` when it is no such file. Raises `PortableError` for a newer one."""
    head = file.read(_BLOCK)
    file.seek(0)
    try:
        if tarfile.TarInfo.frombuf(head, "utf-8", "strict").name != MANIFEST:
            return None
    except (tarfile.HeaderError, UnicodeDecodeError):
        return None
    described = _read_manifest(_Reader(file).small(MANIFEST))
    file.seek(0)
    return Source(**{name: described[name] for name in Source.__dataclass_fields__})


class _Reader:
    """Plain members in the one order that there is; nothing is extracted by a name that the file gives."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def small(self, name: str) -> bytes:
        size = self._header(name)
        if size > SMALL_MAX_BYTES[name]:
            raise PortableError(f"{name} has {size} bytes; at most {SMALL_MAX_BYTES[name]} are read")
        content = self._exactly(size)
        self._exactly(-size % _BLOCK)
        return content

    def to_file(self, name: str, described: dict[str, Any], into: Path) -> None:
        size = self._header(name)
        if size != described["bytes"]:
            raise PortableError(f"{name} is not as long as the manifest says")
        digest = hashlib.sha256()
        descriptor = os.open(into, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with os.fdopen(descriptor, "wb") as target:
                left = size
                while left:
                    chunk = self._exactly(min(_CHUNK, left))
                    digest.update(chunk)
                    target.write(chunk)
                    left -= len(chunk)
                target.flush()
                os.fsync(descriptor)
            self._exactly(-size % _BLOCK)
            if any(self._exactly(2 * _BLOCK)) or any(iter(self._rest, b"")):
                raise PortableError("something follows the database")
            if digest.hexdigest() != described["sha256"]:
                raise PortableError(f"{name} is damaged: its hash is not the manifest's")
        except BaseException:
            into.unlink(missing_ok=True)
            raise

    def _header(self, name: str) -> int:
        try:
            member = tarfile.TarInfo.frombuf(self._exactly(_BLOCK), "utf-8", "strict")
        except (tarfile.HeaderError, UnicodeDecodeError):
            raise PortableError(
                f"it is damaged, or no file of Stockyard's: where {name} should begin is none"
            ) from None
        if member.name != name or not member.isreg():
            raise PortableError(f"it holds {member.name[:100]!r} where {name} should be")
        if member.size < 0:
            raise PortableError(f"{name} has no length")
        return member.size

    def _exactly(self, size: int) -> bytes:
        content = self._file.read(size)
        if len(content) != size:
            raise PortableError("it is cut off")
        return content

    def _rest(self) -> bytes:
        """What follows the end of the archive: some writers fill it up with zeros."""
        return self._file.read(_CHUNK).strip(b"\0")


def _read_manifest(content: bytes) -> dict[str, Any]:
    found: dict[str, Any] = _json(MANIFEST, content)
    version = found.get("format") if isinstance(found, dict) else None
    if type(version) is not int or version < 1:
        raise PortableError("its manifest names no format")
    if version > FORMAT:
        raise PortableError(f"it has format {version}, this version reads up to {FORMAT}: install a newer Stockyard")
    plain = {name: found.get(name) for name in Source.__dataclass_fields__}
    members = found.get("members")
    if (
        any(type(value) is not (int if name == "ledger_seq" else str) for name, value in plain.items())
        or not isinstance(members, dict)
        or not all(_is_description(members.get(name)) for name in (SETTINGS, KEYS, DATABASE))
    ):
        raise PortableError("its manifest is incomplete")
    return found


def _is_description(found: Any) -> bool:
    return (
        isinstance(found, dict)
        and type(found.get("bytes")) is int
        and found["bytes"] >= 0
        and type(found.get("sha256")) is str
    )


def _open_secrets(content: bytes, passphrase: str, manifest: bytes) -> bytes:
    try:
        opened = _json(SECRETS, open_under(passphrase, _json(SECRETS, content), _context(manifest)))
        key = bytes.fromhex(opened["secret_key"])
    except SecretError:
        message = "the passphrase is not the one it was made with, or its manifest was changed"
        raise PortableError(message) from None
    except (KeyError, TypeError, ValueError):
        raise PortableError("its sealed secrets are not what they should be") from None
    if len(key) != KEY_BYTES:
        raise PortableError("its secret key has the wrong length")
    return key


def _checked_json(name: str, content: bytes, manifest: dict[str, Any]) -> Any:
    if hashlib.sha256(content).hexdigest() != manifest["members"][name]["sha256"]:
        raise PortableError(f"{name} is damaged: its hash is not the manifest's")
    return _json(name, content)


def _json(name: str, content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except ValueError:
        raise PortableError(f"{name} is damaged: it is no JSON") from None


def _context(manifest: bytes) -> bytes:
    return b"stockyard portable 1\0" + hashlib.sha256(manifest).digest()


def _hash_of(path: Path) -> tuple[int, hashlib._Hash]:
    digest, size = hashlib.sha256(), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size, digest


def _described(size: int, digest: hashlib._Hash) -> dict[str, Any]:
    return {"bytes": size, "sha256": digest.hexdigest()}


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o600
    return member.tobuf(tarfile.GNU_FORMAT)
