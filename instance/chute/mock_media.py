"""Pictures and sound of the built-in mock model: small, real, and always the same for the same text."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from math import pi, sin

SAMPLE_RATE = 24_000
BLOCK_SAMPLES = SAMPLE_RATE // 10
SPEECH_MAX_S = 30
CHARACTERS_PER_S = 15
LOUDNESS = 8000


def png(colour: bytes) -> bytes:
    """A picture of one pixel of that colour (three bytes)."""
    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", head)
        + _chunk(b"IDAT", zlib.compress(b"\x00" + colour))
        + _chunk(b"IEND", b"")
    )


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def spoken(text: str, *, plain: bool) -> Iterator[bytes]:
    """Blocks of a tenth of a second with a tone for each word, 24,000 samples of 16 bits a second: a WAV file, or (`plain`) the
    samples alone."""
    samples = min(SPEECH_MAX_S, -(-len(text) // CHARACTERS_PER_S)) * SAMPLE_RATE
    return _sound(text, samples, b"" if plain else _wav_head(samples))


def _sound(text: str, samples: int, head: bytes) -> Iterator[bytes]:
    words = text.split() or [text]
    for number in range(samples // BLOCK_SAMPLES):
        pitch = 200 + sum(words[number % len(words)].encode()) % 400
        tone = [round(LOUDNESS * sin(2 * pi * pitch * at / SAMPLE_RATE)) for at in range(BLOCK_SAMPLES)]
        yield head + struct.pack(f"<{BLOCK_SAMPLES}h", *tone)
        head = b""


def _wav_head(samples: int) -> bytes:
    size = 2 * samples
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, SAMPLE_RATE, 2 * SAMPLE_RATE, 2, 16)
    return struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE") + form + struct.pack("<4sI", b"data", size)
