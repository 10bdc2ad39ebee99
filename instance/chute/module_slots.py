"""A slot for every module there is: those that come with Stockyard, and those of others that are installed."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from difflib import get_close_matches
from functools import partial
from typing import Any

from instance.chute.discovery import builtin_module, builtin_names, custom_modules
from instance.chute.module import Module
from instance.chute.order import ON_BY_DEFAULT
from instance.chute.slot import Slot
from instance.core.errors import StockyardError

log = logging.getLogger("stockyard.modules")


def module_slots(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Slot]:
    """By name; `settings` are those of the configuration. Raises `not_found` for settings of a module that there is not."""
    slots: dict[str, Slot] = {}
    configured: dict[str, dict[str, Any]] = {name: dict(values) for name, values in settings.items()}
    for name in builtin_names():
        base = configured.pop(name, {})
        enabled = bool(base.pop("enabled", name in ON_BY_DEFAULT))
        slots[name] = Slot(name, partial(builtin_module, name), base, enabled, "builtin")
    for source, cls in custom_modules():
        if cls.name in slots:
            log.error("module %s of %s has a name that is taken; it was not loaded", cls.name, source)
            continue
        base = configured.pop(cls.name, {})
        enabled = bool(base.pop("enabled", cls.default_enabled))
        slots[cls.name] = Slot(cls.name, partial(_known, cls), base, enabled, source)
    for name in configured:
        raise unknown_module(name, slots)
    return slots


def unknown_module(name: str, known: Collection[str]) -> StockyardError:
    """What a module of that name is refused with: it says the nearest name."""
    near = get_close_matches(name, list(known), 1)
    return StockyardError(
        "not_found", f"There is no module {name!r}." + (f" Did you mean {near[0]!r}?" if near else "")
    )


def _known(cls: type[Module]) -> type[Module]:
    return cls
