"""modelalias: own names for models."""

from __future__ import annotations

from datetime import UTC, datetime
from difflib import get_close_matches
from email.utils import format_datetime
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from instance.chute.aliases import CHAIN_MAX, Alias, AliasTable, check_loops
from instance.chute.answer import Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.module import ALL_KINDS, Module, ModuleSettings
from instance.chute.system_message import with_system_text
from instance.core.errors import StockyardError
from instance.core.settings import AliasSettings

if TYPE_CHECKING:
    from instance.chute.router import Router
    from instance.core.core import Core
    from instance.core.principals import Principal

NONE_MAX = 4096
"""Names that are nobody's alias that are remembered."""
MAX_TOKENS = frozenset(("max_tokens", "max_completion_tokens"))


class AliasEntry(AliasSettings):
    """One alias of the module's settings; the same name may stand there for several teams or keys."""

    alias: str = Field(min_length=1, max_length=256, pattern="^[!-~]+$", description="The own name; may be a glob.")


class ModelAlias(Module):
    """Lets callers ask for own names, and sends the call to what they stand for.

    The aliases are those of `/api/proxy/aliases`, of stockyard.toml and of these settings; one that is for a key or a team
    goes before one that is for all, an exact name before a glob. Without any the module costs nothing.
    """

    name: ClassVar[str] = "modelalias"
    category: ClassVar[str] = "core"
    group: ClassVar[int] = 4
    summary: ClassVar[str] = "Own names for models"
    rejects: ClassVar[tuple[str, ...]] = ("model_not_found",)
    default_enabled: ClassVar[bool] = True
    kinds: ClassVar[frozenset[str]] = ALL_KINDS

    class Settings(ModuleSettings):
        aliases: list[AliasEntry] = Field(
            default=[], max_length=1000, description="Aliases, beside those of /api/proxy/aliases."
        )
        show: Literal["real", "asked"] = Field(
            default="real",
            description="Which name the answer's `model` has: the one that served, or the one asked for.",
        )
        list_aliases: bool = Field(default=True, description="List them in GET /v1/models.")
        hide_others: bool = Field(default=False, description="Only aliases may be asked for.")

        def compiled(self) -> list[Alias]:
            """The settings' own aliases."""
            return [Alias(entry.alias, entry, "module") for entry in self.aliases]

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._table = AliasTable()
        self._router: Router | None = None
        self._exact: dict[str, list[Alias]] = {}
        self._globs: list[Alias] = []
        self._none: set[str] = set()
        self._hides_others = self.settings.hide_others

    async def start(self, core: Core, previous: Module | None) -> None:
        self._table = core.services.get("aliases", self._table)
        self._router = core.services.get("router")
        check_loops(self._all())
        self.refresh()

    def refresh(self) -> None:
        """Take the table's aliases as they are now."""
        self._exact = {}
        self._globs = []
        self._none = set()
        for alias in sorted(self._all(), key=lambda alias: (not alias.entry.keys, not alias.entry.teams)):
            if alias.pattern is None:
                self._exact.setdefault(alias.name, []).append(alias)
            else:
                self._globs.append(alias)

    def _all(self) -> list[Alias]:
        return [*self._table.all(), *self.settings.compiled()]

    def hooks(self) -> tuple[str, ...]:
        if not self._exact and not self._globs and not self.settings.hide_others:
            return ()
        return ("on_request", "on_response", "on_delta") if self.settings.show == "asked" else ("on_request",)

    def on_request(self, x: Exchange) -> None:
        asked = x.model_requested
        if asked in self._none and not self._hides_others:
            return
        found = self._find(asked, x.team, x.principal)
        if found is None:
            if self._hides_others:
                raise self._unknown(x, asked)
            return
        name = asked
        used: list[Alias] = []
        while found is not None and len(used) < CHAIN_MAX:
            used.append(found)
            name = self._leads_to(x, found, name)
            found = self._find(name, x.team, x.principal)
        x.note("alias", {"from": asked, "to": name})
        for alias in used:
            self._prepare(x, alias.entry)
        x.state["alias"] = asked
        if self._router is not None:
            try:
                self._router.retarget(x, name)
            except StockyardError as error:
                # Nothing serves it now; a module further in may still choose another model.
                x.targets = []
                x.state["no_target"] = error

    def on_response(self, x: Exchange, answer: Answer) -> None:
        obj = answer.obj
        if obj is not None and "model" in obj and "alias" in x.state:
            obj["model"] = x.state["alias"]
            answer.changed = True

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        obj = delta.obj
        if obj is not None and "model" in obj and "alias" in x.state:
            obj["model"] = x.state["alias"]
            delta.changed = True

    def listed(self, principal: Principal) -> list[tuple[str, str]]:
        """(name, what it stands for) of the aliases that a key may ask for; globs have no name to list."""
        if not self.settings.list_aliases:
            return []
        rows = []
        for name in sorted(self._exact):
            if principal.models and not any(fnmatchcase(name, glob) for glob in principal.models):
                continue
            target = self.stands_for(name, principal)
            if target:
                rows.append((name, target))
        return rows

    def stands_for(self, name: str, principal: Principal) -> str:
        """What a name leads to for a key, over all aliases between; empty when it is no alias."""
        found = self._find(name, str(principal.team or ""), principal)
        target = ""
        for _ in range(CHAIN_MAX):
            if found is None:
                break
            target = found.target_of(target or name, found.entry.successor if _is_over(found.entry) else "")
            found = self._find(target, str(principal.team or ""), principal)
        return target

    def _find(self, name: str, team: str, principal: Principal | None) -> Alias | None:
        if name in self._none:
            return None
        for alias in self._exact.get(name, ()):
            if alias.fits(name, team, principal):
                return alias
        named = name in self._exact
        for alias in self._globs:
            if alias.is_named(name):
                if alias.fits(name, team, principal):
                    return alias
                named = True
        if not named:
            if len(self._none) >= NONE_MAX:
                self._none.clear()
            self._none.add(name)
        return None

    def _leads_to(self, x: Exchange, alias: Alias, name: str) -> str:
        """What the alias stands for now; warns of its end. Raises `model_not_found` after it."""
        entry = alias.entry
        if entry.until is None:
            return alias.target_of(name)
        end = entry.until.astimezone(UTC)
        if not _is_over(entry):
            successor = f"; use {entry.successor}" if entry.successor else ""
            x.warnings.append(f"model {alias.name} ends at {end:%Y-%m-%dT%H:%M:%SZ}{successor}")
            x.response_headers.append((b"sunset", format_datetime(end, usegmt=True).encode()))
            return alias.target_of(name)
        if not entry.successor:
            raise self._unknown(x, name, f"The model {alias.name!r} ended at {end:%Y-%m-%dT%H:%M:%SZ}.")
        return alias.target_of(name, entry.successor)

    def _unknown(self, x: Exchange, name: str, reason: str = "") -> StockyardError:
        mine = [
            alias for alias, rows in self._exact.items() if any(row.fits(alias, x.team, x.principal) for row in rows)
        ]
        near = get_close_matches(name, [alias for alias in mine if alias != name], 3)
        return StockyardError(
            "model_not_found",
            (reason or f"There is no model {name!r} here.")
            + (
                f" Did you mean {', '.join(map(repr, near))}?"
                if near
                else " GET /v1/models lists those that there are."
            ),
            param="model",
            retryable=False,
        )

    def _prepare(self, x: Exchange, entry: AliasSettings) -> None:
        """The alias's parameters where the call sets none, and its words before the system message."""
        req = x.req
        has_limit = not MAX_TOKENS.isdisjoint(req)
        added = {
            name: value
            for name, value in entry.params.items()
            if name not in req and not (name in MAX_TOKENS and has_limit)
        }
        if added:
            req.update(added)
            x.change()
        if entry.system_prefix and isinstance(req.get("messages"), list):
            req["messages"] = with_system_text(req["messages"], entry.system_prefix, before=True)
            x.change()


def _is_over(entry: AliasSettings) -> bool:
    return entry.until is not None and datetime.now(UTC) >= entry.until
