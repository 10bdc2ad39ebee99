"""schemavalidator: holds requests, answers and tool calls to the operator's JSON Schemas."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.call_identity import model_names
from instance.chute.exchange import Exchange
from instance.chute.module import Call, Module, ModuleSettings
from instance.chute.modules.validate.json_schema import (
    BadSchema,
    CompiledSchema,
    Problem,
    at_pointer,
    compiled,
)
from instance.chute.modules.validate.read_texts import ReadTexts
from instance.chute.record import CHARACTERS_PER_TOKEN
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from collections.abc import Sequence

BINDINGS_MAX = 200


class Binding(BaseModel):
    """One schema and what it is held against."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    name: str = Field(min_length=1, max_length=100, description="Shown in the trail and in errors.")
    on: Literal["request", "response", "tool_args"] = Field(description="What the schema is for.")
    pointer: str = Field(
        default="", max_length=500, description="RFC 6901 pointer to the part that is checked; empty: all of it."
    )
    match: str = Field(default="*", max_length=256, description="Glob of the models that it holds for.")
    team: str = Field(default="", max_length=200, description="Only this team's calls.")
    tag: str = Field(default="", max_length=200, description="Only calls with this tag: name or name=value.")
    tool: str = Field(default="", max_length=200, description="tool_args: the tool's name; empty: every tool.")
    schema_: dict[str, Any] = Field(alias="schema", description="The JSON Schema; references lead into itself only.")
    action: Literal["reject", "flag"] = Field(default="reject", description="What happens to what does not fit.")

    @field_validator("pointer")
    @classmethod
    def _begins(cls, pointer: str) -> str:
        if pointer and not pointer.startswith("/"):
            raise ValueError("a pointer begins with /")
        return pointer

    @field_validator("schema_")
    @classmethod
    def _compiles(cls, schema: dict[str, Any]) -> dict[str, Any]:
        try:
            compiled(schema)
        except BadSchema as problem:
            raise ValueError(f"no usable JSON Schema: {problem}") from None
        return schema


class _Rule(NamedTuple):
    binding: Binding
    schema: CompiledSchema
    everywhere: bool
    """It holds for every call."""
    pointer: str
    fits: Callable[[Any], bool]

    def covers(self, x: Exchange) -> bool:
        if self.everywhere:
            return True
        binding = self.binding
        if binding.team and binding.team != x.team:
            return False
        if binding.tag:
            tag, equals, wanted = binding.tag.partition("=")
            if tag not in x.tags or (equals and x.tags[tag] != wanted):
                return False
        return binding.match == "*" or any(fnmatchcase(name, binding.match) for name in model_names(x))


class SchemaValidator(Module):
    """Accepts, flags or refuses; it never edits and never asks again.

    A request is checked as it came; an answer by its content, parsed as JSON; a tool call by its arguments. A streamed answer is
    checked at its end and ends with an error event, or, with `buffer`, is held until it is known to be good.
    """

    name: ClassVar[str] = "schemavalidator"
    category: ClassVar[str] = "validate"
    group: ClassVar[int] = 10
    summary: ClassVar[str] = "Holds requests, answers and tool calls to JSON Schemas"
    rejects: ClassVar[tuple[str, ...]] = ("request_schema", "response_schema")
    kinds: ClassVar[frozenset[str]] = frozenset(("chat",))
    per_client: ClassVar[bool] = True

    class Settings(ModuleSettings):
        bindings: list[Binding] = Field(default=[], max_length=BINDINGS_MAX, description="The schemas.")
        max_errors: int = Field(default=10, ge=1, le=100, description="Most problems that an error tells.")
        buffer: bool = Field(default=False, description="Hold streams until their answer is checked.")

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        rules = [_rule(binding) for binding in settings.bindings]
        self._requests = [rule for rule in rules if rule.binding.on == "request"]
        self._answers = [rule for rule in rules if rule.binding.on != "request"]

    def hooks(self) -> tuple[str, ...]:
        asks = ("on_request",) if self._requests else ()
        return (*asks, "around", "on_delta") if self._answers else asks

    def on_request(self, x: Exchange) -> None:
        for rule in self._requests:
            if not rule.everywhere and not rule.covers(x):
                continue
            pointer, there, value = rule.pointer, True, x.req
            if pointer:
                there, value = at_pointer(value, pointer)
            if there and rule.fits(value):
                continue
            problems = self._problems(rule, value, pointer) if there else [_missing(pointer)]
            self._judge(x, rule, problems, "request_schema", "The request")

    def passes(self, x: Exchange) -> bool:
        return not any(rule.covers(x) for rule in self._answers)

    async def around(self, x: Exchange, call: Call) -> Answer:
        rules = [rule for rule in self._answers if rule.covers(x)]
        if not rules:
            return await call(x)
        answer = await call(x)
        if answer.obj is not None:
            self._check(x, rules, answer.obj.get("choices") or ())
        elif answer.events is not None:
            if self.settings.buffer:
                answer.events = _released(await self._checked(x, rules, answer.events))
            else:
                x.state["schemavalidator"] = (rules, ReadTexts(x, self.name))
        return answer

    async def _checked(self, x: Exchange, rules: list[_Rule], events: AsyncIterator[list[Delta]]) -> list[list[Delta]]:
        """All of a stream, once it is known to be good. One that is not is paid all the same."""
        texts = ReadTexts()
        held: list[list[Delta]] = []
        async for batch in events:
            held.append(batch)
            for delta in batch:
                texts.take(delta)
                if delta.obj is not None and delta.obj.get("usage"):
                    x.usage.take(delta.obj["usage"])
        try:
            self._check_texts(x, rules, texts)
        except StockyardError:
            if not x.usage.source:
                x.usage.input = max(1, len(x.raw) // CHARACTERS_PER_TOKEN)
                x.usage.output = sum(map(len, texts.contents())) // CHARACTERS_PER_TOKEN + 1
                x.usage.source = "estimated"
            raise
        return held

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        watched: tuple[list[_Rule], ReadTexts] | None = x.state.get("schemavalidator")
        if watched is None:
            x.skipped = (x.skipped or set()) | {self.name}
            return
        rules, texts = watched
        texts.take(delta)
        if delta.final:
            self._check_texts(x, rules, texts)

    def _check_texts(self, x: Exchange, rules: list[_Rule], texts: ReadTexts) -> None:
        if not texts.is_whole:
            for rule in rules:
                self._judge(x, rule, [Problem("", "it is too long to be checked")], "response_schema", "The answer")
        self._check(x, rules, texts.choices())

    def _check(self, x: Exchange, rules: list[_Rule], choices: Sequence[JSON]) -> None:
        for choice in choices:
            message = choice.get("message") or {}
            for rule in rules:
                if rule.binding.on == "response":
                    if not message.get("tool_calls"):
                        problems = self._of_text(rule, message.get("content"))
                        self._judge(x, rule, problems, "response_schema", "The answer")
                    continue
                for call in message.get("tool_calls") or ():
                    function = call.get("function") or {}
                    if rule.binding.tool in ("", function.get("name")):
                        problems = self._of_text(rule, function.get("arguments"))
                        self._judge(x, rule, problems, "response_schema", f"A call of {function.get('name')}")

    def _of_text(self, rule: _Rule, text: Any) -> list[Problem]:
        try:
            value = orjson.loads(text) if isinstance(text, str) else text
        except orjson.JSONDecodeError as error:
            return [Problem("", f"it is no JSON: {error}")]
        pointer = rule.binding.pointer
        there, part = at_pointer(value, pointer)
        return self._problems(rule, part, pointer) if there else [_missing(pointer)]

    def _problems(self, rule: _Rule, value: Any, pointer: str) -> list[Problem]:
        return [
            Problem(pointer + problem.pointer, problem.message)
            for problem in rule.schema.problems(value, self.settings.max_errors)
        ]

    def _judge(self, x: Exchange, rule: _Rule, problems: list[Problem], code: str, what: str) -> None:
        if not problems:
            return
        name = rule.binding.name
        x.note(
            "schema", {"binding": name, "errors": [problem.pointer or "/" for problem in problems]}, module=self.name
        )
        if rule.binding.action == "flag":
            return
        first = problems[0]
        raise StockyardError(
            code,
            f"{what} does not fit the schema {name!r}: {first.pointer or 'it'}: {first.message}.",
            param=first.pointer or None,
            details=[problem._asdict() for problem in problems],
            module=self.name,
            retryable=False,
        )


async def _released(held: list[list[Delta]]) -> AsyncIterator[list[Delta]]:
    for batch in held:
        yield batch


def _rule(binding: Binding) -> _Rule:
    everywhere = not binding.team and not binding.tag and binding.match == "*"
    schema = compiled(binding.schema_)
    return _Rule(binding, schema, everywhere, binding.pointer, schema.fits)


def _missing(pointer: str) -> Problem:
    return Problem(pointer, "there is nothing here")
