"""Content decoding, however the bytes are cut."""

import gzip
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instance.chute.upstream import UpstreamError
from instance.chute.upstream.decode import decoder_for


def decoded(encoding: bytes, pieces: list[bytes], block_bytes: int = 1000) -> tuple[bytes, bool]:
    decoder = decoder_for(encoding, block_bytes)
    assert decoder is not None
    out = []
    for piece in pieces:
        decoder.push(piece)
        while block := decoder.pull():
            assert len(block) <= block_bytes
            out.append(block)
    return b"".join(out), decoder.at_end


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(body) + packer.flush()


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(data) + 1) for place in places)
    return [data[start:end] for start, end in zip([0, *ends], [*ends, len(data)], strict=True)]


@settings(deadline=None, max_examples=60)
@given(body=st.binary(max_size=5000) | st.just(b"ab" * 20_000), places=st.lists(st.integers(0, 10_000), max_size=6))
@pytest.mark.parametrize(
    ("encoding", "encode"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress), (b"deflate", raw_deflate)]
)
def test_any_cutting_gives_the_body_back(encoding, encode, body, places):
    assert decoded(encoding, cut(encode(body), places)) == (body, True)


def test_gzip_members_one_after_another_are_one_body():
    assert decoded(b"gzip", [gzip.compress(b"a") + gzip.compress(b"b")]) == (b"ab", True)


def test_a_body_that_ends_early_is_not_at_its_end():
    assert decoded(b"gzip", [gzip.compress(b"abc" * 100)[:-4]])[1] is False


def test_bytes_after_a_deflated_body_are_refused():
    with pytest.raises(UpstreamError, match="after the end"):
        decoded(b"deflate", [zlib.compress(b"abc") + b"more"])


@pytest.mark.parametrize("encoding", [None, b"", b"identity", b" Identity "])
def test_nothing_to_decode(encoding):
    assert decoder_for(encoding, 10) is None


@pytest.mark.parametrize("encoding", [b"br", b"zstd", b"gzip, gzip"])
def test_encodings_that_were_not_asked_for_are_refused(encoding):
    with pytest.raises(UpstreamError):
        decoder_for(encoding, 10)
