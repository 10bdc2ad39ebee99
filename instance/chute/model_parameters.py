"""What is known of models' request parameters: which they take, their ranges and names. Kept as data, extended by users."""

from __future__ import annotations

import re
import tomllib
from fnmatch import translate
from functools import cache
from importlib import resources
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class ModelParameters(BaseModel):
    """What is known of one model's parameters; what is absent is taken as usual."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reasoning: bool = Field(
        default=False, description="As OpenAI's reasoning models: no sampling, max_completion_tokens."
    )
    unsupported: list[str] = Field(default=[], max_length=100, description="Parameters that it refuses.")
    supported: list[str] = Field(
        default=[], max_length=100, description="Parameters that it takes although others say no."
    )
    max_tokens_name: Literal["max_tokens", "max_completion_tokens"] | None = Field(
        default=None, description="The name of the output limit that it takes; unset: either."
    )
    max_output_tokens: int | None = Field(
        default=None, ge=1, le=10**9, description="The longest answer that may be asked for."
    )
    ranges: dict[str, tuple[float, float]] = Field(default={}, max_length=50, description="Lowest and highest values.")
    names: dict[str, str] = Field(default={}, max_length=50, description="Its own names of parameters.")
    values: dict[str, list[str]] = Field(default={}, max_length=50, description="The values that a parameter may have.")
    system_role: Literal["system", "developer"] | None = Field(
        default=None, description="The role that it knows for instructions; unset: either."
    )
    stop_max: int | None = Field(default=None, ge=0, le=10_000, description="How many stop sequences it takes.")
    n_max: int | None = Field(default=None, ge=1, le=10_000, description="How many answers one call may ask for.")
    tool_choice_required: bool | None = Field(default=None, description="False: it cannot be made to call a tool.")

    @field_validator("ranges")
    @classmethod
    def _ordered(cls, ranges: dict[str, tuple[float, float]]) -> dict[str, tuple[float, float]]:
        for name, (low, high) in ranges.items():
            if low > high:
                raise ValueError(f"the range of {name} begins above its end")
        return ranges


class Matched:
    """A glob of `provider/model`, or of a bare model when it has no slash."""

    __slots__ = ("_bare", "_pattern")

    def __init__(self, glob: str) -> None:
        self._bare = "/" not in glob
        self._pattern = re.compile(translate(glob))

    def fits(self, provider: str, dialect: str, model: str) -> bool:
        """Whether it fits a target, by its provider's name or dialect."""
        if self._bare:
            return self._pattern.match(model) is not None
        return any(self._pattern.match(f"{head}/{model}") for head in (provider, dialect))


@cache
def bundled_rules() -> tuple[tuple[Matched, ModelParameters], ...]:
    """The rules of `data/parameters.toml`, in order."""
    text = (resources.files("instance.chute") / "data" / "parameters.toml").read_text("utf-8")
    rules: list[tuple[Matched, ModelParameters]] = []
    for row in tomllib.loads(text)["rules"]:
        values = dict(row)
        globs = values.pop("match")
        rule = ModelParameters.model_validate(values)
        rules += [(Matched(glob), rule) for glob in globs]
    return tuple(rules)
