"""One module as the registry holds it: its class, settings and state, checked and shown."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import ValidationError

from instance.chute.meter import Meter
from instance.chute.module import Module, ModuleSettings, hooks_of
from instance.chute.order import PLACE
from instance.core.errors import StockyardError


class Slot:
    """One module of the registry: its class, its state, and the running object when it is on.

    Class and settings of a module that is off are loaded when somebody asks for them. A *deferred* module is on, and is
    loaded by the first call that needs it.
    """

    __slots__ = (
        "_cls",
        "_load",
        "_settings",
        "base",
        "base_enabled",
        "config",
        "deferred",
        "enabled",
        "enabled_override",
        "meter",
        "name",
        "priority",
        "refusing",
        "running",
        "source",
        "ticker",
        "updated_at_ns",
    )

    def __init__(
        self, name: str, load: Callable[[], type[Module]], base: dict[str, Any], base_enabled: bool, source: str
    ) -> None:
        self.name = name
        self.base = base
        """Settings from the configuration file and the environment, under what the API changes."""
        self.base_enabled = base_enabled
        self.source = source
        self.enabled = False
        self.deferred = False
        self.config: dict[str, Any] = {}
        self.enabled_override: bool | None = None
        self.priority: float | None = None
        self.running: Module | None = None
        self.refusing: Module | None = None
        """What refuses calls in the place of a module that could not be started and fails closed."""
        self.meter = Meter()
        self.updated_at_ns = 0
        self.ticker: asyncio.Task[None] | None = None
        self._load = load
        self._cls: type[Module] | None = None
        self._settings: ModuleSettings | None = None

    @property
    def cls(self) -> type[Module]:
        cls = self._cls
        if cls is None:
            cls = self._cls = self._load()
        return cls

    @property
    def settings(self) -> ModuleSettings:
        """The settings in use, or that it would have. Raises `StockyardError` where the stored ones do not hold."""
        settings = self._settings
        if settings is None:
            settings = self._settings = validated(self.cls, {**self.base, **self.config})
        return settings

    @settings.setter
    def settings(self, settings: ModuleSettings) -> None:
        self._settings = settings

    @property
    def plain(self) -> bool:
        """Whether nobody has set anything of it."""
        return not self.base and not self.config

    @property
    def in_chain(self) -> bool:
        """Whether calls go through it."""
        return self.running is not None or self.refusing is not None or self.deferred

    @property
    def secret_context(self) -> bytes:
        """Binds the sealed secrets of its settings to the module."""
        return b"module:" + self.name.encode()

    def order(self) -> tuple[int, float, str]:
        place = PLACE.get(self.name)
        group, own = place if place is not None else (self.cls.group, 1000)
        return group, self.priority if self.priority is not None else own, self.name


def priority_at(position: int, slot: Slot, ordered: Sequence[Slot]) -> float:
    """The priority that puts a slot at a position of the chain (from 0); raises `invalid_value` outside of its group.

    `ordered`: every slot in the chain's order."""
    group = slot.order()[0]
    members = [place for place, other in enumerate(ordered) if other.order()[0] == group]
    if not members[0] <= position <= members[-1]:
        raise StockyardError(
            "invalid_value",
            f"{slot.name} may stand from {members[0]} to {members[-1]}: its group is fixed.",
            param="priority",
        )
    places = [other.order()[1] for other in ordered if other.order()[0] == group and other is not slot]
    index = position - members[0]
    before = places[index - 1] if index else places[0] - 2 if places else 0.0
    after = places[index] if index < len(places) else before + 2
    return (before + after) / 2


def validated(cls: type[Module], config: Mapping[str, Any]) -> ModuleSettings:
    """The module's settings from `config`; raises `invalid_value` or `unknown_field`, listing every bad field."""
    try:
        return cls.Settings.model_validate(dict(config))
    except ValidationError as error:
        details = []
        unknown = False
        for problem in error.errors(include_url=False, include_context=False):
            param = "config." + ".".join(str(part) for part in problem["loc"])
            message = problem["msg"]
            if problem["type"] == "extra_forbidden":
                unknown = True
                near = get_close_matches(str(problem["loc"][-1]), list(cls.Settings.model_fields), 1)
                message = "unknown setting" + (f"; did you mean {near[0]!r}?" if near else "")
                details.append({"param": param, "code": "unknown_field", "message": message})
            else:
                details.append({"param": param, "code": "invalid_value", "message": message})
        first = details[0]
        raise StockyardError(
            "unknown_field" if unknown and len(details) == 1 else "invalid_value",
            f"{cls.name}: {first['param']}: {first['message']}",
            param=first["param"],
            details=details,
        ) from None


def reported(slot: Slot) -> dict[str, Any]:
    """What the module says it found out; nothing while it is off, and what failed where it cannot say it."""
    if slot.running is None:
        return {}
    try:
        return slot.running.report()
    except Exception as error:  # the module's own failure: counted and shown
        slot.meter.errors += 1
        slot.meter.last_error = f"report: {type(error).__name__}: {error}"[:500]
        return {"error": type(error).__name__}


def describe(slot: Slot, position: int, group_name: str) -> dict[str, Any]:
    """A module as `GET /api/proxy/modules` lists it."""
    meter = slot.meter
    return {
        "name": slot.name,
        "category": slot.cls.category,
        "group": group_name,
        "summary": slot.cls.summary,
        "enabled": slot.enabled,
        "default_enabled": slot.cls.default_enabled,
        "in_chain": slot.in_chain,
        "priority": position,
        "config": slot.settings.model_dump(mode="json"),
        "hooks": list(hooks_of(slot.cls)),
        "on_error": slot.settings.on_error or (slot.running or slot.cls).on_error,
        "source": slot.source,
        "calls": meter.calls,
        "changed": meter.changed,
        "blocked": meter.blocked,
        "errors": meter.errors,
        "last_error": meter.last_error or None,
        "p50_us": meter.histogram.quantile_us(0.5),
        "p99_us": meter.histogram.quantile_us(0.99),
        "updated_at_ns": slot.updated_at_ns,
    }
