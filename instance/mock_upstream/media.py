"""The smallest real files of each kind that the mock has to give."""

from __future__ import annotations

import base64
import struct
import zlib


def _png() -> bytes:
    def part(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    pixel = zlib.compress(b"\x00\x33\x66\x99", 9)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", head) + part(b"IDAT", pixel) + part(b"IEND", b"")


PNG = _png()
"""One blue pixel."""
PNG_BASE64 = base64.b64encode(PNG).decode()

AUDIO_TYPES = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
    "raw": "audio/pcm",
    "mulaw": "audio/basic",
}


def audio(form: str, text: str) -> bytes:
    """Silence whose length goes with the text; a WAV is a real one, of the others only the beginning is."""
    samples = bytes(2 * 8 * max(1, len(text)))
    if form in ("pcm", "raw", "mulaw"):
        return samples
    if form == "wav":
        head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16, 1, 1, 8000, 16000,
                           2, 16, b"data", len(samples))  # fmt: skip
        return head + samples
    starts = {"mp3": b"ID3\x04\x00\x00\x00\x00\x00\x00", "opus": b"OggS", "aac": b"\xff\xf1", "flac": b"fLaC"}
    return starts[form] + samples
