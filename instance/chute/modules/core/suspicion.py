"""What toolshield does about a text of a tool that looks like an injected instruction, and how it notes what it did."""

from __future__ import annotations

from instance.chute.exchange import Exchange
from instance.core.errors import StockyardError

MODULE = "toolshield"


def suspicious(x: Exchange, action: str, name: str, rule: str, marks: list[str], place: str) -> None:
    """Note that a text about a tool looks like an injected instruction; raise `tool_denied` where the action is block."""
    detail = {"name": name, "rule": f"injection_in_{rule}", "action": action, "marks": marks}
    x.note("tool", detail, module=MODULE)
    if action == "block":
        raise StockyardError(
            "tool_denied",
            f"The {rule} of the tool {name!r} looks like an injected instruction.",
            param=place,
            retryable=False,
        )


def note(x: Exchange, name: str, rule: str, action: str) -> None:
    """Put what was done about a tool into the trail."""
    x.note("tool", {"name": name, "rule": rule, "action": action}, module=MODULE)
