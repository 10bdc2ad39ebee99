"""OpenAI's audio: speech is silence, a transcription says which file came."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any

from instance.mock_upstream.checking import refused
from instance.mock_upstream.conversation import in_words
from instance.mock_upstream.dialect import Dialect
from instance.mock_upstream.dialects import openai_schemas as schemas
from instance.mock_upstream.exchange import SSE, Event, Request, Response, json_response, sse
from instance.mock_upstream.media import AUDIO_TYPES, audio

SPEECH_PIECE_BYTES = 256


def serve(dialect: Dialect) -> None:
    dialect.serve("POST", "/audio/speech", speak, schemas.SPEECH)
    dialect.serve("POST", "/audio/transcriptions", transcribe, schemas.TRANSCRIPTIONS, form=True)
    dialect.serve("POST", "/audio/translations", transcribe, schemas.TRANSLATIONS, form=True)


def speak(request: Request) -> Response:
    body = request.body
    form = body.get("response_format") or "mp3"
    sound = audio(form, body["input"])
    headers = {"x-request-id": f"req_mock_{request.number}"}
    pieces = [sound[start : start + SPEECH_PIECE_BYTES] for start in range(0, len(sound), SPEECH_PIECE_BYTES)]
    if body.get("stream_format") == "sse":
        return Response(headers=headers, content_type=SSE, events=_spoken_events(request, pieces))
    return Response(
        headers=headers, content_type=AUDIO_TYPES[form], events=(Event(piece, piece=True) for piece in pieces)
    )


def _spoken_events(request: Request, pieces: list[bytes]) -> Iterator[Event]:
    for piece in pieces:
        yield sse({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()}, piece=True)
    words = len(request.body["input"].split())
    usage = request.reply.usage or {"input_tokens": words, "output_tokens": 10, "total_tokens": words + 10}
    yield sse({"type": "speech.audio.done", "usage": usage})


def transcribe(request: Request) -> Response:
    files = request.files.get("file", [])
    if not files:
        raise refused(400, "Missing required parameter: 'file'.", param="file", code="missing_required_parameter")
    body = request.body
    prompt = f" {body['prompt']}" if body.get("prompt") else ""
    reply = request.reply
    said = reply.text if reply.text is not None else f"echo: {files[0].name} [{files[0]}]{prompt}"
    headers = {"x-request-id": f"req_mock_{request.number}"}
    if body.get("stream") == "true":
        return Response(headers=headers, content_type=SSE, events=_heard_events(said, request))
    form = body.get("response_format") or "json"
    if form in ("text", "srt", "vtt"):
        return Response(_subtitles(said, form).encode(), headers=headers, content_type="text/plain; charset=utf-8")
    made: dict[str, Any] = {"text": said}
    if form == "verbose_json":
        translated = request.path.endswith("translations")
        made = {
            "task": "translate" if translated else "transcribe",
            "language": "english",
            "duration": 1.5,
            "text": said,
            "segments": [_segment(said)],
            "usage": {"type": "duration", "seconds": 2},
        }
    elif not request.path.endswith("translations"):
        made["usage"] = _usage(said, request)
    return json_response(made | reply.more, headers=headers)


def _usage(said: str, request: Request) -> dict[str, Any]:
    if request.reply.usage is not None:
        return request.reply.usage
    if str(request.body["model"]).startswith("whisper"):
        return {"type": "duration", "seconds": 2}
    words = len(said.split())
    return {"type": "tokens", "input_tokens": 14, "output_tokens": words, "total_tokens": 14 + words,
            "input_token_details": {"text_tokens": 0, "audio_tokens": 14}}  # fmt: skip


def _segment(said: str) -> dict[str, Any]:
    return {
        "id": 0, "seek": 0, "start": 0.0, "end": 1.5, "text": said, "tokens": [1, 2, 3], "temperature": 0.0,
        "avg_logprob": -0.2, "compression_ratio": 1.0, "no_speech_prob": 0.01,
    }  # fmt: skip


def _subtitles(said: str, form: str) -> str:
    if form == "srt":
        return f"1\n00:00:00,000 --> 00:00:01,500\n{said}\n\n"
    if form == "vtt":
        return f"WEBVTT\n\n00:00:00.000 --> 00:00:01.500\n{said}\n\n"
    return f"{said}\n"


def _heard_events(said: str, request: Request) -> Iterator[Event]:
    for piece in request.reply.pieces or in_words(said):
        yield sse({"type": "transcript.text.delta", "delta": piece}, piece=True)
    yield sse({"type": "transcript.text.done", "text": said, "usage": _usage(said, request)})
