"""promptslim: makes prompts shorter without changing what they ask."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from instance.chute.answer import JSON, Answer
from instance.chute.exchange import Exchange
from instance.chute.module import Module, ModuleSettings
from instance.chute.modules.transform.prompt_slimmer import KEEP, may_shorten, phrase_table, slim, untagged
from instance.chute.tokens import count_tokens

KEPT_MAX = 256
KEPT_MAX_CHARS = 4_000
"""So many texts of so many characters at most are remembered with what they become."""
Role = Literal["system", "user", "assistant", "tool"]


class PromptSlim(Module):
    """Takes out of messages what costs tokens and says nothing; applies only when it saves enough.

    The last user message is never changed above level 1; tool calls and, unless listed, tool results never.
    """

    name: ClassVar[str] = "promptslim"
    category: ClassVar[str] = "transform"
    group: ClassVar[int] = 6
    summary: ClassVar[str] = "Makes prompts shorter without changing what they ask"
    per_client: ClassVar[bool] = True

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
        self._kept: dict[tuple[str, int], str | None] = {}
        """Texts by level -> what they become; `None` where nothing is to be gained."""

    def on_request(self, x: Exchange) -> Answer | None:
        messages = x.req.get("messages")
        if type(messages) is not list:
            return None
        new: list[Any] | None = None
        saved = 0
        roles = self._roles
        of_last_user = True
        for index in range(len(messages) - 1, -1, -1):
            message = messages[index]
            if type(message) is not dict:
                continue
            role = message.get("role")
            level = self._level
            if of_last_user and role == "user":
                level, of_last_user = 1, False
            if role not in roles:
                continue
            content = message.get("content")
            if type(content) is str:
                if level == 1 and not may_shorten(content):
                    continue
                short: Any = self._shorter(content, level)
            elif type(content) is list:
                short = self._shorter_parts(content, level)
            else:
                continue
            if short is not content:
                if new is None:
                    new = list(messages)
                new[index] = {**message, "content": short}
                saved += _tokens_of(content) - _tokens_of(short)
        if new is None:
            return None
        if saved < self._min_saving:
            self._take_tags_off(x, messages, new)
            return None
        after = self._tokens(new)
        before = after + saved
        x.req = {**x.req, "messages": new}
        x.change()
        x.note(
            "slim",
            {"before_tokens": before, "after_tokens": after, "level": self._level, "saved_tokens": saved},
        )
        x.measure(saved_tokens=saved)
        return None

    def _take_tags_off(self, x: Exchange, messages: list[Any], shorter: list[Any]) -> None:
        """Where too little is saved all stays as it is, but for tags that are meant for this module alone."""
        new = list(messages)
        for index, message in enumerate(messages):
            if shorter[index] is message:
                continue
            content = message["content"]
            if type(content) is str:
                bare: Any = untagged(content)
            else:
                bare = [
                    {**part, "text": untagged(_part_text(part))} if KEEP in _part_text(part) else part
                    for part in content
                ]
            if bare != content:
                new[index] = {**message, "content": bare}
        if new != messages:
            x.req = {**x.req, "messages": new}
            x.change()

    def _shorter(self, text: str, level: int) -> str:
        """The text made shorter; the same object when nothing is to be gained. What became of a text of usual length is remembered:
        what stands before the last question is sent again and again."""
        if len(text) > KEPT_MAX_CHARS:
            return self._made_shorter(text, level)
        key = text, level
        kept = self._kept
        if key in kept:
            short = kept[key]
            return text if short is None else short
        made = self._made_shorter(text, level)
        kept[key] = None if made is text else made
        if len(kept) > KEPT_MAX:
            del kept[next(iter(kept))]
        return made

    def _made_shorter(self, text: str, level: int) -> str:
        short = slim(text, level, self._phrases, self._keep_pct)
        return short if len(short) < len(text) else text

    def _shorter_parts(self, parts: list[Any], level: int) -> list[Any]:
        new: list[Any] | None = None
        for index, part in enumerate(parts):
            text = part.get("text") if type(part) is dict else None
            if type(text) is not str:
                continue
            short = text if level == 1 and not may_shorten(text) else self._shorter(text, level)
            if short is not text:
                new = list(parts) if new is None else new
                changed: JSON = {**part, "text": short}
                new[index] = changed
        return parts if new is None else new

    def _tokens(self, messages: list[Any]) -> int:
        """Of the texts that are looked at."""
        return sum(
            _tokens_of(message.get("content"))
            for message in messages
            if type(message) is dict and message.get("role") in self._roles
        )


def _tokens_of(content: Any) -> int:
    """Of a message's text or of the texts of its parts."""
    return count_tokens(content) if type(content) is str else sum(map(count_tokens, map(_part_text, content or ())))


def _part_text(part: Any) -> str:
    text = part.get("text") if type(part) is dict else None
    return text if type(text) is str else ""
