"""OpenAI audio: `POST /v1/audio/speech`, `/v1/audio/transcriptions` and `/v1/audio/translations`."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from instance.chute.answer import JSON, Answer
from instance.chute.dialects.audio_length import audio_length_ms
from instance.chute.dialects.form_operation import FORM, FormOperation
from instance.chute.dialects.openai_chat import check_depth, decode, take_model
from instance.chute.dialects.openai_events import EventPasser, PassedEvents
from instance.chute.operation import Operation
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.core.settings import LimitSettings

SPEECH_MAX_CHARACTERS = 4096
PLAIN_FORMATS = ("text", "srt", "vtt")
"""Answers that are text, not JSON."""
SPOKEN = frozenset(("speech.audio.done",))
TRANSCRIBED = frozenset(("transcript.text.done",))


class Speech(Operation):
    """Speech from text: bytes as they arrive, or events (`stream_format: sse`)."""

    name: ClassVar[str] = "audio.speech"
    kind: ClassVar[str] = "audio"
    dialect: ClassVar[str] = "openai.audio"
    path: ClassVar[bytes] = b"/audio/speech"

    def take(self, x: Exchange, limits: LimitSettings) -> None:
        req = x.req = decode(x.raw)
        check_depth(x.raw, req, limits.depth)
        x.model_requested = take_model(x, req)
        x.stream = req.get("stream_format") == "sse"
        x.usage_asked = True
        text = req.get("input")
        if not isinstance(text, str) or not text:
            raise StockyardError("bad_request", "`input` is the text to speak.", param="input")
        if len(text) > SPEECH_MAX_CHARACTERS:
            raise StockyardError(
                "bad_request", f"`input` is at most {SPEECH_MAX_CHARACTERS} characters.", param="input"
            )
        if not req.get("voice"):
            raise StockyardError("bad_request", "`voice` names who speaks.", param="voice")

    def binary(self, x: Exchange) -> bool:
        return not x.stream

    def reader(self, x: Exchange) -> PassedEvents:
        return PassedEvents(SPOKEN)

    def encoder(self, x: Exchange) -> EventPasser | None:
        return EventPasser(self) if x.stream else None

    def measure(self, x: Exchange) -> None:
        text = x.req.get("input")
        x.usage.counted().characters = len(text) if isinstance(text, str) else 0
        if not x.usage.source:
            x.usage.source = "estimated"


class Transcription(FormOperation):
    """Text from speech, in the language that is spoken."""

    name: ClassVar[str] = "audio.transcription"
    kind: ClassVar[str] = "audio"
    dialect: ClassVar[str] = "openai.audio"
    path: ClassVar[bytes] = b"/audio/transcriptions"

    def arrived(self, x: Exchange, answer: Answer, content_type: bytes) -> None:
        if self._plain(x):
            answer.content_type = content_type or b"text/plain; charset=utf-8"

    def read(self, x: Exchange, raw: bytes) -> JSON:
        if self._plain(x):
            return {"text": raw.decode("utf-8")}
        answer = super().read(x, raw)
        if not isinstance(answer.get("text"), str):
            raise ValueError("the answer has no text")
        return answer

    def whole(self, x: Exchange, answer: Answer) -> bytes:
        if self._plain(x) and answer.obj is not None:
            text: str = answer.obj["text"]
            return text.encode()
        return super().whole(x, answer)

    def reader(self, x: Exchange) -> PassedEvents:
        return PassedEvents(TRANSCRIBED)

    def encoder(self, x: Exchange) -> EventPasser:
        return EventPasser(self)

    def measure(self, x: Exchange) -> None:
        usage = x.usage
        apart = usage.counted()
        if apart.audio_ms is None:
            obj = x.answer.obj if x.answer is not None else None
            seconds = obj.get("duration") if obj is not None else None
            try:
                apart.audio_ms = round(float(seconds) * 1000) if seconds is not None else self._file_ms(x)
            except (TypeError, ValueError, OverflowError):
                apart.audio_ms = self._file_ms(x)
        if not usage.source and apart.audio_ms is not None:
            usage.source = "estimated"

    def _file_ms(self, x: Exchange) -> int | None:
        form = x.state.get(FORM)
        part = form.file("file") if form is not None else None
        return audio_length_ms(part.data) if part is not None else None

    def _plain(self, x: Exchange) -> bool:
        return x.req.get("response_format") in PLAIN_FORMATS


class Translation(Transcription):
    """Text in English from speech in any language."""

    name: ClassVar[str] = "audio.translation"
    path: ClassVar[bytes] = b"/audio/translations"
