"""Keys the control plane makes and the two it lives by: the operator's key and the master key."""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from control_plane.config import ENV_PREFIX, Config
from control_plane.errors import ConfigError
from instance.core.keys import display, hash_key, make_key, require_given
from instance.core.secrets import KEY_BYTES, SecretBox, key_from_text


@dataclass(frozen=True, slots=True)
class NewKeyText:
    """A key that was just made: its text, to be shown once, and what is kept of it."""

    text: str = field(repr=False)
    sha256: str  # hex
    prefix: str  # display form


def new_key(kind: str) -> NewKeyText:
    """A key of a kind of `instance.core.keys`."""
    text = make_key(kind)
    return NewKeyText(text, digest(text), display(text))


def digest(key: str) -> str:
    """The SHA-256 of a key, hexadecimal, as it is stored."""
    return hash_key(key).hex()


def operator_key(config: Config, env: Mapping[str, str] | None = None) -> tuple[str, bool]:
    """The operator's key from the environment, else its file, else a new one in that file; True when just made."""
    given = (os.environ if env is None else env).get(ENV_PREFIX + "OPERATOR_KEY")
    if given:
        try:
            return require_given(given, "operator"), False
        except ValueError as error:
            raise ConfigError(f"{ENV_PREFIX}OPERATOR_KEY: {error}") from None
    path = config.operator_key_file
    if path.exists():
        return path.read_text(encoding="ascii").strip(), False
    text = make_key("operator")
    _write_private(path, text)
    return text, True


def master_box(config: Config, env: Mapping[str, str] | None = None) -> SecretBox:
    """What wraps tenants' secrets. The key is STOCKYARD_CLOUD_MASTER_KEY, else `master_key_file`, made when missing.

    Raises ConfigError when the file is missing beside a database: a new key could not open what the old one sealed.
    """
    given = (os.environ if env is None else env).get(ENV_PREFIX + "MASTER_KEY")
    path = config.master_key_file
    if not given and not path.exists():
        if config.database_file.exists() and config.database_file.stat().st_size > 0:
            raise ConfigError(f"{path} is missing and {config.database_file} exists: put the master key back")
        _write_private(path, secrets.token_bytes(KEY_BYTES).hex())
    try:
        return SecretBox(key_from_text(given or path.read_text(encoding="ascii")))
    except ValueError as error:
        raise ConfigError(f"the master key ({path} or {ENV_PREFIX}MASTER_KEY) cannot be used: {error}") from None


def _write_private(path: Path, text: str) -> None:
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
