"""What an answer can be checked for: each check says whether the answer passes, as a share of 1. Pure but for the judge and
the embedder, which are evalgate's."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, NamedTuple

import orjson
import re2
from pydantic import BaseModel, ConfigDict, Field, model_validator

from instance.chute.language import language_of
from instance.chute.modules.validate.json_schema import BadSchema, compiled

CheckType = Literal[
    "not_empty", "min_chars", "max_chars", "min_words", "max_words", "contains", "not_contains", "matches", "not_matches",
    "json", "json_schema", "language", "not_refusal", "not_cut", "similarity", "readability", "judge",
]  # fmt: skip
NUMBERS = {
    "min_chars": (1, 10_000_000),
    "max_chars": (0, 10_000_000),
    "min_words": (1, 1_000_000),
    "max_words": (0, 1_000_000),
}
NEEDED = {
    "contains": ("text",), "not_contains": ("text",), "matches": ("pattern",), "not_matches": ("pattern",),
    "json_schema": ("schema",), "language": ("code",), "similarity": ("min",), **dict.fromkeys(NUMBERS, ("value",)),
}  # fmt: skip
ALLOWED = {
    "contains": ("text", "ignore_case"), "not_contains": ("text", "ignore_case"), "not_refusal": ("phrases",),
    "readability": ("min", "max"), "judge": ("rubric", "min_score"),
}  # fmt: skip
SHORT_NAMES = {
    "value": ("n", "chars", "words", "min", "max"),
    "pattern": ("re2", "value"),
    "text": ("value",),
    "code": ("value",),
    "min": ("value",),
}
JUDGE_PASSES = 7.0


class Check(BaseModel):
    """One check and what follows when an answer fails it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: CheckType = Field(description="What is checked of the answer.")
    params: dict[str, Any] = Field(
        default={},
        description=(
            "value (min_chars, max_chars, min_words, max_words), text and ignore_case (contains, not_contains), pattern "
            "(matches, not_matches: RE2), schema (json_schema), code (language), phrases (not_refusal: more beginnings), min "
            "(similarity: cosine to the question), min and max (readability: Flesch reading ease), rubric and min_score (judge)."
        ),
    )
    weight: float = Field(default=1.0, gt=0, le=1_000, description="Share in the score.")
    action: Literal["retry", "flag", "reject"] = Field(
        default="retry", description="retry asks again, flag only notes it, reject refuses the answer."
    )

    @model_validator(mode="before")
    @classmethod
    def _short_names(cls, given: Any) -> Any:
        if isinstance(given, dict) and isinstance(given.get("params"), dict):
            params = dict(given["params"])
            for name in NEEDED.get(str(given.get("type")), ()):
                for short in (*SHORT_NAMES.get(name, ()), str(given["type"])):
                    if name not in params and short in params:
                        params[name] = params.pop(short)
            return {**given, "params": params}
        return given

    @model_validator(mode="after")
    def _usable(self) -> Check:
        params, needed = self.params, NEEDED.get(self.type, ())
        for name in needed:
            if name not in params:
                raise ValueError(f"{self.type} needs `{name}` in params")
        for name in params:
            if name not in ALLOWED.get(self.type, needed):
                raise ValueError(f"{self.type} has no param `{name}`")
        if self.type in NUMBERS:
            low, high = NUMBERS[self.type]
            if type(params["value"]) is not int or not low <= params["value"] <= high:
                raise ValueError(f"value must be a whole number from {low} to {high}")
        for name in ("text", "pattern", "code", "rubric"):
            if name in params and not (isinstance(params[name], str) and 0 < len(params[name]) <= 10_000):
                raise ValueError(f"{name} must be a text")
        for name, bounds in (("min_score", (0, 10)), ("min", (-1_000, 1_000)), ("max", (-1_000, 1_000))):
            value = params.get(name)
            if value is not None and not (isinstance(value, int | float) and bounds[0] <= value <= bounds[1]):
                raise ValueError(f"{name} must be a number from {bounds[0]} to {bounds[1]}")
        if self.type == "not_refusal" and not all(isinstance(each, str) and each for each in params.get("phrases", [])):
            raise ValueError("phrases must be a list of texts")
        if "pattern" in params:
            try:
                re2.compile(params["pattern"])
            except re2.error as error:
                raise ValueError(f"{params['pattern']!r} is no RE2 expression: {error}") from None
        if self.type == "json_schema":
            try:
                compiled(params["schema"])
            except (BadSchema, TypeError) as problem:
                raise ValueError(f"the schema cannot be used: {problem}") from None
        return self


class Said(NamedTuple):
    """An answer to check."""

    text: str
    finish_reason: str


_REFUSAL = re.compile(
    r"""^\W*(?:(?:i['’]?m|i\ am)\s+(?:so\s+|very\s+|really\s+)?sorry|sorry|i\ apologi[sz]e|unfortunately|as\ an\ ai\b[^.,]*)?[\s,.;:–-]*(?:but\s+)?
    (?:i\s+(?:can['’]?t|cannot|can\ not|won['’]?t|will\ not|must\ decline|do\ not\ feel|don['’]?t\ feel)\b(?!\s+(?:wait|help\s+but|say\s+enough|stress|thank))
      |i(?:['’]m|\s+am)\s+(?:unable|not\ able|not\ allowed|not\ permitted|not\ comfortable|prohibited)
      |(?:es\s+tut\s+mir\s+leid|tut\s+mir\s+leid|leider)[\s,]+(?:aber\s+)?(?:ich\s+)?(?:kann|darf|werde)(?:\s+ich)?\b[^.]*\bnicht
      |ich\s+kann\s+(?:dir|ihnen|das|dabei|diese)?[^.]{0,40}\bnicht\b[^.]{0,40}\b(?:helfen|beantworten|erfüllen|unterstützen)
      |(?:je\s+suis\s+désolée?|désolée?)[\s,]+(?:mais\s+)?je\s+ne\s+(?:peux|puis)
      |(?:lo\s+siento|perdona)[\s,]+(?:pero\s+)?no\s+puedo)""",
    re.IGNORECASE | re.VERBOSE,
)
_REFUSED = re.compile(
    r"^.{0,160}?\b(?:assist|help|comply|provide|fulfil|answer|support|discuss|create|generate|share|do\ that|continue|engage|write|nicht|peux|puis|puedo)\b",
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)


def refuses(text: str, phrases: list[str]) -> bool:
    """Whether the answer begins by declining, or with one of the phrases."""
    begins = text.lstrip()[:400]
    if phrases and begins.casefold().startswith(tuple([phrase.casefold() for phrase in phrases])):
        return True
    return _REFUSAL.match(begins) is not None and _REFUSED.match(begins) is not None


def reading_ease(text: str) -> float:
    """Flesch reading ease (1948): 206.835 - 1.015 words per sentence - 84.6 syllables per word; 60 to 70 is plain English."""
    words = re.findall(r"[^\W\d_]+", text)
    sentences = max(1, len(re.findall(r"[.!?…]+(?=\s|\Z)", text)))
    if not words:
        return 0.0
    syllables = sum(max(1, len(re.findall(r"[aeiouyäöüáéíóúàèìòùâêîôû]+", word.lower()))) for word in words)
    return 206.835 - 1.015 * len(words) / sentences - 84.6 * syllables / len(words)


def passes(check: Check, said: Said) -> bool:
    """Whether the answer passes a check that needs no other call."""
    return _PASS[check.type](check.params, said)


def plain_test(check: Check) -> Callable[[Said], bool]:
    """`passes` of one check."""
    return partial(_PASS[check.type], check.params)


def _holds(params: dict[str, Any], said: Said) -> bool:
    if params.get("ignore_case"):
        return params["text"].casefold() in said.text.casefold()
    return params["text"] in said.text


def _matches(params: dict[str, Any], said: Said) -> bool:
    return re2.search(params["pattern"], said.text) is not None


def _json(said: Said) -> tuple[bool, Any]:
    try:
        return True, orjson.loads(said.text)
    except orjson.JSONDecodeError:
        return False, None


def _fits(params: dict[str, Any], said: Said) -> bool:
    good, value = _json(said)
    return good and compiled(params["schema"]).fits(value)


def _words(said: Said) -> int:
    return len(said.text.split())


_PASS: dict[str, Callable[[dict[str, Any], Said], bool]] = {
    "not_empty": lambda params, said: bool(said.text) and not said.text.isspace(),
    "min_chars": lambda params, said: len(said.text.strip()) >= params["value"],
    "max_chars": lambda params, said: len(said.text.strip()) <= params["value"],
    "min_words": lambda params, said: _words(said) >= params["value"],
    "max_words": lambda params, said: _words(said) <= params["value"],
    "contains": _holds,
    "not_contains": lambda params, said: not _holds(params, said),
    "matches": _matches,
    "not_matches": lambda params, said: not _matches(params, said),
    "json": lambda params, said: _json(said)[0],
    "json_schema": _fits,
    "language": lambda params, said: language_of(said.text).code == params["code"].lower(),
    "not_refusal": lambda params, said: not refuses(said.text, params.get("phrases", [])),
    "not_cut": lambda params, said: said.finish_reason not in ("length", "content_filter"),
    "readability": lambda params, said: params.get("min", -1e9) <= reading_ease(said.text) <= params.get("max", 1e9),
}

WHY = {
    "not_empty": "it was empty", "min_chars": "it was shorter than {value} characters",
    "max_chars": "it was longer than {value} characters", "min_words": "it had fewer than {value} words",
    "max_words": "it had more than {value} words", "contains": "it did not contain {text!r}",
    "not_contains": "it contained {text!r}", "matches": "it did not match {pattern!r}", "not_matches": "it matched {pattern!r}",
    "json": "it was no valid JSON", "json_schema": "it did not fit the JSON Schema {schema}",
    "language": "it was not written in the language {code!r}", "not_refusal": "it declined to answer",
    "not_cut": "it was cut off", "similarity": "it did not speak of what was asked", "readability": "it was not as readable as asked",
    "judge": "a reviewer found it wanting",
}  # fmt: skip


def why(check: Check, reason: str = "") -> str:
    """In words what an answer that failed the check lacked."""
    text = WHY[check.type].format_map({**check.params, "schema": str(check.params.get("schema"))[:2_000]})
    return f"{text}: {reason[:500]}" if reason else text
