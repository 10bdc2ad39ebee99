"""langbridge: lets users write in their own language to a model that works best in another."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from instance.chute import language
from instance.chute.answer import JSON, Answer
from instance.chute.exchange import Exchange
from instance.chute.language_names import name_of
from instance.chute.module import Call, Module, ModuleSettings
from instance.chute.modules.transform.translator import Lost, TranslatedText, Translations, Translator
from instance.chute.stream_gate import gated
from instance.chute.sub_request import SERVICE
from instance.chute.system_message import with_system_text
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.sub_request import SubRequests
    from instance.core.core import Core

HEADER = b"x-stockyard-translated"
INSTRUCTION = "Answer in {name}, whatever language the other instructions are written in."
ENGLISH_SHARE = 0.25
_ENGLISH = frozenset(
    [
        "the",
        "and",
        "what",
        "how",
        "you",
        "are",
        "with",
        "this",
        "that",
        "my",
        "for",
        "please",
        "from",
        "should",
        "would",
        "have",
        "which",
        "write",
        "about",
        "your",
        "it",
        "does",
        "why",
        "when",
        "where",
        "who",
        "can",
        "could",
        "i",
        "we",
        "they",
        "be",
        "been",
        "was",
        "were",
        "not",
        "but",
        "because",
        "there",
        "their",
    ]
)
_ENGLISH_WORDS = frozenset(map(str.encode, _ENGLISH))
_LETTERS = bytes(ord(chr(n).lower()) if chr(n).isalpha() or chr(n) == "'" else ord(" ") for n in range(128)).ljust(256)
"""What each byte of an ASCII text becomes: letters small, an apostrophe itself, all else a space."""
HEAD_CHARS = 400


class Bridge(NamedTuple):
    """What `prepare` leaves for the answer."""

    code: str
    translator: Translator


class LangBridge(Module):
    """Tells the language of the last question. In mode instruct the model is told to answer in it; in mode translate the
    conversation is put into the pivot language and the answer back, by calls of their own.

    Code, addresses, placeholders and numbers come through as they are. What cannot be translated goes through untranslated.
    """

    name: ClassVar[str] = "langbridge"
    category: ClassVar[str] = "transform"
    group: ClassVar[int] = 9
    summary: ClassVar[str] = "Lets users write in their own language"
    kinds: ClassVar[frozenset[str]] = frozenset(("chat",))
    per_client: ClassVar[bool] = True

    class Settings(ModuleSettings):
        mode: Literal["instruct", "translate"] = Field(
            default="instruct",
            description="instruct asks the model to answer in the user's language; translate translates.",
        )
        pivot: str = Field(
            default="en", pattern="^[a-z]{2}$", description="Language that the model works best in, ISO 639-1."
        )
        languages: list[str] = Field(
            default=["*"], max_length=200, description="Codes (or globs) of the users' languages that it acts on."
        )
        translator_model: str = Field(
            default="", max_length=256, description="Who translates; empty: the model that is called."
        )
        min_confidence: float = Field(
            default=0.8, ge=0, le=1, description="Below this the question counts as in the pivot language."
        )
        min_chars: int = Field(
            default=12, ge=1, le=10_000, description="Shorter questions count as in the pivot language."
        )

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._from_english = self.settings.pivot == "en"
        self._min_chars = self.settings.min_chars
        self._ask: SubRequests
        self._known = Translations()

    def hooks(self) -> tuple[str, ...]:
        if all(code == self.settings.pivot for code in self.settings.languages):
            return ()
        return ("prepare", "around") if self.settings.mode == "translate" else ("prepare",)

    async def start(self, core: Core, previous: Module | None) -> None:
        await language.load()
        known = language.known_languages()
        if self.settings.pivot not in known:
            raise StockyardError(
                "invalid_value", f"There is no language {self.settings.pivot!r}.", param="config.pivot"
            )
        for number, code in enumerate(self.settings.languages):
            if not any(fnmatchcase(each, code) for each in known):
                raise StockyardError("invalid_value", f"No language fits {code!r}.", param=f"config.languages.{number}")
        self._ask = core.services[SERVICE]
        if isinstance(previous, LangBridge) and previous.settings.translator_model == self.settings.translator_model:
            self._known = previous._known

    def passes(self, x: Exchange) -> bool:
        return "langbridge" not in x.state

    def prepare(self, x: Exchange) -> Coroutine[Any, Any, Answer | None] | None:
        text = _question(x.req.get("messages"))
        if (self._from_english and _is_plain_english(text)) or len(text.strip()) < self._min_chars:
            return None
        return self._bridge(x, text)

    async def _bridge(self, x: Exchange, text: str) -> Answer | None:
        found = await self._language(x, text)
        if found is None:
            return None
        own = self.settings
        detail: JSON = {
            "detected": found.code,
            "confidence": round(found.confidence, 4),
            "mode": own.mode,
            "sub_requests": 0,
        }
        x.note("language", detail)
        if own.mode == "instruct":
            told = INSTRUCTION.format(name=name_of(found.code))
            x.req = {**x.req, "messages": with_system_text(x.req["messages"], told, before=False)}
            x.change()
        elif not x.dry:
            translator = Translator(self._ask, x, self.name, own.translator_model, self._known, detail)
            await self._into_pivot(x, found.code, translator)
        return None

    async def around(self, x: Exchange, call: Call) -> Answer:
        bridge: Bridge = x.state.pop("langbridge")
        answer = await call(x)
        pivot = self.settings.pivot
        if answer.events is not None:
            return gated(
                answer,
                lambda place: (
                    TranslatedText(bridge.translator, pivot, bridge.code) if place.endswith(".content") else None
                ),
            )
        for choice in (answer.obj or {}).get("choices") or ():
            message = choice.get("message") or {}
            text = message.get("content")
            if not isinstance(text, str) or not text.strip():
                continue
            try:
                message["content"] = await bridge.translator.translate(text, pivot, bridge.code)
                answer.changed = True
            except Lost:
                _failed(x)
        return answer

    async def _language(self, x: Exchange, text: str) -> language.Language | None:
        """The question's language when it is surely another than the pivot, and one that this acts on."""
        own = self.settings
        if own.mode == "translate" and (x.req.get("response_format") or {}).get("type", "text") != "text":
            return None  # a form that a program reads: its words are no prose
        found = await asyncio.to_thread(language.language_of, text)
        if found.code in ("", own.pivot) or found.confidence < own.min_confidence:
            return None
        return found if any(fnmatchcase(found.code, glob) for glob in own.languages) else None

    async def _into_pivot(self, x: Exchange, code: str, translator: Translator) -> None:
        """The turns of the user and the assistant in the pivot language; when one cannot be had, all stay as they are."""
        try:
            made = [await self._translated(message, code, translator) for message in x.req["messages"]]
        except Lost:
            _failed(x)
            return
        x.req = {**x.req, "messages": made}
        x.change()
        x.state["langbridge"] = Bridge(code, translator)

    async def _translated(self, message: JSON, code: str, translator: Translator) -> JSON:
        content: Any = message.get("content")
        if message.get("role") not in ("user", "assistant") or not content:
            return message
        pivot = self.settings.pivot
        if isinstance(content, str):
            return {**message, "content": await translator.translate(content, code, pivot)}
        parts = [
            {**part, "text": await translator.translate(part["text"], code, pivot)}
            if isinstance(part.get("text"), str)
            else part
            for part in content
        ]
        return {**message, "content": parts}


def _failed(x: Exchange) -> None:
    if all(name != HEADER for name, _ in x.response_headers):
        x.response_headers.append((HEADER, b"failed"))


def _question(messages: Any) -> str:
    """The text of the last message of the user."""
    for message in reversed(messages) if isinstance(messages, list) else ():
        if message.get("role") == "user":
            content = message.get("content")
            if isinstance(content, str):
                return content
            texts = [part["text"] for part in content or () if isinstance(part.get("text"), str)]
            return "\n".join(texts)
    return ""


def _is_plain_english(text: str) -> bool:
    """Surely English, said in a few microseconds: a good part of the words are such as no other language has."""
    head = text[:HEAD_CHARS]
    if not head.isascii():
        return False
    words = head.encode().translate(_LETTERS).split()
    return len(words) >= 4 and sum(map(_ENGLISH_WORDS.__contains__, words)) >= ENGLISH_SHARE * len(words)
