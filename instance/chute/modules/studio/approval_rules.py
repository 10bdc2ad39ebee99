"""When a call needs approval: conditions over it, all of which must hold."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from hashlib import sha256
from typing import TYPE_CHECKING, Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from instance.chute.call_identity import model_names
from instance.chute.modules.trust.policy_set import tool_names
from instance.chute.system_message import SYSTEM_ROLES
from instance.core.money import usd_to_nano

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange

Globs = Annotated[list[Annotated[str, Field(min_length=1, max_length=256)]], Field(max_length=200)]


class When(BaseModel):
    """What a call must be for the rule to apply."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    models: Globs = Field(default=[], description="Globs of the asked model, or of the one that it goes to.")
    min_cost_usd: float = Field(default=0.0, ge=0, le=1e6, description="Least that the call may come to; 0: any.")
    tag: str = Field(default="", max_length=200, description="A tag that it has: name or name=value.")
    teams: Globs = Field(default=[], description="Globs of its team.")
    first_use: bool = Field(default=False, description="The team's use of the model was not approved before.")
    new_system: bool = Field(default=False, description="Its system message was not approved before.")
    lint_errors: bool = Field(default=False, description="promptlint, where it is on, finds an error in it.")
    tools: Globs = Field(default=[], description="Globs of tools, one of which it offers.")

    @model_validator(mode="after")
    def _something(self) -> When:
        if self == type(self).model_construct():
            raise ValueError("give at least one condition")
        return self


class Rule(BaseModel):
    """Who must approve which calls."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=100, description="Shown on the ticket and in the trail.")
    when: When = Field(description="The calls that it is about; all that is given must hold.")
    needed: int = Field(default=1, ge=1, le=20, description="Votes that let a call pass; a single no refuses it.")
    approvers: Annotated[list[Annotated[str, Field(min_length=1, max_length=200)]], Field(max_length=50)] = Field(
        default=[],
        description="Who may vote, beside holding trust:write: a scope (`admin`), `team:NAME`, `user:ID` or a key's name; empty: all.",
    )


class Demand(BaseModel):
    """A call that needs approval, and what the approval is good for beyond it."""

    rule: str
    needed: int = 1
    approvers: tuple[str, ...] = ()
    remembers: str = ""


class Demanding:
    """A rule, ready to be asked: `demanded` says what it asks of a call."""

    __slots__ = (
        "_first_use",
        "_least_nano",
        "_lint_errors",
        "_models",
        "_new_system",
        "_rule",
        "_tag",
        "_teams",
        "_tools",
    )

    def __init__(self, rule: Rule) -> None:
        when = rule.when
        self._rule = rule
        self._tools, self._teams, self._models, self._tag = when.tools, when.teams, when.models, when.tag
        self._lint_errors, self._first_use, self._new_system = when.lint_errors, when.first_use, when.new_system
        self._least_nano = usd_to_nano(when.min_cost_usd) if when.min_cost_usd else 0

    def demanded(
        self, x: Exchange, cost_nano: Callable[[Exchange], int], approved_before: Callable[[str], bool]
    ) -> Demand | None:
        """What the rule asks of the call; `None` when it does not apply."""
        tools = self._tools
        if tools:
            req = x.req
            if not req.get("tools") and not req.get("functions"):
                return None
            if not any(fnmatchcase(tool, glob) for glob in tools for tool in tool_names(req)):
                return None
        if self._teams and not any(fnmatchcase(x.team, glob) for glob in self._teams):
            return None
        if self._tag:
            name, equals, value = self._tag.partition("=")
            if name not in x.tags or (equals and x.tags[name] != value):
                return None
        if self._models and not any(fnmatchcase(name, glob) for glob in self._models for name in model_names(x)):
            return None
        if self._lint_errors and not any(
            each["module"] == "promptlint" and each["detail"].get("severity") == "error" for each in x.decisions
        ):
            return None
        remembers = ""
        if self._first_use:
            remembers = f"model:{x.team}:{model_names(x)[-1]}"
        elif self._new_system:
            system = system_text(x.req)
            if not system:
                return None
            remembers = f"system:{_of_client(x)}{sha256(system).hexdigest()}"
        if remembers and approved_before(remembers):
            return None
        if self._least_nano and cost_nano(x) < self._least_nano:
            return None
        rule = self._rule
        return Demand(rule=rule.name, needed=rule.needed, approvers=tuple(rule.approvers), remembers=remembers)


def prompt_change(x: Exchange, approved_before: Callable[[str], bool]) -> Demand | None:
    """What is asked of a call that gets a stored prompt by a label, unless this version was approved for the label before.

    A call that names the version itself has chosen it, and is asked nothing."""
    prompt = x.state.get("prompt")
    if not prompt:
        return None
    slug, version, label = prompt
    remembers = f"prompt:{slug}@{version}:{label}"
    if not label or approved_before(remembers):
        return None
    return Demand(rule=f"prompt {slug}@{version} as {label}", remembers=remembers)


def system_text(req: dict[str, Any]) -> bytes:
    """The request's system messages in canonical form; empty without any."""
    messages = req.get("messages")
    said = [
        message.get("content")
        for message in (messages if isinstance(messages, list) else ())
        if isinstance(message, dict) and message.get("role") in SYSTEM_ROLES
    ]
    return orjson.dumps(said, option=orjson.OPT_SORT_KEYS) if said else b""


def request_digest(x: Exchange) -> str:
    """SHA-256 of what the caller asked, and for which client, whether or not as a stream: what a ticket is bound to."""
    try:
        asked = orjson.loads(x.raw)
    except orjson.JSONDecodeError:
        return sha256(f"{_of_client(x)}{x.path}\0".encode() + x.raw).hexdigest()
    if isinstance(asked, dict):
        asked = {name: value for name, value in asked.items() if name not in ("stream", "stream_options")}
    return sha256(orjson.dumps((_of_client(x) + x.path, asked), option=orjson.OPT_SORT_KEYS)).hexdigest()


def _of_client(x: Exchange) -> str:
    return f"{x.client}:" if x.client else ""
