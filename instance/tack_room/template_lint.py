"""promptlint's rules over a template that nobody has called yet."""

from __future__ import annotations

import re
from typing import Any

from instance.chute.modules.studio.prompt_fault import Prompt
from instance.chute.modules.studio.prompt_rules import RULES, faults
from instance.tack_room import prompt as templates

RENDER_MAX_CHARS = 1_000_000
DEFAULT_SYSTEM_TOKENS = 4000
_MESSAGE = re.compile(r"messages\[(\d+)\]")


def findings(prompt: templates.Prompt, settings: Any) -> list[dict[str, Any]]:
    """Each `{rule, severity, message, path, line}`, the template filled in with sample values; `settings` are promptlint's.

    `line` is where the message begins in the template's flattened text, null for what is in no message."""
    messages = prompt.render(prompt.sample(), RENDER_MAX_CHARS)
    req: dict[str, Any] = {"model": prompt.model, "messages": messages, **prompt.params}
    if prompt.response_schema is not None:
        req["response_format"] = {"type": "json_schema", "json_schema": {"schema": prompt.response_schema}}
    severity = {name: rule.severity for name, rule in RULES.items()} | dict(getattr(settings, "rules", {}))
    on = [name for name in RULES if severity[name] != "off"]
    looked = Prompt.of(req, getattr(settings, "max_system_tokens", DEFAULT_SYSTEM_TOKENS))
    begins = _beginnings(messages)
    rows = []
    for fault in faults(looked, on):
        place = _MESSAGE.match(fault.path)
        line = begins[int(place[1])] if place else None
        text = f"{fault.why} {fault.mend}"
        rows.append(
            {"rule": fault.rule, "severity": severity[fault.rule], "message": text, "path": fault.path, "line": line}
        )
    return rows


def _beginnings(messages: list[dict[str, Any]]) -> list[int]:
    lines, begins = 1, []
    for message in messages:
        begins.append(lines)
        content = message["content"]
        text = content if isinstance(content, str) else "\n".join(str(part.get("text", "")) for part in content)
        lines += text.count("\n") + 2
    return begins
