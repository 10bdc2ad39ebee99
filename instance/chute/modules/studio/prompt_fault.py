"""A prompt as the rules see it, and a fault that one of them finds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from instance.chute.answer import JSON


class Fault(NamedTuple):
    """One finding: the rule, where it stands (a path into the request), why it is a fault and how to mend it."""

    rule: str
    path: str
    why: str
    mend: str


@dataclass(slots=True)
class Prompt:
    """A request as the rules see it: its system texts and messages with their paths, parsed once."""

    req: JSON
    max_system_tokens: int
    system: list[tuple[str, str]]
    users: list[tuple[str, str]]

    @classmethod
    def of(cls, req: JSON, max_system_tokens: int) -> Prompt:
        """From a chat request."""
        system, users = [], []
        for number, message in enumerate(req.get("messages") or ()):
            if not isinstance(message, dict):
                continue
            role, path = message.get("role"), f"messages[{number}].content"
            content = text_of(message)
            if content is not None:
                if role in ("system", "developer"):
                    system.append((path, content))
                elif role == "user":
                    users.append((path, content))
        return cls(req, max_system_tokens, system, users)

    @property
    def texts(self) -> list[tuple[str, str]]:
        return self.system + self.users


def text_of(message: JSON) -> str | None:
    """What a message says, its text parts joined."""
    content = message.get("content")
    if isinstance(content, list):
        parts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        return "\n".join(parts)
    return content if isinstance(content, str) else None
