"""What a check found, in the words an operator needs."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Level(StrEnum):
    """How much it matters: `bad` harms tenants or data now or soon, `warn` should be looked at."""

    OK = "ok"
    WARN = "warn"
    BAD = "bad"


WEIGHT = {Level.OK: 0, Level.WARN: 1, Level.BAD: 2}


@dataclass(frozen=True, slots=True)
class Finding:
    """One observation judged. `command` mends it where one command can; `runbook` is a page of docs/runbooks."""

    name: str
    level: Level
    seen: str
    why: str = ""
    mend: str = ""
    command: str = ""
    runbook: str = ""

    def shown(self) -> dict[str, Any]:
        """As the API answers it."""
        shape = asdict(self) | {"ok": self.level is not Level.BAD}
        return shape | {"runbook": f"docs/runbooks/{self.runbook}.md" if self.runbook else ""}


def good(name: str, seen: str) -> Finding:
    """Nothing is wrong with it."""
    return Finding(name, Level.OK, seen)


def unknown(name: str, seen: str) -> Finding:
    """It could not be looked at, which is worth a word by itself."""
    return Finding(name, Level.WARN, seen, "what is not looked at may be wrong")
