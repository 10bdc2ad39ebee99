"""codefence: checks the code of answers."""

from __future__ import annotations

from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Annotated, Any, ClassVar, Literal

import orjson
import re2
from pydantic import BaseModel, ConfigDict, Field, field_validator

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.expressions import require_re2
from instance.chute.held_texts import HeldTexts
from instance.chute.module import Module, ModuleSettings
from instance.chute.modules.validate.code_blocks import Block, FencedText
from instance.chute.modules.validate.code_checks import check_code, language_of
from instance.chute.modules.validate.code_finding import RULES, SEVERITIES, CodeFinding, Severity, Skipped
from instance.chute.text import answer_text, rewrite_answer
from instance.core.errors import StockyardError

FINDINGS_NOTED_MAX = 50
ARGUMENTS_MAX_CHARS = 1_000_000
"""Longer arguments of a tool call are not looked into."""

Action = Literal["off", "flag", "annotate", "block"]


class CodePattern(BaseModel):
    """A rule of the user's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(pattern=r"^[a-z0-9_]{1,64}$", description="Its name in `rules`, the trail and notices.")
    re2: str = Field(min_length=1, max_length=1000, description="RE2 expression that code must not match.")
    severity: Severity = Field(default="medium", description="Severity of what it finds.")

    @field_validator("re2")
    @classmethod
    def _compiles(cls, expression: str) -> str:
        return require_re2(expression)


class CodeFence(Module):
    """Looks into fenced blocks and into tools' arguments that hold code, by the language's parser, not by words.

    With `block` a notice stands in place of the block, with `annotate` a note stands under it; with `flag` alone nothing is held
    back. Python, JSON, TOML and XML are parsed by what comes with Python; YAML, SQL, shell and JavaScript need the extra `code`, as
    do the commands in Dockerfiles and Makefiles and the scripts in HTML. In PHP, Ruby, Go, Java, C#, Rust, C, PowerShell and the like
    calls are looked at beside strings, without a parser; in every other language credentials and your patterns are looked for. Of
    what is not parsed the trail says that it was skipped.
    """

    name: ClassVar[str] = "codefence"
    category: ClassVar[str] = "validate"
    group: ClassVar[int] = 5
    summary: ClassVar[str] = "Checks the code of answers"
    rejects: ClassVar[tuple[str, ...]] = ("code_blocked",)
    safety: ClassVar[bool] = True
    per_client: ClassVar[bool] = True

    class Settings(ModuleSettings):
        rules: dict[str, Action] = Field(
            default={},
            max_length=200,
            description="Rule -> action; those not named flag. The rules: "
            + "; ".join(f"{name}: {what}" for name, what in RULES.items())
            + ".",
        )
        min_severity: Severity = Field(default="medium", description="Least severity of what is reported.")
        forbidden_imports: list[Annotated[str, Field(min_length=1, max_length=200)]] = Field(
            default=[], max_length=200, description="Modules that code must not import."
        )
        patterns: list[CodePattern] = Field(default=[], max_length=100, description="Rules of your own.")
        max_complexity: int = Field(
            default=0, ge=0, le=1000, description="Most branches of a function (cyclomatic complexity); 0: any number."
        )
        tool_fields: list[Annotated[str, Field(min_length=1, max_length=100)]] = Field(
            default=["code", "command", "script"], max_length=50, description="Arguments of tools that hold code."
        )
        allow_languages: list[Annotated[str, Field(min_length=1, max_length=50)]] = Field(
            default=["*"], max_length=50, description="Globs of the languages that are checked."
        )
        reject_whole: bool = Field(
            default=False, description="Refuse the answer (code_blocked) where a block is blocked."
        )
        hold_chars: int = Field(
            default=20_000, ge=1_000, le=200_000, description="Characters of a streamed block that are held at most."
        )

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._patterns = [(pattern.name, re2.compile(pattern.re2), pattern.severity) for pattern in settings.patterns]
        known = {*RULES, *(pattern.name for pattern in settings.patterns)}
        unknown = [name for name in settings.rules if name not in known]
        if unknown:
            raise StockyardError(
                "invalid_value",
                f"{unknown[0]!r} is no rule: {', '.join(sorted(known))}.",
                param=f"config.rules.{unknown[0]}",
            )
        self._least = SEVERITIES.index(settings.min_severity)
        self._holds = any(action in ("annotate", "block") for action in settings.rules.values())
        self._fields = frozenset(settings.tool_fields)
        self._named = tuple(f'"{name}"' for name in settings.tool_fields)

    def findings(self, code: str, tag: str) -> tuple[str, list[CodeFinding], bool]:
        """The language, what is reported of a block, and whether its language was skipped."""
        own = self.settings
        language = language_of(tag, code)
        if not any(fnmatchcase(language or "unknown", glob) for glob in own.allow_languages):
            return language, [], False
        skipped = False
        try:
            found = check_code(code, language, forbidden=own.forbidden_imports, max_complexity=own.max_complexity)
        except Skipped as error:
            found, skipped = list(error.found), True
        for name, expression, severity in self._patterns:
            match = expression.search(code)
            if match is not None:
                found.append(CodeFinding(name, severity, code.count("\n", 0, match.start()) + 1))
        reported = [
            each
            for each in found
            if SEVERITIES.index(each.severity) >= self._least and own.rules.get(each.rule, "flag") != "off"
        ]
        return language, reported, skipped

    def _block(self, x: Exchange) -> Block:
        """What is done with each fenced block of an answer."""

        def block(tag: str, code: str, cut: bool) -> tuple[str, str]:
            reported = self._noted(x, code, tag, cut=cut)
            blocked = [each for each in reported if self.settings.rules.get(each.rule) == "block"]
            if blocked:
                if self.settings.reject_whole:
                    raise self._refusal(blocked)
                return "replace", f"> [Code removed: {_named(blocked)}]"
            noted = [each for each in reported if self.settings.rules.get(each.rule) == "annotate"]
            return ("append", f"> Note on this code: {_named(noted)}") if noted else ("", "")

        return block

    def _noted(self, x: Exchange, code: str, tag: str, *, cut: bool = False) -> list[CodeFinding]:
        language, reported, skipped = self.findings(code, tag)
        if cut:  # the beginning of a block seldom parses
            reported = [each for each in reported if each.rule != "syntax"]
        if skipped:
            x.note("skipped", {"language": language})
        for each in reported[:FINDINGS_NOTED_MAX]:
            x.note(
                "code",
                {
                    "language": language,
                    "rule": each.rule,
                    "severity": each.severity,
                    "line": each.line,
                    "action": self.settings.rules.get(each.rule, "flag"),
                },
            )
        if reported:
            x.measure(code_findings=len(reported) + (x.measures or {}).get("code_findings", 0))
        return reported

    def _refusal(self, blocked: list[CodeFinding]) -> StockyardError:
        return StockyardError(
            "code_blocked",
            f"The answer holds code that is refused here: {_named(blocked)}.",
            details=[each._asdict() for each in blocked],
            retryable=False,
        )

    def on_response(self, x: Exchange, answer: Answer) -> None:
        obj = answer.obj
        if obj is None or not self._may_hold_code(answer_text(obj)):
            return
        block = self._block(x)

        def look(text: str, place: str) -> str:
            if place.endswith("arguments"):
                return self._arguments(x, text)
            return FencedText(block, len(text) + 1).feed(text, True) if "```" in text or "~~~" in text else text

        checked = rewrite_answer(obj, look)
        if checked is not obj:
            answer.obj = checked
            answer.changed = True

    def _may_hold_code(self, text: str) -> bool:
        """Whether a fence, or the name of an argument that is code, stands in the texts of an answer."""
        if ("`" in text and "```" in text) or (
            "~" in text and "~~~" in text
        ):  # one character is found much faster than three
            return True
        if '"' in text:
            for name in self._named:
                if name in text:
                    return True
        return False

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        texts: HeldTexts | None = x.state.get("codefence")
        if texts is None:
            block = self._block(x)

            def hold(place: str) -> FencedText | _Whole | _Watched:
                if place.endswith("arguments"):
                    whole = _Whole(lambda text: self._arguments(x, text))
                    return whole if self._holds else _Watched(whole)
                fenced = FencedText(block, self.settings.hold_chars)
                return fenced if self._holds else _Watched(fenced)

            texts = x.state["codefence"] = HeldTexts(hold, x, self.name)
        texts.take(delta)

    def _arguments(self, x: Exchange, text: str) -> str:
        """A tool call's arguments with the code that is blocked replaced by its notice."""
        if len(text) > ARGUMENTS_MAX_CHARS or not any(name in text for name in self._named):
            return text
        try:
            arguments: Any = orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
        if type(arguments) is not dict:
            return text
        changed: JSON = {}
        for name in self._fields & arguments.keys():
            code = arguments[name]
            if type(code) is str and code:
                language = arguments.get("language")
                tag = language if type(language) is str else "bash" if name == "command" else ""
                blocked = [each for each in self._noted(x, code, tag) if self.settings.rules.get(each.rule) == "block"]
                if blocked:
                    if self.settings.reject_whole:
                        raise self._refusal(blocked)
                    changed[name] = f"[Code removed: {_named(blocked)}]"
        return orjson.dumps({**arguments, **changed}).decode() if changed else text


class _Whole:
    """A text that is looked at when it is whole."""

    def __init__(self, look: Callable[[str], str]) -> None:
        self._look = look
        self._held: list[str] = []

    def feed(self, text: str, last: bool) -> str:
        self._held.append(text)
        return self._look("".join(self._held)) if last else ""


class _Watched:
    """A text that passes while it is looked at."""

    __slots__ = ("_look",)

    def __init__(self, hold: FencedText | _Whole) -> None:
        self._look = hold.feed

    def feed(self, text: str, last: bool) -> str:
        self._look(text, last)
        return text


def _named(findings: list[CodeFinding]) -> str:
    return ", ".join(dict.fromkeys(f"{each.rule} (line {each.line})" for each in findings))
