"""promptlint: checks prompts for faults on their way."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from hashlib import sha256
from typing import ClassVar, Literal

import orjson
from pydantic import Field, field_validator

from instance.chute.exchange import Exchange
from instance.chute.module import Module, ModuleSettings
from instance.chute.modules.studio.prompt_fault import Fault, Prompt, text_of
from instance.chute.modules.studio.prompt_rules import RULES, Severity, faults
from instance.chute.modules.studio.user_message_rules import INJECTION, user_may_have_fault
from instance.core.errors import StockyardError

GRAVITY = {"off": 0, "info": 1, "warn": 2, "error": 3}
KNOWN_MAX = 2_048
KEPT_MAX_CHARS = 500
"""Longer system messages are known by their digest."""


class PromptLint(Module):
    """Notes what is wrong with a prompt, where and how to mend it; refuses it only where `block_on` says so.

    The parts that repeat from call to call (system messages, tools, parameters) are looked at once and remembered.
    """

    name: ClassVar[str] = "promptlint"
    category: ClassVar[str] = "studio"
    group: ClassVar[int] = 4
    summary: ClassVar[str] = "Checks prompts for faults, and says how to mend them"
    rejects: ClassVar[tuple[str, ...]] = ("prompt_lint",)
    kinds: ClassVar[frozenset[str]] = frozenset(("chat",))
    per_client: ClassVar[bool] = True

    class Settings(ModuleSettings):
        rules: dict[str, Severity] = Field(
            default={}, description="Rule -> off, info, warn or error, in place of how grave it is by itself."
        )
        block_on: Literal["never", "error", "warn"] = Field(
            default="never", description="Refuse prompts with a fault of at least this gravity."
        )
        max_system_tokens: int = Field(
            default=4000, ge=1, le=10_000_000, description="Longest system message that is no fault."
        )
        sample_pct: float = Field(default=100.0, ge=0, le=100, description="Share of calls that are looked at.")

        @field_validator("rules")
        @classmethod
        def _known(cls, rules: dict[str, Severity]) -> dict[str, Severity]:
            for name in rules:
                if name not in RULES:
                    near = get_close_matches(name, RULES, 1)
                    raise ValueError(f"there is no rule {name!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
            return rules

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._severity = {name: rule.severity for name, rule in RULES.items()} | settings.rules
        on = [name for name in RULES if self._severity[name] != "off"]
        self._repeating = [name for name in on if not RULES[name].reads_user]
        self._each_call = [name for name in on if RULES[name].reads_user and name != "injection_phrase"]
        self._injection = ["injection_phrase"] if "injection_phrase" in on else []
        self._least = {"never": 99, "error": 3, "warn": 2}[settings.block_on]
        self._known: dict[bytes, tuple[Fault, ...]] = {}
        self._clean: dict[str | bytes, bool] = {}
        """System messages and tools, by themselves or by their digest -> whether no rule finds anything in them."""
        self._all = on
        self._share = settings.sample_pct
        self._count = 0

    def patterns(self) -> Sequence[str]:
        return (INJECTION,) if self._injection else ()

    def answer_patterns(self) -> Sequence[str]:
        return ()

    def on_request(self, x: Exchange) -> None:
        self._count += 1
        share = self._share
        if share < 100 and int(self._count * share / 100) == int((self._count - 1) * share / 100):
            return
        if self._is_clean(x):
            return
        found = self._find(x)
        if not found:
            return
        for fault in found:
            x.note("lint", {"rule": fault.rule, "severity": self._severity[fault.rule], "path": fault.path})
        worst = max(found, key=lambda fault: GRAVITY[self._severity[fault.rule]])
        if GRAVITY[self._severity[worst.rule]] >= self._least:
            raise StockyardError(
                "prompt_lint",
                f"The prompt has a fault: {worst.why} {worst.mend}",
                param=worst.path,
                details=[{**fault._asdict(), "severity": self._severity[fault.rule]} for fault in found],
                retryable=False,
            )

    def _is_clean(self, x: Exchange) -> bool:
        """Whether one look says that no rule finds anything, as for most prompts. Parts that repeat are looked at once."""
        req = x.req
        if "top_p" in req or "response_format" in req or ("tools" in req and not self._are_tools_clean(req["tools"])):
            return False
        system: list[str] = []
        users: list[str] = []
        for message in req.get("messages") or ():
            role = message.get("role") if type(message) is dict else None
            if role == "user" or role == "system" or role == "developer":
                text = message.get("content")
                if type(text) is not str:
                    text = text_of(message)
                if text is not None:
                    (users if role == "user" else system).append(text)
        if system and not (len(system) == 1 and self._is_system_clean(system[0])):
            return False
        first = True
        for text in users:
            if user_may_have_fault(text, system, first=first):
                return False
            first = False
        return not (self._injection and x.hits(self))

    def _is_system_clean(self, text: str) -> bool:
        key = text if len(text) <= KEPT_MAX_CHARS else sha256(text.encode("utf-8", "replace")).digest()
        clean = self._clean.get(key)
        if clean is None:
            prompt = Prompt({}, self.settings.max_system_tokens, [("", text)], [])
            clean = self._keep_clean(key, not any(faults(prompt, self._all)))
        return clean

    def _are_tools_clean(self, tools: object) -> bool:
        key = sha256(orjson.dumps(tools)).digest()
        clean = self._clean.get(key)
        if clean is None:
            prompt = Prompt({"tools": tools}, self.settings.max_system_tokens, [], [])
            clean = self._keep_clean(key, not any(faults(prompt, self._all)))
        return clean

    def _keep_clean(self, key: str | bytes, clean: bool) -> bool:
        if len(self._clean) >= KNOWN_MAX:
            del self._clean[next(iter(self._clean))]
        self._clean[key] = clean
        return clean

    def _find(self, x: Exchange) -> tuple[Fault, ...]:
        """What is wrong with the prompt. What most calls repeat is looked at once."""
        prompt = Prompt.of(x.req, self.settings.max_system_tokens)
        rest = {name: value for name, value in x.req.items() if name != "messages"}
        key = sha256(orjson.dumps((prompt.system, rest), option=orjson.OPT_SORT_KEYS)).digest()
        repeating = self._known.get(key)
        if repeating is None:
            repeating = tuple(faults(prompt, self._repeating))
            if len(self._known) >= KNOWN_MAX:
                self._known.pop(next(iter(self._known)))
            self._known[key] = repeating
        injection = self._injection if self._injection and x.hits(self) else ()
        return (*repeating, *faults(prompt, (*self._each_call, *injection)))
