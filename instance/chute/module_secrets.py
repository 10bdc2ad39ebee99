"""Settings of modules that are secrets: sealed at rest, shown by their last four characters, kept when sent back so."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import PlainSerializer, SecretStr

from instance.core.secrets import SecretBox, SecretError

MASK = "…"
SHOWN_CHARACTERS = 4
SHOWN_FROM_CHARACTERS = 12
"""A shorter secret shows nothing of itself."""
_SEALED = "$sealed"


def masked(secret: str) -> str:
    """What is shown of a secret."""
    if not secret:
        return ""
    return MASK + (secret[-SHOWN_CHARACTERS:] if len(secret) >= SHOWN_FROM_CHARACTERS else "")


SecretText = Annotated[
    SecretStr, PlainSerializer(lambda value: masked(value.get_secret_value()), return_type=str, when_used="json")
]
"""Type of a secret in a module's `Settings`; its field is named in the module's `secret_settings`."""


def sealed(config: Any, fields: frozenset[str], box: SecretBox, context: bytes) -> Any:
    """The settings with every secret sealed, for storage. `context` binds them to their module."""
    return _mapped(config, fields, lambda secret: {_SEALED: _text(box.seal(secret.encode(), context))})


def opened(config: Any, fields: frozenset[str], box: SecretBox, context: bytes) -> Any:
    """The stored settings with every secret opened; one that was sealed under another key becomes empty."""

    def open_one(value: Any) -> Any:
        if not isinstance(value, dict) or _SEALED not in value:
            return value
        try:
            return box.open(base64.b64decode(value[_SEALED]), context).decode()
        except SecretError:
            return ""

    return _mapped(config, fields, open_one)


def kept(asked: Any, before: Any, fields: frozenset[str]) -> Any:
    """`asked` with the secrets of `before` where it has none, or what was shown of them: as a form sends settings back."""
    if isinstance(asked, dict):
        known: Mapping[str, Any] = before if isinstance(before, dict) else {}
        out = {name: kept(value, known.get(name), fields) for name, value in asked.items()}
        for name in fields & known.keys():
            if isinstance(known[name], str) and asked.get(name, masked(known[name])) == masked(known[name]):
                out[name] = known[name]
        return out
    if isinstance(asked, list):
        rows = {_identity(row): row for row in before if isinstance(row, dict)} if isinstance(before, list) else {}
        return [kept(row, rows.get(_identity(row)), fields) for row in asked]
    return asked


def hidden(config: Any, fields: frozenset[str]) -> Any:
    """The settings with every secret as it is shown."""
    return _mapped(config, fields, lambda secret: masked(secret) if isinstance(secret, str) else MASK)


def holds_secret(config: Any, fields: frozenset[str]) -> bool:
    """Whether a secret stands in the settings."""
    if isinstance(config, dict):
        return any((name in fields and bool(value)) or holds_secret(value, fields) for name, value in config.items())
    return isinstance(config, list) and any(holds_secret(row, fields) for row in config)


def _identity(row: Any) -> tuple[str, ...] | None:
    """What a row of a list is known by, when its secrets are looked for in the list of before."""
    return tuple(str(row.get(name)) for name in ("id", "name", "provider")) if isinstance(row, dict) else None


def _mapped(node: Any, fields: frozenset[str], change: Any) -> Any:
    if isinstance(node, dict):
        return {
            name: change(value)
            if name in fields and (isinstance(value, str) or (isinstance(value, dict) and _SEALED in value))
            else _mapped(value, fields, change)
            for name, value in node.items()
        }
    return [_mapped(value, fields, change) for value in node] if isinstance(node, list) else node


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
