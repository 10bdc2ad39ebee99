"""A provider's stream gives the same events wherever its bytes are cut."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.answer import DONE
from instance.chute.stream import EventSplitter, StreamBroken, has_content

CHUNK = b'data: {"choices":[{"index":0,"delta":{"content":"h\xc3\xa9"},"finish_reason":null}]}'


def events_of(blocks: list[bytes]) -> list[tuple[bytes, object]]:
    splitter = EventSplitter()
    events = [event for block in blocks for event in splitter.feed(block)]
    events += splitter.close()
    return [(event.raw, event.obj) for event in events]


STREAM = b": comment\n\n" + CHUNK + b"\n\n" + b'event: x\ndata: {"a":\ndata: 1}\n\n' + b"data: [DONE]\n\n"


@pytest.mark.parametrize("newline", [b"\n", b"\r\n", b"\r"])
def test_a_stream_cut_at_every_byte_gives_the_same_events(newline: bytes) -> None:
    stream = STREAM.replace(b"\n", newline)
    whole = events_of([stream])
    assert [obj for _, obj in whole] == [orjson.loads(CHUNK[6:]), {"a": 1}, None]
    assert whole[-1][0] == DONE
    for cut in range(len(stream) + 1):
        assert events_of([stream[:cut], stream[cut:]]) == whole
    assert events_of([stream[i : i + 1] for i in range(len(stream))]) == whole


def test_events_leave_byte_for_byte_as_they_came() -> None:
    assert b"".join(raw for raw, _ in events_of([CHUNK + b"\n\n" + CHUNK + b"\n\n"])) == (CHUNK + b"\n\n") * 2


def test_an_event_without_its_blank_line_at_the_end_still_counts() -> None:
    assert events_of([CHUNK])[0][1] == orjson.loads(CHUNK[6:])


def test_done_is_seen() -> None:
    splitter = EventSplitter()
    splitter.feed(b"data: [DO")
    assert not splitter.done
    splitter.feed(b"NE]\n\n")
    assert splitter.done


@pytest.mark.parametrize(
    "garbage", [b"data: {broken\n\n", b"data: {broken}\n\n", b"<html>\n\n", b"data: [1]\n\n", b"data: 7\n\n"]
)
def test_what_is_no_stream_of_json_is_refused(garbage: bytes) -> None:
    with pytest.raises(StreamBroken):
        EventSplitter().feed(garbage)


def test_an_endless_event_is_refused() -> None:
    splitter = EventSplitter()
    with pytest.raises(StreamBroken):
        for _ in range(10):
            splitter.feed(b"data: " + b"x" * (1 << 20))


@given(st.lists(st.dictionaries(st.text(max_size=5), st.text(max_size=10), max_size=3), max_size=5), st.data())
def test_any_objects_survive_any_cut(objects: list[dict[str, str]], data: st.DataObject) -> None:
    stream = b"".join(b"data: " + orjson.dumps(obj) + b"\n\n" for obj in objects)
    blocks, rest = [], stream
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        blocks.append(rest[:size])
        rest = rest[size:]
    assert [obj for _, obj in events_of(blocks)] == objects


@pytest.mark.parametrize(
    ("delta", "finish", "expected"),
    [
        ({"role": "assistant"}, None, False),
        ({"role": "assistant", "content": ""}, None, False),
        ({"content": "x"}, None, True),
        ({"tool_calls": [{"index": 0}]}, None, True),
        ({"reasoning_content": "hm"}, None, True),
        ({}, "stop", True),
    ],
)
def test_content_is_more_than_a_role(delta: dict[str, object], finish: str | None, expected: bool) -> None:
    raw = b"data: " + orjson.dumps({"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}) + b"\n\n"
    assert has_content(EventSplitter().feed(raw)[0]) is expected
