"""A change of modules before it takes effect: checked against what is there, and as it is stored and entered in the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from instance.chute.module import ModuleSettings
from instance.chute.module_rows import ModuleRow
from instance.chute.module_secrets import kept, sealed
from instance.chute.slot import Slot, priority_at, validated
from instance.core.errors import StockyardError
from instance.core.secrets import SecretBox
from instance.core.writer import LedgerEvent

Saver = tuple[str, dict[bytes, bytes]]
"""Who asks for a change: address and headers of the request."""


class Prepared(NamedTuple):
    """A change of one module that was checked."""

    slot: Slot
    enabled: bool
    config: dict[str, Any]
    settings: ModuleSettings
    priority: float | None


def prepared(slot: Slot, change: Mapping[str, Any], saver: Saver | None, ordered: Sequence[Slot]) -> Prepared:
    """What a change (`Registry.change`) makes of a module. `ordered`: every slot in the chain's order.

    Raises `invalid_value`, `unknown_field`, `confirmation_needed`.
    """
    enabled = change.get("enabled")
    enabled = slot.enabled if enabled is None else bool(enabled)
    config = dict(slot.config)
    asked = change.get("config")
    if change.get("replace"):
        config = {}
    if slot.cls.secret_settings:
        asked = kept(asked or {}, {**slot.base, **slot.config}, slot.cls.secret_settings)
    for key, value in (asked or {}).items():
        if value is None:
            config.pop(key, None)
            if key not in slot.cls.Settings.model_fields:
                config[key] = value
        else:
            config[key] = value
    settings = validated(slot.cls, {**slot.base, **config})
    objection = slot.cls.objection(settings, *saver) if saver is not None and enabled else ""
    if objection and not change.get("confirm"):
        raise StockyardError(
            "confirmation_needed",
            f"{objection} To save them all the same, send `confirm: true` with them.",
            param="confirm",
        )
    priority = slot.priority
    if change.get("priority") is not None:
        priority = priority_at(int(change["priority"]), slot, ordered)
    return Prepared(slot, enabled, config, settings, priority)


def stored(change: Prepared, secrets: SecretBox, now_ns: int) -> ModuleRow:
    """The change as it is stored, its secrets sealed."""
    slot = change.slot
    config = sealed(change.config, slot.cls.secret_settings, secrets, slot.secret_context)
    return ModuleRow(slot.name, int(change.enabled), orjson.dumps(config).decode(), change.priority, now_ns)


def ledger_event(change: Prepared, actor: str) -> LedgerEvent:
    """The change as the ledger tells it: which fields, and not what they hold."""
    slot, config = change.slot, change.config
    fields = sorted(key for key in {*config, *slot.config} if config.get(key) != slot.config.get(key))
    return LedgerEvent(
        event_type="module_toggled" if change.enabled != slot.enabled else "config_change",
        actor=actor,
        resource=f"module:{slot.name}",
        action="change",
        detail={"enabled": change.enabled, "fields": fields},
    )
