"""What follows from which score: the categories of harm with their thresholds, and the user's own rules and examples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import re2
from pydantic import BaseModel, ConfigDict, Field, field_validator

from instance.chute.expressions import require_re2

ORDER = ("flag", "help", "redact", "block")

Action = Literal["off", "flag", "redact", "help", "block"]
Category = Literal["harassment", "hate", "violence", "self_harm", "sexual", "sexual/minors", "illicit", "profanity"]
Pattern = Annotated[str, Field(min_length=1, max_length=1000)]


class CategoryRule(BaseModel):
    """What happens with a category, and from which score."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    threshold: float = Field(default=0.7, ge=0, le=1, description="Score from which the action is taken, 0 to 1.")
    action: Action = Field(default="flag", description="What follows from the score on.")


class CustomRule(BaseModel):
    """A rule of the user's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9_]{1,64}$", description="Its name in the trail.")
    re2: Pattern = Field(description="RE2 expression.")
    action: Action = Field(default="flag", description="What follows where it matches.")

    @field_validator("re2")
    @classmethod
    def _compiles(cls, expression: str) -> str:
        return require_re2(expression)


class Example(BaseModel):
    """A text of the user's own that stands for a category, or for harmless ones."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    category: Category | Literal["none"] = Field(description="What it is an example of; none: harmless.")
    text: str = Field(min_length=3, max_length=500, description="The example.")


DEFAULTS: Mapping[str, Action] = {
    "sexual/minors": "block",
    "self_harm": "help",
    "illicit": "block",
    "profanity": "off",
}


class HarmActions:
    """The limits of the categories that are not off, and the rules of the user's own, whose scores are named `custom:` and their name."""

    def __init__(self, categories: Mapping[Any, CategoryRule], custom: Sequence[CustomRule]) -> None:
        self._limits: dict[str, tuple[float, Action]] = {
            name: (0.7, DEFAULTS.get(name, "flag"))
            for name in Category.__args__  # type: ignore[attr-defined]
        }
        for name, rule in categories.items():
            self._limits[name] = (rule.threshold, rule.action)
        self._limits = {name: limit for name, limit in self._limits.items() if limit[1] != "off"}
        self.custom = [(rule.name, re2.compile(rule.re2), rule.action) for rule in custom if rule.action != "off"]
        """Name, compiled expression and action."""

    @property
    def only_flag(self) -> bool:
        """Whether nothing of it changes or refuses a text."""
        return {action for _, action in self._limits.values()} | {action for _, _, action in self.custom} <= {"flag"}

    def least(self, names: Sequence[str]) -> float:
        """The lowest threshold among these categories."""
        return min((limit for name, (limit, _) in self._limits.items() if name in names), default=1.0)

    def named(self, text: str) -> dict[str, float]:
        """The custom rules that hit, with 1."""
        return {"custom:" + name: 1.0 for name, expression, _ in self.custom if expression.search(text)}

    def reaches(self, scores: Mapping[str, float]) -> bool:
        """Whether any category reached its threshold."""
        return any((limit := self._limit(name)) is not None and score >= limit[0] for name, score in scores.items())

    def reached(self, scores: Mapping[str, float]) -> list[tuple[str, float, Action]]:
        """The categories that reached their threshold, by name, each with its score and action."""
        found = []
        for name, score in sorted(scores.items()):
            limit = self._limit(name)
            if limit is not None and score >= limit[0]:
                found.append((name, score, limit[1]))
        return found

    def _limit(self, name: str) -> tuple[float, Action] | None:
        if name.startswith("custom:"):
            return next(((0.0, action) for own, _, action in self.custom if own == name[7:]), None)
        return self._limits.get(name)


def strongest(reached: Sequence[tuple[str, float, Action]]) -> tuple[str, str] | None:
    """The first of the strongest actions, with its category."""
    if not reached:
        return None
    name, _, action = max(reached, key=lambda each: ORDER.index(each[2]))
    return action, name
