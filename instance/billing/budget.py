"""A budget as plain data: whom it limits, to how much, over which period."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache
from typing import Literal

from instance.billing.periods import Period

Action = Literal["block", "warn", "downgrade"]

EXACT_FIELDS = ("key", "user", "team", "project")
SCOPE_FIELDS = (*EXACT_FIELDS, "tag", "model")


@dataclass(frozen=True, slots=True)
class Subject:
    """Who spends and on what: the call's key id, user, team, project, asked model and tags."""

    key: str
    user: str
    team: str
    project: str
    model: str
    tags: Mapping[str, str]


@lru_cache(maxsize=4096)
def _glob(pattern: str) -> re.Pattern[str]:
    return re.compile(translate(pattern))


@dataclass(frozen=True, slots=True)
class Budget:
    """One row of the table of limits. `scope` holds those of `SCOPE_FIELDS` that it is narrowed to; empty: everything.

    `model` is a glob of the asked model, with or without its provider; `tag` is `name` or `name=value`.
    """

    id: str
    name: str
    limit_nano: int
    period: Period
    scope: Mapping[str, str] = field(default_factory=dict)
    rolling: bool = False
    timezone: str = "UTC"
    action: Action = "block"
    warn_at_pct: tuple[int, ...] = (50, 80, 100)
    enabled: bool = True
    created_at_ns: int = 0
    updated_at_ns: int = 0
    reset_at_ns: int = 0

    def covers(self, subject: Subject) -> bool:
        """Whether a call by this subject counts."""
        for name, value in self.scope.items():
            if name == "model":
                glob = _glob(value)
                model = subject.model
                if not glob.match(model) and not glob.match(model.rpartition("/")[2]):
                    return False
            elif name == "tag":
                tag, equals, wanted = value.partition("=")
                if tag not in subject.tags or (equals and subject.tags[tag] != wanted):
                    return False
            elif getattr(subject, name) != value:
                return False
        return True
