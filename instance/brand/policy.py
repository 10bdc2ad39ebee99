"""A policy: where it holds, what it forbids, and what happens then."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import re2
from pydantic import BaseModel, ConfigDict, Field, field_validator

from instance.chute.modules.routing.switch_conditions import Hours
from instance.core.timestamps import rfc3339

Action = Literal["block", "require_approval", "redact", "warn", "log", "retention"]
STRICTNESS = ("log", "warn", "redact", "require_approval", "block")
"""Of several actions the last in this order wins."""
PATTERNS_MAX = 100
PATTERN_MAX_CHARS = 1000

Glob = Annotated[str, Field(min_length=1, max_length=256)]
Globs = Annotated[list[Glob], Field(max_length=200)]
Label = Annotated[str, Field(min_length=1, max_length=200)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Pattern(_Part):
    """An RE2 expression and which texts it is looked for in."""

    pattern: str = Field(min_length=1, max_length=PATTERN_MAX_CHARS, description="RE2; `(?i)` for any case.")
    on: Literal["request", "response", "both", "model"] = Field(
        default="response", description="Which texts; model: the asked model's name."
    )

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        compiled(pattern)
        return pattern


class Names(_Part):
    """Globs that are allowed, or denied."""

    mode: Literal["allow", "deny"] = "allow"
    globs: Globs = Field(min_length=1)


class Scope(_Part):
    """Whose calls a policy is for; what is empty does not narrow."""

    teams: Globs = Field(default=[], description="Globs of the caller's team.")
    keys: Annotated[list[Label], Field(max_length=200)] = Field(default=[], description="Ids or names of keys.")
    models: Globs = Field(default=[], description="Globs of the asked model.")
    tags: Annotated[list[Label], Field(max_length=50)] = Field(
        default=[], description="Tags of which one is there: name or name=value."
    )
    hours: Hours | None = Field(default=None, description="Part of the day and week.")


class Conditions(_Part):
    """What is forbidden: one that is met is enough. `data_class` narrows the others; alone it is a condition."""

    patterns: list[Pattern] = Field(default=[], max_length=PATTERNS_MAX)
    models: Names | None = Field(default=None, description="Models (as targets: provider/model or model) it may go to.")
    providers: Names | None = Field(default=None, description="Providers it may go to.")
    regions: Globs = Field(default=[], description="Regions that it may go to.")
    max_prompt_tokens: int = Field(default=0, ge=0, description="Tokens of the prompt, as counted here; 0: any.")
    max_output_tokens: int = Field(default=0, ge=0, description="Tokens that the request may ask for; 0: any.")
    max_cost_usd: float = Field(
        default=0.0, ge=0, le=1e6, description="Most dollars that the call can come to; 0: any."
    )
    required_tag: str = Field(default="", max_length=200, description="Tag that must be there: name or name=value.")
    tools: Globs | None = Field(default=None, description="Globs of tools that may be offered; empty list: none.")
    images: bool | None = Field(default=None, description="false: messages may have no images.")
    data_class: Annotated[list[Label], Field(max_length=50)] = Field(
        default=[], description="Values of the tag data_class that this is about."
    )


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """One row of the table; never changed, a change makes another with the next `version`."""

    id: str
    name: str
    version: int
    action: Action
    description: str
    message: str
    replacement: str
    retention_days: int
    scope: Scope
    conditions: Conditions
    dry_run: bool
    enabled: bool
    created_at_ns: int
    updated_at_ns: int

    def shown(self) -> dict[str, Any]:
        """As answers show it; what the calls met is added by who knows it."""
        config: dict[str, Any] = {
            "description": self.description,
            "message": self.message,
            "replacement": self.replacement,
            "retention_days": self.retention_days,
            "scope": self.scope.model_dump(mode="json", exclude_defaults=True, by_alias=True),
            "conditions": self.conditions.model_dump(mode="json", exclude_defaults=True),
        }
        return {
            "id": self.id,
            "name": self.name,
            "type": self.action,
            "version": self.version,
            "config": {name: value for name, value in config.items() if value},
            "dry_run": self.dry_run,
            "enabled": self.enabled,
            "created_at": rfc3339(self.created_at_ns),
            "updated_at": rfc3339(self.updated_at_ns),
        }


def compiled(pattern: str) -> Any:
    """The expression compiled. Raises `ValueError` with its reason and, where RE2 names the fault, its position."""
    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(pattern, options)
    except re2.error as error:
        reason = error.args[0] if error.args else ""
        text = reason.decode("utf-8", "replace") if isinstance(reason, bytes) else str(reason)
        fault = text.rpartition(": ")[2]
        place = pattern.find(fault) if fault and fault != pattern else -1
        where = f" at position {place}" if place >= 0 else ""
        raise ValueError(f"{pattern!r} is no RE2 expression: {text}{where}") from None
