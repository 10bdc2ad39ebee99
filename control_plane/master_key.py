"""The master key: it wraps every tenant's secrets, lies outside the database, and can be exchanged for another.

Beside `master.key` may lie `master.key.new`, of a rotation under way or interrupted, and `master.key.old-N`, keys that were
replaced: secrets are sealed under one of them and opened by whichever fits. So a rotation may end anywhere and every secret
still opens, and so does a backup of the control plane's database that is older than the rotation.
"""

from __future__ import annotations

import hashlib
import os
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path

from control_plane.config import ENV_PREFIX, Config
from control_plane.errors import ConfigError
from instance.core.secrets import KEY_BYTES, SecretBox, SecretError, key_from_text

ENV = ENV_PREFIX + "MASTER_KEY"
ENV_OLD = ENV_PREFIX + "MASTER_KEY_OLD"


class MasterKey:
    """Seals under the first of its keys and opens under any. `file` is None when the environment gives the key."""

    def __init__(self, keys: Sequence[bytes], file: Path | None) -> None:
        self._keys = list(keys)
        self._boxes = [SecretBox(key) for key in keys]
        self.file = file

    @property
    def id(self) -> str:
        """A name for the key that seals, which tells nothing of it."""
        return hashlib.sha256(b"stockyard master key " + self._keys[0]).hexdigest()[:12]

    def seal(self, secret: bytes, context: bytes = b"") -> bytes:
        """The secret encrypted under the present key."""
        return self._boxes[0].seal(secret, context)

    def open(self, sealed: bytes, context: bytes = b"") -> bytes:
        """The secret; raises `SecretError` when no key known here fits."""
        for box in self._boxes[:-1]:
            try:
                return box.open(sealed, context)
            except SecretError:
                continue
        return self._boxes[-1].open(sealed, context)

    def is_current(self, sealed: bytes, context: bytes = b"") -> bool:
        """True if it is sealed under the key that seals now."""
        try:
            self._boxes[0].open(sealed, context)
        except SecretError:
            return False
        return True

    def begin_rotation(self) -> None:
        """Make the next key, or take up that of an interrupted rotation, and seal under it from now on."""
        assert self.file is not None
        path = _new_file(self.file)
        if not path.exists():
            write_private(path, secrets.token_bytes(KEY_BYTES).hex())
        key = _read(path)
        self._keys.insert(0, key)
        self._boxes.insert(0, SecretBox(key))

    def finish_rotation(self) -> Path:
        """The next key becomes the key; where the one before is kept. To be called once nothing is sealed under that one."""
        assert self.file is not None
        text = self.file.read_text(encoding="ascii").strip()
        kept = next((path for path in old_files(self.file) if path.read_text(encoding="ascii").strip() == text), None)
        if kept is None:
            last = max((_number(path) for path in old_files(self.file)), default=0)
            kept = self.file.with_name(f"{self.file.name}.old-{last + 1}")
            write_private(kept, text)
        _new_file(self.file).replace(self.file)
        _sync_folder(self.file.parent)
        return kept

    def is_interrupted(self) -> bool:
        """True if a rotation was begun and not finished."""
        return self.file is not None and _new_file(self.file).exists()


def load_master_key(config: Config, env: Mapping[str, str] | None = None) -> MasterKey:
    """The key is STOCKYARD_CLOUD_MASTER_KEY, else `master_key_file`, made when missing.

    Raises ConfigError when the file is missing beside a database: a new key could not open what the old one sealed.
    """
    given = os.environ if env is None else env
    path = config.master_key_file
    if not given.get(ENV) and not path.exists():
        if config.database_file.exists() and config.database_file.stat().st_size > 0:
            raise ConfigError(f"{path} is missing and {config.database_file} exists: put the master key back")
        write_private(path, secrets.token_bytes(KEY_BYTES).hex())
    try:
        keys = [key_from_text(given[name]) for name in (ENV, ENV_OLD) if given.get(name)]
        if given.get(ENV):
            return MasterKey(keys, None)
        files = [each for each in (_new_file(path), *old_files(path)[::-1]) if each.exists()]
        return MasterKey([_read(path), *keys, *(_read(each) for each in files)], path)
    except ValueError as error:
        raise ConfigError(f"the master key ({path} or {ENV}) cannot be used: {error}") from None


def old_files(path: Path) -> list[Path]:
    """The keys that were replaced, oldest first."""
    return sorted((each for each in path.parent.glob(f"{path.name}.old-*") if _number(each)), key=_number)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read; it appears whole, or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="ascii") as file:
        file.write(text + "\n")
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    _sync_folder(path.parent)


def _new_file(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _number(path: Path) -> int:
    digits = path.name.rpartition(".old-")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else 0


def _read(path: Path) -> bytes:
    return key_from_text(path.read_text(encoding="ascii"))


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
