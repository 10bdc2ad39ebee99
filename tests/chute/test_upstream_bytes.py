"""The connection's reading of an answer, byte for byte: any cutting gives the same, no rubbish gives a surprise."""

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from instance.chute.upstream import Limits, UpstreamError
from instance.chute.upstream.connection import Connection

Outcome = tuple[Any, ...]

ANSWERS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 11\r\n\r\nhello world",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=y\r\n world\r\n0\r\nX-T: v\r\n\r\n",
    "interim": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\nhello world",
    "until the end": b"HTTP/1.0 200 OK\r\n\r\nhello world",
    "no body": b"HTTP/1.1 204 No Content\r\n\r\n",
}


class FakeTransport(asyncio.Transport):
    """Takes what is written and reports how it ended."""

    def __init__(self) -> None:
        super().__init__()
        self.aborted = False

    def write(self, data: Any) -> None:
        pass

    def abort(self) -> None:
        self.aborted = True

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


async def outcome(pieces: list[bytes]) -> Outcome:
    """What a caller sees of an answer that comes in these pieces and then the connection ends."""
    freed: list[Connection] = []
    transport = FakeTransport()
    connection = Connection("http://x:80", Limits(), freed.append, lambda lost: None)
    connection.connection_made(transport)
    response = connection.request(b"GET / HTTP/1.1\r\n\r\n", b"")
    for piece in pieces:
        if not transport.aborted:
            connection.data_received(piece)
    kept = len(freed)
    connection.connection_lost(None)
    try:
        await response.head()
        return response.status, await response.read(1 << 20), kept
    except UpstreamError as error:
        return "error", error.kind, kept


def cut(data: bytes, places: list[int]) -> list[bytes]:
    ends = sorted(place % (len(data) + 1) for place in places)
    return [piece for start, end in zip([0, *ends], [*ends, len(data)], strict=True) if (piece := data[start:end])]


@pytest.mark.parametrize("name", ANSWERS)
@settings(deadline=None, max_examples=40)
@given(places=st.lists(st.integers(0, 500), max_size=12))
def test_an_answer_is_the_same_however_it_is_cut(name, places):
    whole = asyncio.run(outcome([ANSWERS[name]]))
    assert whole[0] in (200, 204)
    assert asyncio.run(outcome(cut(ANSWERS[name], places))) == whole


@pytest.mark.parametrize("name", ["length", "chunked", "interim"])
def test_an_answer_that_stops_anywhere_is_truncated(name):
    for end in range(1, len(ANSWERS[name])):
        assert asyncio.run(outcome([ANSWERS[name][:end]]))[:2] == ("error", "truncated")
    assert asyncio.run(outcome([]))[:2] == ("error", "reset")


@settings(deadline=None, max_examples=200)
@given(
    name=st.sampled_from(sorted(ANSWERS)),
    place=st.integers(0, 200),
    inserted=st.binary(max_size=20),
    dropped=st.integers(0, 10),
    places=st.lists(st.integers(0, 500), max_size=4),
)
def test_a_damaged_answer_is_an_answer_or_an_upstream_error(name, place, inserted, dropped, places):
    answer = ANSWERS[name]
    place %= len(answer) + 1
    damaged = answer[:place] + inserted + answer[place + dropped :]
    found = asyncio.run(outcome(cut(damaged, places)))
    assert found[0] == "error" or 200 <= found[0] <= 999


@settings(deadline=None, max_examples=100)
@given(rubbish=st.binary(min_size=1, max_size=300))
def test_rubbish_is_no_answer(rubbish):
    found = asyncio.run(outcome([rubbish]))
    assert found[0] == "error"
    assert found[1] in ("bad_response", "truncated")


def test_a_connection_is_freed_once_and_only_by_a_whole_answer():
    assert asyncio.run(outcome([ANSWERS["length"]]))[2] == 1
    assert asyncio.run(outcome([ANSWERS["length"][:-1]]))[2] == 0
    assert asyncio.run(outcome([ANSWERS["until the end"]]))[2] == 0
    assert asyncio.run(outcome([ANSWERS["length"] + ANSWERS["length"]]))[2] == 0
