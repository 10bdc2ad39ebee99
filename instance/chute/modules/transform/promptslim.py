"""promptslim: makes prompts shorter without changing what they ask."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from instance.chute.answer import JSON, Answer
from instance.chute.exchange import Exchange
from instance.chute.module import Module, ModuleSettings
from instance.chute.modules.transform.prompt_slimmer import may_shorten, phrase_table, slim
from instance.chute.tokens import count_tokens

Role = Literal["system", "user", "assistant", "tool"]


class PromptSlim(Module):
    """Takes out of messages what costs tokens and says nothing; applies only when it saves enough.

    The last user message is never changed above level 1; tool calls and, unless listed, tool results never.
    """

    name: ClassVar[str] = "promptslim"
    category: ClassVar[str] = "transform"
    group: ClassVar[int] = 6
    summary: ClassVar[str] = "Makes prompts shorter without changing what they ask"

    class Settings(ModuleSettings):
        level: Literal[1, 2, 3] = Field(
            default=1, description="1 loses nothing for a reader; 2 also wordiness; 3 also sentences that say little."
        )
        roles: list[Role] = Field(
            default=["system", "user", "assistant"], description="Whose messages are made shorter."
        )
        keep_pct: int = Field(default=70, ge=10, le=100, description="Share of the sentences that level 3 keeps.")
        min_saving_tokens: int = Field(default=20, ge=0, le=1_000_000, description="Less than that is left as it is.")
        phrases: dict[Annotated[str, Field(min_length=1, max_length=200)], Annotated[str, Field(max_length=200)]] = (
            Field(default={}, max_length=1000, description="Phrases of your own for level 2, with what replaces them.")
        )

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._roles = frozenset(settings.roles) | ({"developer"} if "system" in settings.roles else set())
        self._level = settings.level
        self._keep_pct = settings.keep_pct
        self._min_saving = settings.min_saving_tokens
        self._phrases = phrase_table(settings.phrases)

    def on_request(self, x: Exchange) -> Answer | None:
        messages = x.req.get("messages")
        if type(messages) is not list:
            return None
        last_user = -1
        if self._level > 1:
            last_user = max(
                (i for i, m in enumerate(messages) if type(m) is dict and m.get("role") == "user"), default=-1
            )
        new: list[Any] | None = None
        before = after = 0
        for index, message in enumerate(messages):
            if type(message) is not dict or message.get("role") not in self._roles:
                continue
            content = message.get("content")
            if type(content) is str:
                short: Any = self._shorter(content, self._level if index != last_user else 1)
                was, now = count_tokens(content), count_tokens(short) if short is not content else -1
            elif type(content) is list:
                short, was, now = self._shorter_parts(content, self._level if index != last_user else 1)
            else:
                continue
            before += was
            after += was if now < 0 else now
            if short is not content:
                if new is None:
                    new = list(messages)
                new[index] = {**message, "content": short}
        if new is None or before - after < self._min_saving:
            return None
        x.req = {**x.req, "messages": new}
        x.change()
        x.note(
            "slim",
            {"before_tokens": before, "after_tokens": after, "level": self._level, "saved_tokens": before - after},
        )
        x.measure(saved_tokens=before - after)
        return None

    def _shorter(self, text: str, level: int) -> str:
        """The text made shorter; the same object when nothing is to be gained."""
        if level == 1 and not may_shorten(text):
            return text
        short = slim(text, level, self._phrases, self._keep_pct)
        return short if len(short) < len(text) else text

    def _shorter_parts(self, parts: list[Any], level: int) -> tuple[list[Any], int, int]:
        new: list[Any] | None = None
        before = after = 0
        for index, part in enumerate(parts):
            text = part.get("text") if type(part) is dict else None
            if type(text) is not str:
                continue
            short = self._shorter(text, level)
            was = count_tokens(text)
            before += was
            after += was if short is text else count_tokens(short)
            if short is not text:
                new = list(parts) if new is None else new
                changed: JSON = {**part, "text": short}
                new[index] = changed
        return (parts, before, before) if new is None else (new, before, after)
