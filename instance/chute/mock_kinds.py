"""What the built-in mock model answers beside chat: embeddings, images, speech, transcriptions, moderations and rerank.

Everything follows from the request: the same call gets the same answer. Vectors of texts that share words are near each
other, moderations flag the words of `HARMFUL`, rerank counts shared words.
"""

from __future__ import annotations

import struct
from base64 import b64encode
from collections.abc import Iterator
from hashlib import sha256
from math import sqrt
from typing import Any

import orjson

from instance.chute.mock_media import SAMPLE_RATE, png, spoken
from instance.chute.mock_options import BadOption

CHARACTERS_PER_TOKEN = 4
DIMENSIONS = 256
DIMENSIONS_MAX = 4096
IMAGES_MAX = 16
IMAGE_TOKENS = 272
HARMFUL = {"kill": "violence", "hate": "hate", "harass": "harassment", "suicide": "self-harm", "weapon": "illicit"}
CATEGORIES = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")
JSON_TYPE = b"application/json"


def whole_answer(path: bytes, body: dict[str, Any], model: str, created_s: int) -> tuple[bytes, bytes]:
    """(content type, body) of the answer to a path of OpenAI's API other than chat. Raises `BadOption`, also for a path that
    the mock model does not have."""
    if path == b"/embeddings":
        return JSON_TYPE, orjson.dumps(embeddings(body, model))
    if path == b"/moderations":
        return JSON_TYPE, orjson.dumps(moderations(body, model))
    if path == b"/rerank":
        return JSON_TYPE, orjson.dumps(rerank(body, model))
    if path.startswith(b"/images/"):
        return JSON_TYPE, orjson.dumps(images(body, created_s))
    if path in (b"/audio/transcriptions", b"/audio/translations"):
        return transcription(body, path == b"/audio/translations")
    raise BadOption("model", f"the mock model has no {path.decode()}")


def embeddings(body: dict[str, Any], model: str) -> dict[str, Any]:
    """Vectors of length 1, with `dimensions` numbers (256 when absent)."""
    given = body.get("input")
    single = isinstance(given, str) or (isinstance(given, list) and bool(given) and type(given[0]) is int)
    inputs: list[Any] = [given] if single else given if isinstance(given, list) else []
    if not inputs:
        raise BadOption("input", "input is a text, or a list of texts or tokens")
    dimensions = body.get("dimensions", DIMENSIONS)
    if type(dimensions) is not int or not 1 <= dimensions <= DIMENSIONS_MAX:
        raise BadOption("dimensions", f"dimensions is a whole number from 1 to {DIMENSIONS_MAX}")
    as_base64 = body.get("encoding_format") == "base64"
    tokens = 0
    data = []
    for index, item in enumerate(inputs):
        words = item.lower().split() if isinstance(item, str) else [str(token) for token in item]
        tokens += _tokens(item) if isinstance(item, str) else len(item)
        vector = _vector(words, dimensions)
        shown = b64encode(struct.pack(f"<{dimensions}f", *vector)).decode() if as_base64 else vector
        data.append({"object": "embedding", "index": index, "embedding": shown})
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "data": data, "model": model, "usage": usage}


def moderations(body: dict[str, Any], model: str) -> dict[str, Any]:
    """One result for each text; the parts of a list of parts are one text."""
    given = body.get("input")
    if isinstance(given, str):
        texts = [given]
    elif isinstance(given, list) and given and all(isinstance(item, str) for item in given):
        texts = given
    elif isinstance(given, list) and given:
        texts = [" ".join(str(part.get("text", "")) for part in given if isinstance(part, dict))]
    else:
        raise BadOption("input", "input is a text, or a list of texts or parts")
    results = []
    for text in texts:
        words = text.lower()
        found = {category for word, category in HARMFUL.items() if word in words}
        results.append(
            {
                "flagged": bool(found),
                "categories": {category: category in found for category in CATEGORIES},
                "category_scores": {category: 0.97 if category in found else 0.01 for category in CATEGORIES},
            }
        )
    return {"id": "modr-" + _digest(*texts)[:24], "model": model, "results": results}


def rerank(body: dict[str, Any], model: str) -> dict[str, Any]:
    """Documents by the share of the query's words that they hold, the best first."""
    query, documents = body.get("query"), body.get("documents")
    if not isinstance(query, str) or not isinstance(documents, list) or not documents:
        raise BadOption("documents", "rerank takes a query and documents")
    wanted = set(query.lower().split())
    texts = [document if isinstance(document, str) else str(document.get("text", "")) for document in documents]
    scores = [len(wanted & set(text.lower().split())) / max(1, len(wanted)) for text in texts]
    order = sorted(range(len(texts)), key=lambda index: (-scores[index], index))
    top = body.get("top_n")
    if type(top) is int and top > 0:
        order = order[:top]
    results: list[dict[str, Any]] = [{"index": index, "relevance_score": scores[index]} for index in order]
    if body.get("return_documents"):
        for result in results:
            result["document"] = {"text": texts[result["index"]]}
    tokens = _tokens(query) + sum(map(_tokens, texts))
    return {
        "id": "rerank-" + _digest(query, *texts)[:24],
        "model": model,
        "results": results,
        "usage": {"total_tokens": tokens},
    }


def images(body: dict[str, Any], created_s: int) -> dict[str, Any]:
    """Pictures of one pixel whose colour follows from the prompt; their address is a `data:` URL."""
    count = body.get("n", 1)
    if type(count) is not int or not 1 <= count <= IMAGES_MAX:
        raise BadOption("n", f"n is a whole number from 1 to {IMAGES_MAX}")
    prompt = str(body.get("prompt", ""))
    rows = []
    for index in range(count):
        encoded = b64encode(png(sha256(f"{prompt}{index}".encode()).digest()[:3])).decode()
        if body.get("response_format") == "url":
            rows.append({"url": f"data:image/png;base64,{encoded}"})
        else:
            rows.append({"b64_json": encoded})
    read, made = _tokens(prompt), IMAGE_TOKENS * count
    usage = {
        "input_tokens": read,
        "output_tokens": made,
        "total_tokens": read + made,
        "input_tokens_details": {"text_tokens": read, "image_tokens": 0},
    }
    return {"created": created_s, "data": rows, "usage": usage}


def transcription(body: dict[str, Any], translated: bool) -> tuple[bytes, bytes]:
    """What was said: the file's name and size, in the asked format."""
    file = body.get("file")
    if not isinstance(file, dict):
        raise BadOption("file", "file is the recording")
    size = int(file.get("size_bytes", 0))
    text = f"{'translation' if translated else 'transcript'} of {file.get('filename') or 'a file'}, {size} bytes"
    seconds = max(1, size // (2 * SAMPLE_RATE))
    form = body.get("response_format", "json")
    if form == "text":
        return b"text/plain; charset=utf-8", text.encode() + b"\n"
    if form == "srt":
        return b"text/plain; charset=utf-8", f"1\n00:00:00,000 --> {_time(seconds, ',')}\n{text}\n\n".encode()
    if form == "vtt":
        return b"text/plain; charset=utf-8", f"WEBVTT\n\n00:00:00.000 --> {_time(seconds, '.')}\n{text}\n\n".encode()
    usage = {"type": "duration", "seconds": seconds}
    if form == "verbose_json":
        segment = {
            "id": 0,
            "seek": 0,
            "start": 0.0,
            "end": float(seconds),
            "text": text,
            "tokens": [],
            "temperature": 0.0,
        }
        segment |= {"avg_logprob": 0.0, "compression_ratio": 1.0, "no_speech_prob": 0.0}
        whole = {
            "task": "translate" if translated else "transcribe",
            "language": str(body.get("language") or "english"),
            "duration": float(seconds),
            "text": text,
            "segments": [segment],
            "usage": usage,
        }
        return JSON_TYPE, orjson.dumps(whole)
    return JSON_TYPE, orjson.dumps({"text": text, "usage": usage})


def speech(body: dict[str, Any]) -> tuple[bytes, Iterator[bytes]]:
    """(content type, blocks of a tenth of a second): a tone for each word, as WAV, or as samples where `pcm` is asked for."""
    text = body.get("input")
    if not isinstance(text, str) or not text:
        raise BadOption("input", "input is the text to speak")
    plain = body.get("response_format") == "pcm"
    return b"audio/pcm" if plain else b"audio/wav", spoken(text, plain=plain)


def events(path: bytes, body: dict[str, Any], created_s: int) -> Iterator[bytes]:
    """The same as a stream of events, where OpenAI's API has one: speech, images, transcriptions. Raises `BadOption`."""
    if path == b"/audio/speech":
        _, blocks = speech(body)
        read = _tokens(str(body["input"]))
        return _speech_events(blocks, {"input_tokens": read, "output_tokens": read, "total_tokens": 2 * read})
    if path.startswith(b"/images/"):
        answer = images({**body, "response_format": "b64_json", "n": 1}, created_s)
        kind = "image_generation" if path.endswith(b"generations") else "image_edit"
        picture = {"b64_json": answer["data"][0]["b64_json"], "created_at": created_s, "output_format": "png"}
        partial = body.get("partial_images")
        return iter(
            [
                _event({"type": f"{kind}.partial_image", "partial_image_index": index, **picture})
                for index in range(partial if type(partial) is int and 0 < partial < IMAGES_MAX else 0)
            ]
            + [_event({"type": f"{kind}.completed", **picture, "usage": answer["usage"]})]
        )
    answer = orjson.loads(transcription({**body, "response_format": "json"}, False)[1])
    pieces = [{"type": "transcript.text.delta", "delta": word} for word in answer["text"].split(" ")]
    for piece in pieces[1:]:
        piece["delta"] = " " + piece["delta"]
    return iter([_event(piece) for piece in pieces] + [_event({"type": "transcript.text.done", **answer})])


def _speech_events(blocks: Iterator[bytes], usage: dict[str, Any]) -> Iterator[bytes]:
    for block in blocks:
        yield _event({"type": "speech.audio.delta", "audio": b64encode(block).decode()})
    yield _event({"type": "speech.audio.done", "usage": usage})


def _event(obj: dict[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (str(obj["type"]).encode(), orjson.dumps(obj))


def _vector(words: list[str], dimensions: int) -> list[float]:
    """Each word adds to eight numbers that follow from its digest; the whole has length 1."""
    total = [0.0] * dimensions
    for word in words or [""]:
        digest = sha256(word.encode("utf-8", "replace")).digest()
        for place in struct.unpack("<8I", digest):
            total[place % dimensions] += 1.0 if place & 1 << 31 else -1.0
    length = sqrt(sum(value * value for value in total))
    if not length:
        total[0] = length = 1.0
    return [round(value / length, 7) for value in total]


def _digest(*texts: str) -> str:
    return sha256("\x00".join(texts).encode("utf-8", "replace")).hexdigest()


def _time(seconds: int, point: str) -> str:
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{point}000"


def _tokens(text: str) -> int:
    return -(-len(text) // CHARACTERS_PER_TOKEN)
