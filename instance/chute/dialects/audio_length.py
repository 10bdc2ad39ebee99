"""How long a recording lasts, read from its container's heads: what transcriptions are charged by where the provider does not say.

Known are WAV, FLAC, Ogg (Opus, Vorbis), MP3 and MP4/M4A. Nothing is decoded, and no byte is copied but of the heads.
"""

from __future__ import annotations

from struct import error as StructError
from struct import unpack_from

ATOMS_MAX = 256
MP3_SEARCH_BYTES = 64 << 10
OGG_PAGE_MAX_BYTES = 65_307
OPUS_RATE = 48_000
_MP3_KBPS = (
    (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)
_MP3_RATES = {3: (44_100, 48_000, 32_000), 2: (22_050, 24_000, 16_000), 0: (11_025, 12_000, 8_000)}


def audio_length_ms(data: memoryview | bytes) -> int | None:
    """Milliseconds; `None` for a container that is not known, or is damaged."""
    view = memoryview(data)
    head = bytes(view[:12])
    try:
        if head[:4] == b"RIFF" and head[8:12] == b"WAVE":
            return _wav(view)
        if head[:4] == b"fLaC":
            return _flac(view)
        if head[:4] == b"OggS":
            return _ogg(view)
        if head[4:8] == b"ftyp":
            return _mp4(view)
        if head[:3] == b"ID3" or (len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0):
            return _mp3(view)
    except (StructError, IndexError, ZeroDivisionError):
        return None
    return None


def _ms(units: int, units_per_s: int) -> int:
    return round(units * 1000 / units_per_s)


def _wav(view: memoryview) -> int | None:
    at, bytes_per_s = 12, 0
    for _ in range(ATOMS_MAX):
        (name, size) = unpack_from("<4sI", view, at)
        if name == b"fmt ":
            (bytes_per_s,) = unpack_from("<I", view, at + 16)
        elif name == b"data":
            there = len(view) - at - 8
            return _ms(min(size, there), bytes_per_s)
        at += 8 + size + (size & 1)
    return None


def _flac(view: memoryview) -> int | None:
    # STREAMINFO comes first: 20 bits of rate, 3 of channels, 5 of depth, 36 of samples.
    (bits,) = unpack_from(">Q", view, 18)
    rate, samples = bits >> 44, bits & ((1 << 36) - 1)
    return _ms(samples, rate) if samples else None


def _ogg(view: memoryview) -> int | None:
    first = bytes(view[:128])
    if b"OpusHead" in first:
        at = first.index(b"OpusHead")
        rate = OPUS_RATE
        (skipped,) = unpack_from("<H", view, at + 10)
    elif b"\x01vorbis" in first:
        (rate,) = unpack_from("<I", view, first.index(b"\x01vorbis") + 12)
        skipped = 0
    else:
        return None
    tail = bytes(view[-OGG_PAGE_MAX_BYTES:])
    at = tail.rfind(b"OggS")
    if at < 0:
        return None
    (samples,) = unpack_from("<q", tail, at + 6)
    return _ms(max(0, samples - skipped), rate)


def _mp4(view: memoryview) -> int | None:
    moov = _atom(view, 0, len(view), b"moov")
    if moov is None:
        return None
    mvhd = _atom(view, moov[0], moov[1], b"mvhd")
    if mvhd is None:
        return None
    at = mvhd[0]
    scale, length = unpack_from(">IQ", view, at + 20) if view[at] == 1 else unpack_from(">II", view, at + 12)
    return _ms(length, scale)


def _atom(view: memoryview, at: int, end: int, wanted: bytes) -> tuple[int, int] | None:
    """Where the contents of the first atom of that name begin and end."""
    for _ in range(ATOMS_MAX):
        if at + 8 > end:
            return None
        size, name = unpack_from(">I4s", view, at)
        head = 8
        if size == 1:
            (size,) = unpack_from(">Q", view, at + 8)
            head = 16
        elif size == 0:
            size = end - at
        if size < head:
            return None
        if name == wanted:
            return at + head, min(at + size, end)
        at += size
    return None


def _mp3(view: memoryview) -> int | None:
    at = 0
    if bytes(view[:3]) == b"ID3":
        at = 10 + (view[6] << 21 | view[7] << 14 | view[8] << 7 | view[9])
    for start in range(at, min(at + MP3_SEARCH_BYTES, len(view) - 4)):
        if view[start] != 0xFF or view[start + 1] & 0xE0 != 0xE0:
            continue
        version, layer = view[start + 1] >> 3 & 3, view[start + 1] >> 1 & 3
        kbps_index, rate_index = view[start + 2] >> 4, view[start + 2] >> 2 & 3
        if version == 1 or layer != 1 or not 0 < kbps_index < 15 or rate_index == 3:
            continue
        rate = _MP3_RATES[version][rate_index]
        samples = 1152 if version == 3 else 576
        frame = bytes(view[start : start + 64])
        for mark in (b"Xing", b"Info"):
            place = frame.find(mark)
            if place > 0 and frame[place + 7] & 1:
                (frames,) = unpack_from(">I", frame, place + 8)
                return _ms(frames * samples, rate)
        return round((len(view) - start) * 8 / _MP3_KBPS[version != 3][kbps_index])
    return None
