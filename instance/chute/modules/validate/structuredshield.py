"""structuredshield: makes structured output work on every target, and asks again until it fits."""

from __future__ import annotations

import json
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import orjson
from pydantic import BaseModel, ConfigDict, Field, field_validator

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.asked_again import Asked, AskedAgain
from instance.chute.call_identity import model_names
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.module import Call, Module, ModuleSettings
from instance.chute.modules.validate.broken_json import mended
from instance.chute.modules.validate.json_schema import BadSchema, Problem, compiled
from instance.chute.modules.validate.read_texts import ReadTexts
from instance.chute.modules.validate.schema_fit import fitted
from instance.chute.modules.validate.schema_ways import PROBLEMS_TOLD, WAYS, Wanted, Way, corrected, instructed, native
from instance.chute.modules.validate.structured_answer import calls_tools, texts_of, with_values
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.catalogue import Catalogue
    from instance.core.core import Core

HEADER = b"x-stockyard-schema"
SCHEMAS_MAX = 200
TARGETS_REMEMBERED = 1_000


class Bind(BaseModel):
    """Calls that get a schema without asking for one."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    match: str = Field(default="*", min_length=1, max_length=256, description="Glob of the models.")
    tag: str = Field(default="", max_length=200, description="Only calls with this tag: name or name=value.")
    schema_: str = Field(alias="schema", min_length=1, max_length=100, description="Name of the schema, in schemas.")


class Value(NamedTuple):
    """What a choice said, the JSON that is delivered in its place (`None`: it stays), and what is wrong with it."""

    said: str
    made: str | None
    problems: list[Problem]


class StructuredShield(Module):
    """The schema is the caller's (`response_format`), one of `schemas` named by `X-Stockyard-Schema`, or bound in settings.

    A target that knows schemas gets it as it is; one that knows only tools gets a forced tool, unwrapped again; any other an
    instruction with an example. The answer must fit; if it does not, the same is asked again with what was wrong, and the
    attempt with the fewest problems is kept. What is delivered is the JSON value and nothing else.
    """

    name: ClassVar[str] = "structuredshield"
    category: ClassVar[str] = "validate"
    group: ClassVar[int] = 10
    summary: ClassVar[str] = "Makes structured output work on every model, and asks again until it fits"
    rejects: ClassVar[tuple[str, ...]] = ("structured_output_failed", "invalid_schema")
    kinds: ClassVar[frozenset[str]] = frozenset(("chat",))
    per_client: ClassVar[bool] = True

    class Settings(ModuleSettings):
        max_retries: int = Field(default=2, ge=0, le=10, description="How often the same is asked again.")
        on_fail: Literal["reject", "pass"] = Field(
            default="reject", description="What becomes of an answer that never fits."
        )
        schemas: dict[str, dict[str, Any]] = Field(
            default={}, max_length=SCHEMAS_MAX, description="Name -> JSON Schema, for the header and for bind."
        )
        bind: list[Bind] = Field(
            default=[], max_length=SCHEMAS_MAX, description="Calls that get a schema by themselves."
        )
        coerce: bool = Field(
            default=True, description="Turn text into numbers, booleans and null where that is wanted."
        )
        strip_extra: bool = Field(default=False, description="Take out properties that the schema forbids.")

        @field_validator("schemas")
        @classmethod
        def _compile(cls, schemas: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
            for name, schema in schemas.items():
                try:
                    compiled(schema)
                except BadSchema as problem:
                    raise ValueError(f"{name!r} is no usable JSON Schema: {problem}") from None
            return schemas

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        for number, bind in enumerate(settings.bind):
            if bind.schema_ not in settings.schemas:
                raise StockyardError(
                    "invalid_value",
                    f"There is no schema {bind.schema_!r} in `schemas`.",
                    param=f"config.bind.{number}.schema",
                )
        self._binds = bool(settings.bind)
        self._core: Core
        self._catalogue: Catalogue
        self._no_schemas: dict[str, None] = {}  # targets that refused `response_format`, bounded

    async def start(self, core: Core, previous: Module | None) -> None:
        self._core = core
        self._catalogue = core.services["catalogue"]
        if isinstance(previous, StructuredShield):
            self._no_schemas = previous._no_schemas

    def passes(self, x: Exchange) -> bool:
        if self._binds or HEADER in x.headers:
            return False
        req = x.req
        if "response_format" not in req:
            return True
        form = req["response_format"]
        return type(form) is not dict or form.get("type") != "json_schema"

    async def around(self, x: Exchange, call: Call) -> Answer:
        wanted = self._wanted(x)
        if wanted is None:
            return await call(x)
        way = self._way(x)
        again = AskedAgain(x, call, self.name, self._core.services.get("price"), self._core.clock)
        if x.stream and way == "native":
            asked, label = x.req, x.targets[0].label if x.targets else ""
            x.req = native(asked, wanted)
            x.change()
            try:
                answer = await call(x)
            except CallFailed as failure:
                if not _refuses_schemas(failure):
                    raise
                self._remember(label)
                x.req, way = asked, "instruct"
            else:
                x.state["structuredshield"] = (wanted, ReadTexts(x, self.name))
                return answer
        if x.stream:
            return await again.soon(lambda: self._until_it_fits(x, again, wanted, way))
        return await self._until_it_fits(x, again, wanted, way)

    def _wanted(self, x: Exchange) -> Wanted | None:
        """The schema of this call. Raises `invalid_schema` for the caller's own that is none."""
        form = x.req.get("response_format")
        given = form.get("json_schema") if type(form) is dict and form.get("type") == "json_schema" else None
        if type(given) is dict:
            schema = given.get("schema", {})
            try:
                return Wanted(str(given.get("name") or "answer"), schema, compiled(schema))
            except (BadSchema, TypeError) as problem:
                raise StockyardError(
                    "invalid_schema",
                    f"The schema cannot be used: {problem}.",
                    param="response_format.json_schema.schema",
                    module=self.name,
                    retryable=False,
                ) from None
        named = x.headers.get(HEADER, b"").decode("latin-1").strip() or self._bound(x)
        if not named:
            return None
        if named not in self.settings.schemas:
            names = ", ".join(sorted(self.settings.schemas)) or "none"
            raise StockyardError(
                "invalid_schema", f"There is no schema {named!r}; there are: {names}.", param="X-Stockyard-Schema"
            )
        schema = self.settings.schemas[named]
        return Wanted(named, schema, compiled(schema))

    def _bound(self, x: Exchange) -> str:
        names = model_names(x)
        for bind in self.settings.bind:
            tag, equals, value = bind.tag.partition("=")
            if tag and (tag not in x.tags or (equals and x.tags[tag] != value)):
                continue
            if any(fnmatchcase(name, bind.match) for name in names):
                return bind.schema_
        return ""

    def _way(self, x: Exchange) -> Way:
        target = x.targets[0] if x.targets else None
        if target is None:
            return "instruct"
        model = self._catalogue.of(target)
        tools = bool(x.req.get("tools"))
        if target.provider.dialect != "openai" or (model is not None and model.can("json_schema")):
            return "native"  # a shim translates what its provider has for it
        if target.label in self._no_schemas:
            return "instruct"
        if model is not None:
            return "tool" if model.can("tools") and not tools else "instruct"
        return "native"

    async def _until_it_fits(self, x: Exchange, again: AskedAgain, wanted: Wanted, way: Way) -> Answer:
        best: tuple[int, Asked, list[Value]] | None = None
        req = x.req
        for number in range(self.settings.max_retries + 1):
            asked, way = await self._ask(x, again, req, wanted, way)
            if way != "tool" and calls_tools(asked.answer):
                return again.deliver(asked)  # it calls the caller's own tools: its answer comes later
            values = [self._checked(text, wanted) for text in texts_of(asked.answer, wanted.schema, way == "tool")]
            problems = [problem for value in values for problem in value.problems]
            x.note(
                "attempt",
                {"n": number + 1, "errors": [problem.pointer or "/" for problem in problems]},
                module=self.name,
            )
            if best is None or len(problems) < best[0]:
                best = (len(problems), asked, values)
            if not problems:
                break
            bad = next(value for value in values if value.problems)
            req = corrected(x.req, bad.said, bad.problems)
        assert best is not None
        count, asked, values = best
        if count and self.settings.on_fail == "reject":
            again.give_up()
            bad = next(value for value in values if value.problems)
            problem = bad.problems[0]
            raise StockyardError(
                "structured_output_failed",
                f"The answer does not fit the schema {wanted.name!r} after {number + 1} attempts: "
                f"{problem.pointer or 'it'}: {problem.message}.",
                param=problem.pointer or None,
                details={"answer": bad.said[:4000], "errors": [each._asdict() for each in bad.problems]},
                module=self.name,
                retryable=False,
            )
        asked.answer = with_values(asked.answer, [value.made for value in values], way == "tool")
        return again.deliver(asked)

    async def _ask(self, x: Exchange, again: AskedAgain, req: JSON, wanted: Wanted, way: Way) -> tuple[Asked, Way]:
        """One attempt; a target that refuses schemas is asked by instruction from then on."""
        try:
            return await again.ask(WAYS[way](req, wanted)), way
        except CallFailed as failure:
            if way != "native" or not _refuses_schemas(failure):
                raise
        self._remember(x.targets[0].label)
        return await again.ask(instructed(req, wanted)), "instruct"

    def _remember(self, label: str) -> None:
        """The target knows no schemas."""
        if len(self._no_schemas) >= TARGETS_REMEMBERED:
            self._no_schemas.pop(next(iter(self._no_schemas)))
        self._no_schemas[label] = None

    def _checked(self, text: str | None, wanted: Wanted) -> Value:
        """What a choice said as the JSON to deliver; a choice that declines to answer is delivered as it is."""
        return Value("", None, []) if text is None else Value(text, *self._value(text, wanted))

    def _value(self, text: str, wanted: Wanted) -> tuple[str, list[Problem]]:
        """The JSON to deliver, and what is wrong with it."""
        bare = text.strip()
        try:
            value = orjson.loads(bare)
        except orjson.JSONDecodeError as error:
            found = mended(bare, 60)
            if not found.text:
                return text, [Problem("", f"it is no JSON: {error}")]
            bare = found.text
            value = orjson.loads(bare)
        problems = wanted.check.problems(value, PROBLEMS_TOLD)
        if not problems:
            return bare, []
        own = self.settings
        changed = fitted(value, wanted.schema, coerce=own.coerce, strip_extra=own.strip_extra)
        if changed is value:
            return bare, problems
        return json.dumps(changed, ensure_ascii=False), wanted.check.problems(changed, PROBLEMS_TOLD)

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        """A stream that was passed through is checked at its end."""
        watched: tuple[Wanted, ReadTexts] | None = x.state.get("structuredshield")
        if watched is None:
            x.skipped = (x.skipped or set()) | {self.name}
            return
        wanted, texts = watched
        texts.take(delta)
        if not delta.final or not texts.is_whole:
            return
        for text in texts.contents():
            _, problems = self._value(text, wanted) if text.strip() else ("", [])
            if not problems:
                continue
            x.note("attempt", {"n": 1, "errors": [problem.pointer or "/" for problem in problems]})
            if self.settings.on_fail == "reject":
                raise StockyardError(
                    "structured_output_failed",
                    f"The answer does not fit the schema {wanted.name!r}: {problems[0].message}.",
                    param=problems[0].pointer or None,
                    retryable=False,
                )


def _refuses_schemas(failure: CallFailed) -> bool:
    """Whether a target failed for the form that it was asked for."""
    return failure.status in (400, 422) and b"response_format" in failure.body
