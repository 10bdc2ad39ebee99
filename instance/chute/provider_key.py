"""One key of a provider, as an attempt uses it."""

from __future__ import annotations


class ProviderKey:
    """A key by name. `secret` never leaves towards anybody but the provider: no trace, no log, no API shows it."""

    __slots__ = ("name", "secret")

    def __init__(self, name: str, secret: str) -> None:
        self.name = name
        self.secret = secret

    def __repr__(self) -> str:
        return f"ProviderKey({self.name!r})"
