"""A template's content as it is posted, checked and normalised: messages, variables, model, parameters."""

from __future__ import annotations

from typing import Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from instance.core.errors import StockyardError
from instance.tack_room.mustache import BadTemplate, Node, names, parse
from instance.tack_room.variables import VARIABLES_MAX, Variable

TEMPLATE_MAX_BYTES = 256 << 10
NOT_PARAMS = frozenset(("model", "messages", "stream", "stream_options", "n", "user", "metadata"))
"""Fields of a request that are the caller's alone."""


class Message(BaseModel):
    """One message; its texts are templates."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "developer", "user", "assistant"]
    content: str | list[dict[str, Any]] = Field(description="A text, or parts of which the texts are templates.")
    name: str | None = Field(default=None, max_length=64)

    def texts(self) -> list[str]:
        """Every text of it."""
        if isinstance(self.content, str):
            return [self.content]
        return [part["text"] for part in self.content if isinstance(part.get("text"), str)]


class ContentFields(BaseModel):
    """The fields of the template format that make a version."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(default="", max_length=256, pattern=r"^[!-~]*$", description="Model where the call names none.")
    messages: list[Message] = Field(default=[], max_length=256)
    variables: list[Variable] = Field(default=[], max_length=VARIABLES_MAX)
    params: dict[str, Any] = Field(default={}, description="Parameters where the call sets none.")
    locked: list[str] = Field(
        default=[], max_length=100, description="Names of params (or model) that a call may not set otherwise."
    )
    response_schema: dict[str, Any] | None = Field(default=None, description="JSON Schema of the answer.")

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        made = dict(given)
        messages = [
            {"role": role, "content": made.pop(name)}
            for role, name in (("system", "system_prompt"), ("user", "content"))
            if isinstance(made.get(name), str)
        ]
        if messages:
            more = made.get("messages") or []
            made["messages"] = [*messages, *more] if isinstance(more, list) else more
        defaults = made.pop("defaults", None)
        if isinstance(defaults, dict):
            listed = [
                {"name": each} if isinstance(each, str) else dict(each)
                for each in made.get("variables") or ()
                if isinstance(each, str | dict)
            ]
            known = {each.get("name") for each in listed}
            listed += [{"name": name, "type": _type_of(value)} for name, value in defaults.items() if name not in known]
            made["variables"] = [
                {**each, "default": defaults[each["name"]]} if each.get("name") in defaults else each for each in listed
            ]
        short = {name: made.pop(name) for name in ("temperature", "max_tokens", "top_p") if name in made}
        if short:
            made["params"] = {**short, **(made.get("params") or {})}
        return made

    @model_validator(mode="after")
    def _checked(self) -> ContentFields:
        if len({variable.name for variable in self.variables}) < len(self.variables):
            raise ValueError("two variables have the same name")
        for name in self.params:
            if name in NOT_PARAMS or name.startswith("_"):
                raise ValueError(f"params may not hold {name!r}: it is the call's own")
        for name in self.locked:
            if name not in self.params and not (name == "model" and self.model) and name != "response_format":
                raise ValueError(f"locked names {name!r}, which is not among the params")
        return self

    def normalised(self) -> tuple[dict[str, Any], list[str]]:
        """The content as it is stored, every used variable declared, and warnings of those that were not.

        Raises `bad_template` with line and column, `missing_field` without messages."""
        if not self.messages:
            raise StockyardError("missing_field", "A template needs `messages` or `content`.", param="messages")
        declared = {variable.name: variable for variable in self.variables}
        holders = frozenset(name for name, each in declared.items() if each.type in ("list", "object"))
        used: dict[str, None] = {}
        for number, message in enumerate(self.messages):
            for text in message.texts():
                used |= dict.fromkeys(names(parsed(text, f"messages[{number}].content"), holders))
        added = [name for name in used if name not in declared]
        if len(declared) + len(added) > VARIABLES_MAX:
            raise StockyardError("invalid_value", f"At most {VARIABLES_MAX} variables.", param="variables")
        variables = [*self.variables, *(Variable(name=name) for name in added)]
        content = {
            "model": self.model,
            "messages": [message.model_dump(exclude_none=True) for message in self.messages],
            "variables": [variable.model_dump(exclude_defaults=True) for variable in variables],
            "params": self.params,
            "locked": self.locked,
            "response_schema": self.response_schema,
        }
        if len(orjson.dumps(content)) > TEMPLATE_MAX_BYTES:
            raise StockyardError("body_too_large", f"A template has at most {TEMPLATE_MAX_BYTES >> 10} KiB.")
        warnings = [f"{{{{{name}}}}} is used and was not declared: it is a required string now" for name in added]
        warnings += [f"{name!r} is declared and not used" for name in declared if name not in used]
        return content, warnings


def parsed(text: str, place: str) -> tuple[Node, ...]:
    """The nodes of a text. Raises `bad_template` with line and column."""
    try:
        return parse(text)
    except BadTemplate as problem:
        raise StockyardError(
            "bad_template",
            f"{place}, line {problem.line}, column {problem.column}: {problem}.",
            param=place,
            details={"line": problem.line, "column": problem.column},
        ) from None


def flattened(messages: list[dict[str, Any]]) -> str:
    """The messages as one text: a single user message as it is, others with their roles."""
    texts = [(each["role"], "\n".join(Message.model_validate(each).texts())) for each in messages]
    if len(texts) == 1 and texts[0][0] == "user":
        return texts[0][1]
    return "\n\n".join(f"{role}: {text}" for role, text in texts)


def _type_of(value: Any) -> str:
    kinds: tuple[tuple[type, str], ...] = (
        (bool, "boolean"),
        (int, "number"),
        (float, "number"),
        (list, "list"),
        (dict, "object"),
    )
    return next((name for kind, name in kinds if isinstance(value, kind)), "string")
