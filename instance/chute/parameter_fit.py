"""A request's parameters made to fit a model, by what is known of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from instance.chute.answer import JSON
    from instance.chute.catalogue import Model
    from instance.chute.model_parameters import ModelParameters

REASONING_UNSUPPORTED = (
    "temperature",
    "top_p",
    "presence_penalty",
    "frequency_penalty",
    "logprobs",
    "top_logprobs",
    "logit_bias",
)
MAX_TOKENS = ("max_tokens", "max_completion_tokens")
EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
NEUTRAL: Mapping[str, Any] = {"temperature": 1, "top_p": 1, "presence_penalty": 0, "frequency_penalty": 0, "n": 1}
"""Values that say nothing: a model that refuses the parameter takes them (OpenAI's do), or loses nothing without them."""
NEVER_SET = frozenset(("model", "messages", "stream"))

Range = tuple[float, float, frozenset[type]]
"""The least and the greatest value, and the types whose values it holds for."""


class Change(NamedTuple):
    """One parameter that was made to fit."""

    name: str
    before: Any
    after: Any
    why: str
    unsupported: bool = False
    """The model does not take it at all."""


@dataclass(slots=True)
class Fit:
    """Everything that is known of one target, ready to be asked: `watched` are the parameters that may have to change."""

    unsupported: set[str] = field(default_factory=set)
    max_tokens_name: str = ""
    max_output_tokens: int = 0
    ranges: dict[str, tuple[float, float]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    values: dict[str, list[str]] = field(default_factory=dict)
    system_role: str = ""
    stop_max: int | None = None
    n_max: int | None = None
    tool_choice_required: bool = True
    keeps_neutral: bool = False
    defaults: JSON = field(default_factory=dict)
    locks: JSON = field(default_factory=dict)
    scale: bool = False
    """A temperature is mapped from 0-2 to the model's own scale."""
    watched: frozenset[str] = frozenset()
    _suits: dict[str, Range | Callable[[Any], bool]] = field(default_factory=dict)
    """For each parameter to watch, the range in which it stays as it is, or a question that says so."""

    def add(self, rule: ModelParameters) -> None:
        """Let a rule add to what the ones before it say."""
        if rule.reasoning:
            self.unsupported.update(REASONING_UNSUPPORTED)
            self.max_tokens_name = "max_completion_tokens"
            self.keeps_neutral = True
        self.unsupported.update(rule.unsupported)
        self.unsupported.difference_update(rule.supported)
        self.max_tokens_name = rule.max_tokens_name or self.max_tokens_name
        self.max_output_tokens = rule.max_output_tokens or self.max_output_tokens
        self.ranges.update(rule.ranges)
        self.names.update(rule.names)
        self.values.update(rule.values)
        self.system_role = rule.system_role or self.system_role
        self.stop_max = rule.stop_max if rule.stop_max is not None else self.stop_max
        self.n_max = rule.n_max if rule.n_max is not None else self.n_max
        if rule.tool_choice_required is not None:
            self.tool_choice_required = rule.tool_choice_required

    def add_catalogue(self, model: Model) -> None:
        """Let the catalogue add what it knows of the model."""
        self.max_output_tokens = model.output_tokens or self.max_output_tokens
        for name, known in model.parameters.items():
            if known is False:
                self.unsupported.add(name)
                if name == "logprobs":
                    self.unsupported.add("top_logprobs")
            elif isinstance(known, (list, tuple)):
                self.values[name] = [str(value) for value in known]

    def seal(self) -> None:
        """No more is added; find out what to watch."""
        watched = {*self.unsupported, *self.ranges, *self.names, *self.values, *self.locks}
        if self.max_tokens_name or self.max_output_tokens:
            watched.update(MAX_TOKENS)
        if self.stop_max is not None:
            watched.add("stop")
        if self.n_max is not None:
            watched.add("n")
        if not self.tool_choice_required:
            watched.add("tool_choice")
        self.watched = frozenset(watched)
        self._suits = {name: self._suiting(name) for name in watched}

    def _suiting(self, name: str) -> Range | Callable[[Any], bool]:
        """When the parameter stays as it is: the same as `_one` and `_limit_tokens` decide, asked without a copy."""
        if (
            name in MAX_TOKENS
            and self.max_tokens_name in ("", name)
            and name not in self.unsupported | self.names.keys()
        ):
            return float("-inf"), float(self.max_output_tokens or "inf"), _WHOLE_NUMBERS
        plain = name in self.ranges and not (self.unsupported | self.names.keys() | self.values.keys()) & {name}
        if plain and not (name == "temperature" and self.scale and self.ranges[name][1] < 2):
            return *self.ranges[name], _NUMBERS
        return lambda value: not self.fitted({name: value}, own_only=False)[1]

    def suits(self, req: JSON) -> bool:
        """Whether the model takes the request as it is; quick for the calls that most are."""
        if self.defaults or self.locks:
            return False
        for name in self.watched.intersection(req):
            value = req[name]
            rule = self._suits[name]
            if type(rule) is tuple:
                if type(value) in rule[2] and not rule[0] <= value <= rule[1]:
                    return False
            elif value is not None and not rule(value):  # type: ignore[operator]
                return False
        if self.system_role:
            wrong = "developer" if self.system_role == "system" else "system"
            for message in req.get("messages") or ():
                if message.get("role") == wrong:
                    return False
        return True

    @property
    def idle(self) -> bool:
        """Whether nothing can ever have to change."""
        return not (self.watched or self.defaults or self.locks or self.system_role)

    def fitted(self, req: JSON, *, own_only: bool = False) -> tuple[JSON, list[Change]]:
        """The request as the model takes it, and what was changed; the same object when nothing was.

        `own_only`: nothing but defaults and locks.
        """
        changes: list[Change] = []
        sent = dict(req)
        if not own_only:
            self._limit_tokens(sent, changes)
            for name in self.watched.intersection(sent):
                self._one(name, sent, changes)
            if self.system_role:
                self._roles(sent, changes)
        self._own(sent, changes)
        return (sent, changes) if changes else (req, changes)

    def _limit_tokens(self, sent: JSON, changes: list[Change]) -> None:
        for name in MAX_TOKENS:
            value = sent.get(name)
            if self.max_output_tokens and type(value) is int and value > self.max_output_tokens:
                sent[name] = self.max_output_tokens
                changes.append(Change(name, value, self.max_output_tokens, "above the model's longest answer"))
        wanted = self.max_tokens_name
        if not wanted:
            return
        other = MAX_TOKENS[0] if wanted == MAX_TOKENS[1] else MAX_TOKENS[1]
        if sent.get(other) is not None:
            value = sent.pop(other)
            if sent.get(wanted) is None:
                sent[wanted] = value
            changes.append(Change(other, value, {wanted: sent[wanted]}, "the model calls it so"))

    def _one(self, name: str, sent: JSON, changes: list[Change]) -> None:
        value = sent[name]
        if value is None:
            return
        if name in self.unsupported:
            if not (self.keeps_neutral and name in NEUTRAL and value == NEUTRAL[name]):
                del sent[name]
                changes.append(
                    Change(name, value, None, "the model does not take it", value != NEUTRAL.get(name, _NONE))
                )
            return
        fitted, why = self._value(name, value)
        if fitted != value:
            sent[name] = fitted
            changes.append(Change(name, value, fitted, why))
        if name in self.names:
            sent[self.names[name]] = sent.pop(name)
            changes.append(Change(name, fitted, {self.names[name]: fitted}, "the model calls it so"))

    def _value(self, name: str, value: Any) -> tuple[Any, str]:
        """The nearest value that the model takes, and why it is another."""
        limits = self.ranges.get(name)
        if limits is not None and type(value) in (int, float):
            low, high = limits
            if name == "temperature" and self.scale and high < 2:
                return round(min(max(value, 0), 2) * high / 2, 4), f"scaled from 0-2 to 0-{high:g}"
            if not low <= value <= high:
                nearest = min(max(value, low), high)
                return (int(nearest) if nearest == int(nearest) else nearest), f"the model takes {low:g} to {high:g}"
        allowed = self.values.get(name)
        if allowed and isinstance(value, str) and value not in allowed:
            return nearest_value(name, value, allowed), f"the model takes {', '.join(allowed)}"
        if name == "stop" and self.stop_max is not None and isinstance(value, list) and len(value) > self.stop_max:
            return value[: self.stop_max], f"the model takes {self.stop_max}"
        if name == "n" and self.n_max is not None and type(value) is int and value > self.n_max:
            return self.n_max, f"the model gives at most {self.n_max}"
        if name == "tool_choice" and not self.tool_choice_required and value != "none" and value != "auto":
            return "auto", "the model cannot be made to call a tool"
        return value, ""

    def _roles(self, sent: JSON, changes: list[Change]) -> None:
        messages = sent.get("messages")
        if not isinstance(messages, list):
            return
        wrong = "developer" if self.system_role == "system" else "system"
        places = [place for place, message in enumerate(messages) if message.get("role") == wrong]
        if places:
            sent["messages"] = [
                {**message, "role": self.system_role} if message.get("role") == wrong else message
                for message in messages
            ]
            changes += [
                Change(f"messages[{place}].role", wrong, self.system_role, "the role that the model knows")
                for place in places
            ]

    def _own(self, sent: JSON, changes: list[Change]) -> None:
        """The operator's defaults and locks, which are the last word."""
        has_limit = any(name in sent for name in MAX_TOKENS)
        for name, value in self.defaults.items():
            if sent.get(name) is None and not (name in MAX_TOKENS and has_limit):
                sent[name] = value
                changes.append(Change(name, None, value, "default"))
        for name, value in self.locks.items():
            if sent.get(name, _NONE) != value:
                changes.append(Change(name, sent.get(name), value, "locked"))
                sent[name] = value


_NONE: Any = object()
_NUMBERS = frozenset((int, float))
_WHOLE_NUMBERS = frozenset((int,))


def nearest_value(name: str, value: str, allowed: list[str]) -> str:
    """The allowed value nearest to what was asked for: for levels of effort by their order (`none` only when it was asked
    for), else the first."""
    if name != "reasoning_effort" or value not in EFFORTS:
        return allowed[0]
    levels = [level for level in allowed if level in EFFORTS and (level != "none" or value == "none")] or allowed
    place = EFFORTS.index(value)
    return min(levels, key=lambda level: (abs(EFFORTS.index(level) - place), EFFORTS.index(level)))
