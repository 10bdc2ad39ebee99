"""voicebridge: makes answers that can be spoken, and questions that were spoken readable."""

from __future__ import annotations

import binascii
from base64 import b64decode
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.exchange import Exchange
from instance.chute.held_texts import HeldTexts
from instance.chute.module import Module, ModuleSettings
from instance.chute.modules.transform.speakable import Speech
from instance.chute.modules.transform.speech_stream import SpeechStream, spoken_length
from instance.chute.sub_request import SERVICE, SubRequestFailed
from instance.chute.system_message import SYSTEM_ROLES, own_note, with_system_text
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.catalogue import Catalogue
    from instance.chute.sub_request import SubRequests
    from instance.core.core import Core

NOTE = own_note(
    "Your answer will be spoken aloud. Write it as you would say it: short sentences in plain words, without headings, lists, "
    "tables, code, links or emoji."
)
TRANSCRIPT = "[Transcript of a recording]\n"
KEPT_MAX, KEPT_MAX_CHARS = 64, 8_000
"""Instructions of which it is kept how they are with the note, and the longest of them."""
RECORDINGS_MAX = 16
FORMATS = frozenset(("wav", "mp3", "flac", "m4a", "mp4", "ogg", "opus", "webm", "mpeg", "mpga", "aac"))


class VoiceBridge(Module):
    """Asks for a spoken style and cleans what comes: headings, lists, tables and code become sentences, links their text.

    Tool calls and JSON stay as they are. Streams are sent in whole sentences. With `transcribe_model` recordings in a
    question are turned into text for models that do not hear.
    """

    name: ClassVar[str] = "voicebridge"
    category: ClassVar[str] = "transform"
    group: ClassVar[int] = 3
    summary: ClassVar[str] = "Makes answers that can be spoken"
    kinds: ClassVar[frozenset[str]] = frozenset(("chat",))
    per_client: ClassVar[bool] = True

    class Settings(ModuleSettings):
        add_note: bool = Field(default=True, description="Ask the model for a spoken style.")
        output: Literal["text", "ssml"] = Field(
            default="text", description="Plain text, or SSML with sentences and breaks."
        )
        max_chars: int = Field(
            default=500,
            ge=0,
            le=1_000_000,
            description="Characters after which the answer ends, at a sentence; 0: no limit.",
        )
        transcribe_model: str = Field(
            default="", max_length=256, description="Who turns recordings into text; empty: they stay recordings."
        )
        spell_numbers: bool = Field(
            default=False, description="Write numbers, money, units, dates and abbreviations out; English only."
        )
        code_notice: str = Field(
            default="I have left out a piece of code.", max_length=500, description="What is said in place of code."
        )
        language: str = Field(
            default="en", pattern="^[a-z]{2}$", description="Language of the words that are added, ISO 639-1."
        )

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if settings.spell_numbers and settings.language != "en":
            raise StockyardError(
                "invalid_value", "Numbers can be written out in English only.", param="config.spell_numbers"
            )
        self._speech = Speech(settings.code_notice, settings.language, settings.spell_numbers)
        self._output = settings.output
        self._max_chars = settings.max_chars
        self._may_be_spoken = settings.output == "text" and not settings.spell_numbers
        """An answer may be left as it stands."""
        self._with_note: dict[str, str] = {}
        """Instructions -> the same with the note: they come again with every call."""
        self._ask: SubRequests
        self._catalogue: Catalogue

    def hooks(self) -> tuple[str, ...]:
        own = self.settings
        before = ("prepare",) if own.transcribe_model else ("on_request",) if own.add_note else ()
        return (*before, "on_response", "on_delta")

    async def start(self, core: Core, previous: Module | None) -> None:
        self._ask = core.services[SERVICE]
        self._catalogue = core.services["catalogue"]

    def on_request(self, x: Exchange) -> None:
        req = x.req
        messages = req.get("messages")
        if type(messages) is list and ("response_format" not in req or not _wants_json(req)):
            x.req = {**req, "messages": self._noted(messages)}
            x.change()

    def _noted(self, messages: list[JSON]) -> list[JSON]:
        """The messages with the note behind the instructions."""
        first = messages[0] if messages else {}
        content = first.get("content") if first.get("role") in SYSTEM_ROLES else None
        if type(content) is not str or len(content) > KEPT_MAX_CHARS:
            return with_system_text(messages, NOTE, before=False)
        known = self._with_note.get(content)
        if known is None:
            made = with_system_text(messages, NOTE, before=False)
            if len(self._with_note) >= KEPT_MAX:
                self._with_note.clear()
            self._with_note[content] = made[0]["content"]
            return made
        return [{**first, "content": known}, *messages[1:]]

    async def prepare(self, x: Exchange) -> Answer | None:
        if self.settings.add_note:
            self.on_request(x)
        if not x.dry and not self._hears(x):
            await self._transcribe(x)
        return None

    def on_response(self, x: Exchange, answer: Answer) -> None:
        obj = answer.obj
        if obj is None or ("response_format" in x.req and _wants_json(x.req)):
            return
        before = after = 0
        for choice in obj.get("choices") or ():
            message = choice.get("message") or {}
            text = message.get("content")
            if type(text) is not str or not text:
                continue
            length = spoken_length(text, self._max_chars) if self._may_be_spoken else 0
            if length:
                spoken, ended = text[:length], length < len(text)
                before += len(text)
                after += length
            else:
                stream = self._stream()
                spoken, ended = stream.feed(text, True), stream.ended
                before += stream.chars_before
                after += stream.chars_after
            if spoken != text:
                message["content"] = spoken
                answer.changed = True
            if ended and not message.get("tool_calls"):
                choice["finish_reason"] = "length"
                answer.changed = True
        if before != after:
            self._note(x, before, after)

    def on_delta(self, x: Exchange, delta: Delta) -> None:
        kept: tuple[HeldTexts, dict[str, SpeechStream]] | None = x.state.get("voicebridge")
        if kept is None:
            if _wants_json(x.req):
                x.skipped = (x.skipped or set()) | {self.name}
                return
            made: dict[str, SpeechStream] = {}

            def hold(place: str) -> SpeechStream | None:
                if not place.endswith(".content"):
                    return None
                stream = made[place] = self._stream()
                return stream

            kept = x.state["voicebridge"] = (HeldTexts(hold, x, self.name), made)
        texts, streams = kept
        texts.take(delta)
        ended = [place for place, stream in streams.items() if stream.ended]
        may_end = ended and not delta.final and "tools" not in x.req and "functions" not in x.req
        if may_end and len(ended) == len(streams) >= max(1, x.req.get("n") or 1):
            delta.end("length")
        for choice in ((delta.obj or {}).get("choices") or ()) if ended else ():
            if choice.get("finish_reason") == "stop" and f"choices[{choice.get('index', 0)}].content" in ended:
                choice["finish_reason"] = "length"
                delta.changed = True
        if delta.final:
            before = sum(each.chars_before for each in streams.values())
            after = sum(each.chars_after for each in streams.values())
            if before != after:
                self._note(x, before, after)

    def _stream(self) -> SpeechStream:
        return SpeechStream(self._speech, self._output, self._max_chars)

    def _note(self, x: Exchange, before: int, after: int) -> None:
        x.note("voice", {"chars_before": before, "chars_after": after})

    def _hears(self, x: Exchange) -> bool:
        model = self._catalogue.of(x.targets[0]) if x.targets else None
        return model is not None and model.can("audio_input")

    async def _transcribe(self, x: Exchange) -> None:
        """Put what is said in the place of each recording; one that cannot be understood stays what it is."""
        messages = x.req.get("messages")
        made: list[JSON] = []
        count = 0
        for message in messages if isinstance(messages, list) else ():
            content = message.get("content")
            if not isinstance(content, list):
                made.append(message)
                continue
            parts = []
            for part in content:
                recording = _recording(part) if count < RECORDINGS_MAX else None
                text = await self._heard(x, *recording) if recording is not None else ""
                count += bool(text)
                parts.append({"type": "text", "text": TRANSCRIPT + text} if text else part)
            made.append({**message, "content": parts})
        if count:
            x.req = {**x.req, "messages": made}
            x.change()
            x.note("transcript", {"recordings": count})

    async def _heard(self, x: Exchange, data: bytes, form: str) -> str:
        try:
            said = await self._ask.transcribe(
                x, self.name, data, f"recording.{form}", model=self.settings.transcribe_model
            )
        except SubRequestFailed:
            return ""
        return said.strip()


def _recording(part: Any) -> tuple[bytes, str] | None:
    """The bytes and format of an `input_audio` part."""
    audio = part.get("input_audio") if isinstance(part, dict) and part.get("type") == "input_audio" else None
    if not isinstance(audio, dict) or not isinstance(audio.get("data"), str):
        return None
    try:
        data = b64decode(audio["data"], validate=True)
    except (binascii.Error, ValueError):
        return None
    form = str(audio.get("format") or "wav").lower()
    return (data, form if form in FORMATS else "wav") if data else None


def _wants_json(req: JSON) -> bool:
    form = req.get("response_format")
    return type(form) is dict and form.get("type") in ("json_object", "json_schema")
