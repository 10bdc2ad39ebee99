"""When a rule of modelswitch applies: conditions over a call, all of which must hold."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import re2
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from instance.chute.call_identity import user_of

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange

Test = Callable[["Exchange", "Measures"], bool]
WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
SECRET_HEADERS = frozenset(
    ("authorization", "x-api-key", "api-key", "x-stockyard-key", "cookie", "proxy-authorization")
)
TEXT_MAX_CHARACTERS = 1 << 20
"""Text beyond that is not searched."""
Globs = Annotated[list[str], Field(max_length=200)]


class Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Bounds(Frozen):
    """A number's bounds; all that are given must hold."""

    gt: float | None = Field(default=None, ge=0, le=1e12, description="Above.")
    gte: float | None = Field(default=None, ge=0, le=1e12, description="At least.")
    lt: float | None = Field(default=None, ge=0, le=1e12, description="Below.")
    lte: float | None = Field(default=None, ge=0, le=1e12, description="At most.")

    @model_validator(mode="after")
    def _some(self) -> Bounds:
        if self.gt is None and self.gte is None and self.lt is None and self.lte is None:
            raise ValueError("give at least one of gt, gte, lt, lte")
        return self

    def test(self) -> Callable[[float], bool]:
        """What says whether a value is within."""
        gt, gte, lt, lte = self.gt, self.gte, self.lt, self.lte
        if gte is None and lt is None and lte is None and gt is not None:
            least = gt
            return lambda value: value > least
        return lambda value: (
            (gt is None or value > gt)
            and (gte is None or value >= gte)
            and (lt is None or value < lt)
            and (lte is None or value <= lte)
        )


class TextMatch(Frozen):
    """What the text holds: any of the words, whatever their case, or a match of the pattern."""

    contains: Globs = Field(default=[], description="Any of these words, whatever their case.")
    re2: str = Field(default="", max_length=2000, description="RE2 pattern.")
    where: Literal["last_user", "all"] = Field(
        default="last_user", description="The last user message, or all messages."
    )

    @field_validator("re2")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re2.compile(pattern)
        except re2.error as error:
            raise ValueError(f"the pattern does not compile: {error}") from None
        return pattern

    @model_validator(mode="after")
    def _some(self) -> TextMatch:
        if not self.contains and not self.re2:
            raise ValueError("give contains or re2")
        return self


class Hours(Frozen):
    """A part of the day and of the week."""

    start: time = Field(default=time(0), alias="from", description="HH:MM, the first minute.")
    end: time = Field(
        default=time(0), alias="to", description="HH:MM, the first minute after; may lie beyond midnight."
    )
    weekdays: list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]] = Field(
        default=[], max_length=7, description="Days; empty: all."
    )
    time_zone: str = Field(default="UTC", max_length=64, description="Like Europe/Berlin.")

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    @field_validator("time_zone")
    @classmethod
    def _known(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError(f"there is no time zone {name!r}") from None
        return name

    def hold(self, wall_ns: int) -> bool:
        """Whether that moment is within. A part that goes over midnight belongs to the day on which it begins."""
        now = datetime.fromtimestamp(wall_ns / 1e9, ZoneInfo(self.time_zone))
        clock = now.time()
        day = now.weekday()
        if self.start == self.end:
            inside = True
        elif self.start < self.end:
            inside = self.start <= clock < self.end
        else:
            inside = clock >= self.start or clock < self.end
            if clock < self.end:
                day = (day - 1) % 7
        return inside and (not self.weekdays or WEEKDAYS[day] in self.weekdays)


class When(Frozen):
    """Conditions; all that are given must hold."""

    tokens: Bounds | None = Field(default=None, description="Tokens of the prompt, as counted here.")
    model: Globs = Field(default=[], description="Globs of the asked model.")
    text: TextMatch | None = Field(default=None, description="What the messages say.")
    images: bool | None = Field(default=None, description="Whether a message has an image.")
    tools: bool | None = Field(default=None, description="Whether tools are offered.")
    response_format: bool | None = Field(default=None, description="Whether JSON is asked for by response_format.")
    tags: dict[str, str] = Field(default={}, max_length=20, description="Tag -> glob of its value.")
    headers: dict[str, str] = Field(default={}, max_length=20, description="Request header -> glob of its value.")
    teams: Globs = Field(default=[], description="Globs of the caller's team.")
    users: Globs = Field(default=[], description="Globs of the user that the call is for.")
    hours: Hours | None = Field(default=None, description="A part of the day and of the week.")
    cost_usd: Bounds | None = Field(
        default=None, description="What the call costs at most at the target chosen so far."
    )

    @field_validator("headers")
    @classmethod
    def _no_secrets(cls, headers: dict[str, str]) -> dict[str, str]:
        for name in headers:
            if name.lower() in SECRET_HEADERS:
                raise ValueError(f"{name} holds a key and cannot be a condition")
        return headers

    def tests(self) -> list[Test]:
        """The conditions ready to be asked, the cheap ones first."""
        return [*_of_caller(self), *_of_request(self)]


class Measures:
    """What costs something to find out of a call, found out once."""

    _cost: float | None = -1.0
    _text: str | None = None
    _low = ""

    def __init__(self, cost_usd: Callable[[Exchange], float | None]) -> None:
        self._cost_usd = cost_usd

    def low(self, found: str) -> str:
        """A text in small letters."""
        if self._text is not found:
            self._text, self._low = found, found.lower()
        return self._low

    def cost_usd(self, x: Exchange) -> float | None:
        """`None` where the price is not known."""
        if self._cost == -1.0:
            self._cost = self._cost_usd(x)
        return self._cost


def _any(globs: list[str], value: str) -> bool:
    return any(fnmatchcase(value, glob) for glob in globs)


def _of_caller(when: When) -> list[Test]:
    tests: list[Test] = []
    if when.model:
        tests.append(lambda x, m: _any(when.model, x.model_requested))
    if when.teams:
        tests.append(lambda x, m: _any(when.teams, x.team))
    if when.users:
        tests.append(lambda x, m: _any(when.users, user_of(x)))
    for tag, glob in when.tags.items():
        tests.append(lambda x, m, tag=tag, glob=glob: fnmatchcase(x.tags.get(tag, ""), glob) and tag in x.tags)  # type: ignore[misc]
    for name, glob in when.headers.items():
        key = name.lower().encode("latin-1", "replace")
        tests.append(
            lambda x, m, key=key, glob=glob: key in x.headers and fnmatchcase(x.headers[key].decode("latin-1"), glob)  # type: ignore[misc]
        )
    hours = when.hours
    if hours is not None:
        tests.append(lambda x, m: hours.hold(x.started_wall_ns))
    return tests


def _of_request(when: When) -> list[Test]:
    tests: list[Test] = []
    if when.tools is not None:
        tests.append(lambda x, m: bool(x.req.get("tools") or x.req.get("functions")) is when.tools)
    if when.response_format is not None:
        tests.append(lambda x, m: _wants_json(x.req) is when.response_format)
    if when.images is not None:
        tests.append(lambda x, m: has_images(x.req) is when.images)
    text = when.text
    if text is not None:
        words = [word.lower() for word in text.contains]
        pattern = re2.compile(text.re2) if text.re2 else None

        last_user = text.where == "last_user"

        def said(x: Exchange, measures: Measures) -> bool:
            found = texts(x.req, last_user=last_user)
            if pattern is not None and pattern.search(found):
                return True
            if not words:
                return False
            low = measures.low(found)
            for word in words:  # noqa: SIM110 - a generator costs more than looking for one word
                if word in low:
                    return True
            return False

        tests.append(said)
    tokens = when.tokens
    if tokens is not None:
        are_so_many = tokens.test()
        tests.append(lambda x, m: are_so_many(x.prompt_tokens()))
    cost = when.cost_usd
    if cost is not None:
        is_so_much = cost.test()
        tests.append(lambda x, m: (usd := m.cost_usd(x)) is not None and is_so_much(usd))
    return tests


def _wants_json(req: dict[str, Any]) -> bool:
    wanted = req.get("response_format")
    return isinstance(wanted, dict) and wanted.get("type") not in (None, "text")


def has_images(req: dict[str, Any]) -> bool:
    """Whether a message has an image part."""
    messages = req.get("messages")
    return isinstance(messages, list) and any(
        isinstance(message.get("content"), list)
        and any(part.get("type") in ("image_url", "input_image", "image") for part in message["content"])
        for message in messages
    )


def texts(req: dict[str, Any], *, last_user: bool) -> str:
    """The text of the last user message, or of all messages (of an embedding's or image's request: its input or prompt)."""
    messages = req.get("messages")
    if not isinstance(messages, list):
        given = req.get("input", req.get("prompt", req.get("query", "")))
        parts = given if isinstance(given, list) else [given]
        return "\n".join(part for part in parts if isinstance(part, str))[:TEXT_MAX_CHARACTERS]
    if last_user and messages:
        last = messages[-1]
        if last.get("role") == "user":
            content = last.get("content")
            if type(content) is str:
                return content if len(content) <= TEXT_MAX_CHARACTERS else content[:TEXT_MAX_CHARACTERS]
    found: list[str] = []
    for message in reversed(messages):
        if last_user and message.get("role") != "user":
            continue
        content = message.get("content")
        if last_user and type(content) is str:
            return content[:TEXT_MAX_CHARACTERS]
        if isinstance(content, str):
            found.append(content)
        elif isinstance(content, list):
            found += [part["text"] for part in content if isinstance(part.get("text"), str)]
        if last_user:
            break
    return "\n".join(found)[:TEXT_MAX_CHARACTERS]
