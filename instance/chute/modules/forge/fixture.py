"""Fixtures: which calls they answer, and with what."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, NamedTuple, Self

import re2
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from instance.chute.answer import JSON
from instance.chute.exchange import Exchange
from instance.chute.text import request_texts

TEXT_MAX = 100_000
PLACEHOLDER = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")
"""`{{echo}}`, `{{model}}`, `{{n}}`, `{{1}}`, `{{name}}`, `{{random a|b}}`, `{{int 1 6}}`."""
_INT = re.compile(r"int (-?\d{1,12}) (-?\d{1,12})")


class FixtureCall(BaseModel):
    """A tool call in the answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1, max_length=128, description="Name of the tool.")
    arguments: dict[str, Any] = Field(default={}, description="Its arguments.")


class FixtureUsage(BaseModel):
    """Tokens that the answer says it used."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt_tokens: int = Field(ge=0, le=10**9, description="Tokens of the request.")
    completion_tokens: int = Field(ge=0, le=10**9, description="Tokens of the answer.")


class Fixture(BaseModel):
    """What is given must all fit for the fixture to answer; the first that fits does."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        min_length=1, max_length=100, pattern=r"^[\x21-\x7e]+$", description="Its name, shown on answers."
    )
    set: str = Field(default="", max_length=100, description="The set that it belongs to: `X-Stockyard-Mock: SET`.")

    model: str = Field(default="*", min_length=1, max_length=256, description="Glob of the asked model.")
    exact: str | None = Field(default=None, max_length=TEXT_MAX, description="The whole last text of the user.")
    contains: str | None = Field(default=None, max_length=TEXT_MAX, description="A part of it, in any case of letters.")
    matches: str | None = Field(default=None, max_length=2000, description="An RE2 expression found in it.")
    hash: str | None = Field(
        default=None, pattern=r"^[0-9a-f]{64}$", description="The request's hash, as `X-Stockyard-Mock-Hash` shows it."
    )
    tools: bool | None = Field(default=None, description="Whether the request has tools.")
    tag: str | None = Field(default=None, max_length=200, description="A tag of the call: `name` or `name=value`.")
    nth: int | None = Field(default=None, ge=1, le=10**9, description="Only the nth call that fits the rest, from 1.")

    text: str = Field(default="", max_length=TEXT_MAX, description="The answer, with placeholders such as {{echo}}.")
    tool_calls: list[FixtureCall] = Field(default=[], max_length=64, description="Tools that the answer calls.")
    from_schema: bool = Field(default=False, description="Answer with JSON that fits the request's schema.")
    refusal: str = Field(default="", max_length=TEXT_MAX, description="The answer is a refusal with this text.")
    finish_reason: str = Field(default="", max_length=64, description="How the answer ends; empty: as it is.")
    usage: FixtureUsage | None = Field(default=None, description="Usage of the answer; unset: counted.")

    status: int = Field(default=200, ge=200, le=599, description="An error's status, in place of an answer.")
    body: Any = Field(default=None, description="Body of the error; unset: one in OpenAI's form.")
    retry_after_s: int | None = Field(default=None, ge=0, le=86_400, description="Retry-After of the error.")

    delay_s: float = Field(default=0.0, ge=0, le=600, description="Seconds before the first byte.")
    tokens_per_s: float | None = Field(default=None, ge=0, le=1_000_000, description="Pace of the answer; 0: at once.")
    break_after: int | None = Field(default=None, ge=0, le=10**6, description="A stream breaks after so many tokens.")
    malformed_after: int | None = Field(
        default=None, ge=0, le=10**6, description="A stream has an event that is no JSON after so many tokens."
    )

    @field_validator("matches")
    @classmethod
    def _compiles(cls, expression: str | None) -> str | None:
        if expression is not None:
            try:
                re2.compile(expression)
            except re2.error as error:
                raise ValueError(f"{expression!r} is no RE2 expression: {error}") from None
        return expression

    @model_validator(mode="after")
    def _known_placeholders(self) -> Self:
        groups: Annotated[set[str], "names and numbers"] = set()
        if self.matches is not None:
            compiled = re2.compile(self.matches)
            groups = {str(number) for number in range(compiled.groups + 1)} | set(compiled.groupindex)
        for text in (self.text, self.refusal):
            for name in PLACEHOLDER.findall(text):
                fits = name in groups or name in ("echo", "model", "n") or name.startswith("random ")
                interval = _INT.fullmatch(name)
                if not fits and (interval is None or int(interval[1]) > int(interval[2])):
                    raise ValueError(f"there is no placeholder {{{{{name}}}}} in the fixture {self.name!r}")
        return self


class Asked(NamedTuple):
    """What fixtures look at of a call."""

    model: str
    text: str
    hash: str
    tools: bool
    tags: Mapping[str, str]


def asked_of(x: Exchange, request_hash: str) -> Asked:
    """The call's model, last text of the user, hash, tools and tags."""
    return Asked(x.model_requested, last_text(x.req), request_hash, bool(x.req.get("tools")), x.tags)


def last_text(req: JSON) -> str:
    """The text of the user's last message; of a call without messages its last text."""
    for message in reversed(req.get("messages") or ()):
        if isinstance(message, dict) and message.get("role") == "user":
            content = message.get("content")
            if type(content) is str:
                return content
            return "\n".join(request_texts({"messages": [{"role": "user", "content": content}]}))
    texts = request_texts(req)
    return texts[-1] if texts else ""


class FixtureMatch:
    """A fixture that is asked whether it fits; counts those that do for `nth`."""

    def __init__(self, fixture: Fixture) -> None:
        self.fixture = fixture
        self._expression = re2.compile(fixture.matches) if fixture.matches is not None else None
        self._contained = fixture.contains.casefold() if fixture.contains is not None else None
        self._exact = fixture.exact
        self._model = "" if fixture.model == "*" else fixture.model
        self._count = 0
        self.answered = 0

    def may_fit(self, model: str, text: str) -> bool:
        """Whether a call to the model with this last text of the user fits, as far as these say; it is not counted."""
        if self._exact is not None and text != self._exact:
            return False
        if self._model and not fnmatchcase(model, self._model):
            return False
        return self._contained is None or self._contained in text.casefold()

    def groups(self, asked: Asked, *, count: bool) -> dict[str, str] | None:
        """The groups of the expression, by number and name, when the call fits; else `None`. `count`: it is a real call."""
        fixture = self.fixture
        if not self.may_fit(asked.model, asked.text):
            return None
        if fixture.hash is not None and asked.hash != fixture.hash:
            return None
        if fixture.tools is not None and asked.tools != fixture.tools:
            return None
        if fixture.tag is not None and not _tagged(asked.tags, fixture.tag):
            return None
        groups: dict[str, str] = {}
        if self._expression is not None:
            found = self._expression.search(asked.text)
            if found is None:
                return None
            groups = {str(number): text or "" for number, text in enumerate((found.group(), *found.groups()))}
            groups |= {name: text or "" for name, text in found.groupdict().items()}
        self._count += count
        number = self._count if count else self._count + 1
        return groups if fixture.nth is None or number == fixture.nth else None


def _tagged(tags: Mapping[str, str], wanted: str) -> bool:
    name, equals, value = wanted.partition("=")
    return name in tags and (not equals or tags[name] == value)
