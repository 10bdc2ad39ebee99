"""Own names for models: the aliases in force, and what a name stands for. Their one home; modelalias reads them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import re2

from instance.core.errors import StockyardError
from instance.core.settings import AliasSettings

if TYPE_CHECKING:
    from instance.core.principals import Principal

CHAIN_MAX = 5
_CAPTURE = re.compile(r"\$([1-9])")
_WILD = frozenset("*?")


class Alias:
    """One alias, compiled. `origin` is `stored`, `file` or `module`."""

    __slots__ = ("entry", "name", "origin", "pattern")

    def __init__(self, name: str, entry: AliasSettings, origin: str) -> None:
        self.name = name
        self.entry = entry
        self.origin = origin
        self.pattern = re2.compile(_captures(name)) if _WILD & set(name) else None

    def is_named(self, model: str) -> bool:
        """Whether the name is this alias's, whoever asks."""
        return self.pattern.fullmatch(model) is not None if self.pattern is not None else model == self.name

    def fits(self, model: str, team: str, principal: Principal | None) -> bool:
        """Whether a caller's name is this alias."""
        if not self.is_named(model):
            return False
        entry = self.entry
        if entry.teams and not any(fnmatchcase(team, glob) for glob in entry.teams):
            return False
        return not entry.keys or (
            principal is not None and (str(principal.key_id) in entry.keys or principal.name in entry.keys)
        )

    def target_of(self, model: str, target: str = "") -> str:
        """What the name stands for, `$1` to `$9` filled in with what its wild cards stood for."""
        target = target or self.entry.target
        match = self.pattern.fullmatch(model) if self.pattern is not None else None
        if match is None or "$" not in target:
            return target
        groups = match.groups()
        return _CAPTURE.sub(lambda found: groups[int(found[1]) - 1] if int(found[1]) <= len(groups) else "", target)


def _captures(glob: str) -> str:
    """A wild card stands for no slash unless the alias has one itself: `*` is for bare names, not for provider/model."""
    one = "." if "/" in glob else "[^/]"
    wild = {"*": f"({one}*)", "?": f"({one})"}
    return "".join(wild.get(part) or re2.escape(part) for part in glob)


class AliasTable:
    """Every alias of the database and of stockyard.toml, by name; `modelalias` adds those of its own settings."""

    def __init__(self, configured: Mapping[str, AliasSettings] | None = None) -> None:
        self._configured = dict(configured or {})
        self.stored: dict[str, AliasSettings] = {}

    def replace_stored(self, stored: Mapping[str, Mapping[str, Any]]) -> None:
        """Take the database's rows."""
        self.stored = {name: AliasSettings.model_validate(dict(entry)) for name, entry in stored.items()}

    def all(self) -> list[Alias]:
        """The aliases, a stored one in place of the file's of that name."""
        rows = [Alias(name, entry, "stored") for name, entry in self.stored.items()]
        rows += [Alias(name, entry, "file") for name, entry in self._configured.items() if name not in self.stored]
        return sorted(rows, key=lambda alias: alias.name)


def check_loops(aliases: Iterable[Alias]) -> None:
    """Refuse aliases that lead back to themselves, or over more than `CHAIN_MAX` others. Raises `invalid_value`.

    Every alias is followed from its own name, its wild cards standing for themselves, whoever it is for.
    """
    known = list(aliases)

    def follow(name: str, path: list[str]) -> None:
        for alias in known:
            if not alias.is_named(name):
                continue
            chain = [*path, alias.name]
            if alias.name in path:
                raise StockyardError(
                    "invalid_value", f"The aliases lead in a circle: {' -> '.join(chain)}.", param="target"
                )
            if len(chain) > CHAIN_MAX:
                raise StockyardError(
                    "invalid_value",
                    f"The aliases lead over more than {CHAIN_MAX} names: {' -> '.join(chain)}.",
                    param="target",
                )
            for target in filter(None, (alias.entry.target, alias.entry.successor)):
                follow(alias.target_of(name, target), chain)

    for alias in known:
        for target in filter(None, (alias.entry.target, alias.entry.successor)):
            follow(alias.target_of(alias.name, target), [alias.name])
