"""How long recordings last, read from files made here byte by byte."""

import struct

from hypothesis import given
from hypothesis import strategies as st

from instance.chute.dialects.audio_length import audio_length_ms


def wav(samples: int, rate: int = 8000) -> bytes:
    size = samples * 2
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 1, 1, rate, rate * 2, 2, 16)
    odd = struct.pack("<4sI", b"LIST", 3) + b"abc\x00"
    head = struct.pack("<4sI4s", b"RIFF", 36 + size, b"WAVE")
    return head + odd + form + struct.pack("<4sI", b"data", size) + bytes(size)


def mp3_frames(count: int, mark: bytes = b"") -> bytes:
    # MPEG 1, layer III, 128 kbit/s, 44,100 Hz: 417 bytes a frame
    frame = b"\xff\xfb\x90\x00" + bytes(413)
    if mark:
        first = b"\xff\xfb\x90\x00" + bytes(32) + mark
        frame_one = first + bytes(417 - len(first))
        return frame_one + frame * 3
    return frame * count


def atom(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(data), name) + data


def ogg(first: bytes, granule: int) -> bytes:
    page = b"OggS\x00\x00" + struct.pack("<q", 0) + bytes(13) + first
    return page + bytes(500) + b"OggS\x00\x04" + struct.pack("<q", granule) + bytes(100)


def test_a_wav_file() -> None:
    assert audio_length_ms(wav(12_000)) == 1500


def test_a_wav_file_whose_head_promises_more_than_came() -> None:
    assert audio_length_ms(wav(16_000)[:-16_000]) == 1000


def test_a_flac_file() -> None:
    bits = (44_100 << 44) | (1 << 41) | (15 << 36) | 88_200
    assert audio_length_ms(b"fLaC\x00\x00\x00\x22" + bytes(10) + struct.pack(">Q", bits) + bytes(16)) == 2000


def test_ogg_files_of_opus_and_vorbis() -> None:
    opus = b"OpusHead\x01\x01" + struct.pack("<H", 312) + bytes(7)
    assert audio_length_ms(ogg(opus, 48_312)) == 1000
    vorbis = b"\x01vorbis" + struct.pack("<IBI", 0, 2, 44_100) + bytes(14)
    assert audio_length_ms(ogg(vorbis, 66_150)) == 1500


def test_mp3_files_of_one_rate_and_of_many() -> None:
    length = audio_length_ms(mp3_frames(100))
    assert length is not None
    assert abs(length - 100 * 1152 * 1000 / 44_100) < 10
    tagged = b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10) + mp3_frames(0, b"Xing" + struct.pack(">II", 1, 441))
    assert audio_length_ms(tagged) == 11_520


def test_mp4_files_old_and_new() -> None:
    old = atom(b"mvhd", bytes(12) + struct.pack(">II", 1000, 2500) + bytes(80))
    new = atom(b"mvhd", b"\x01" + bytes(19) + struct.pack(">IQ", 600, 1200) + bytes(80))
    head = atom(b"ftyp", b"M4A isom")
    assert audio_length_ms(head + atom(b"mdat", bytes(1000)) + atom(b"moov", old)) == 2500
    assert audio_length_ms(head + atom(b"moov", new)) == 2000


def test_what_is_no_recording_has_no_length() -> None:
    for data in (
        b"",
        b"hello",
        b"RIFF",
        b"RIFF\x00\x00\x00\x00WAVE",
        b"OggS" + bytes(50),
        atom(b"ftyp", b"x") + b"\x00",
    ):
        assert audio_length_ms(data) is None


@given(
    st.sampled_from([b"RIFF\x00\x00\x00\x00WAVE", b"fLaC", b"OggS", b"\x00\x00\x00\x08ftyp", b"ID3", b"\xff\xfb"]),
    st.binary(max_size=400),
)
def test_a_damaged_file_raises_nothing(head: bytes, rest: bytes) -> None:
    length = audio_length_ms(head + rest)
    assert length is None or length >= 0
