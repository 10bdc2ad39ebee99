"""Keys the control plane makes, and the operator's own."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from control_plane.config import ENV_PREFIX, Config
from control_plane.errors import ConfigError
from control_plane.master_key import write_private
from instance.core.keys import display, hash_key, make_key, require_given


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
    write_private(path, text)
    return text, True
