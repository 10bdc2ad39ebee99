from struct import pack
from typing import Any
from zlib import crc32

import pytest

from instance.chute.dialects.bedrock.answer import read_answer
from instance.chute.dialects.bedrock.event_stream import EventStream
from instance.chute.dialects.bedrock.stream_reader import ConverseReader
from instance.chute.stream import StreamBroken
from tests.dialects.bedrock.frames import call, end, event, exception, frame, start, texts, thought
from tests.dialects.streamed import assembled, read, same_wherever_cut

JSON = dict[str, Any]
FULL = (
    start()
    + thought(0, "sig", "h", "m")
    + texts(1, "So ", "é, ", "well")
    + call(2, "tooluse_1", "f", '{"x"', ":1}")
    + end("tool_use", cacheReadInputTokens=100)
)


def reader(**options: Any) -> ConverseReader:
    return ConverseReader("m", 5, "chatcmpl-1", **options)


def test_a_stream_says_what_the_plain_answer_says_wherever_it_is_cut() -> None:
    said = assembled(same_wherever_cut(reader, FULL))
    plain: JSON = {
        "output": {
            "message": {
                "role": "assistant",
                "content": [
                    {"reasoningContent": {"reasoningText": {"text": "hm", "signature": "sig"}}},
                    {"text": "So é, well"},
                    {"toolUse": {"toolUseId": "tooluse_1", "name": "f", "input": {"x": 1}}},
                ],
            }
        },
        "stopReason": "tool_use",
        "usage": {"inputTokens": 10, "outputTokens": 7, "totalTokens": 17, "cacheReadInputTokens": 100},
    }
    expected = read_answer(plain, model="m", created=5, answer_id="chatcmpl-1")
    message, want = said["choices"][0]["message"], expected["choices"][0]["message"]
    assert message["content"] == want["content"]
    assert message["reasoning_content"] == want["reasoning_content"]
    assert message["tool_calls"] == want["tool_calls"]
    assert said["choices"][0]["finish_reason"] == expected["choices"][0]["finish_reason"] == "tool_calls"
    assert said["usage"] == expected["usage"]
    assert said["usage"]["prompt_tokens"] == 110


def test_a_frame_with_a_bad_checksum_breaks_the_stream_after_what_was_good() -> None:
    good = start() + texts(0, "a")
    bad = bytearray(texts(0, "stolen"))
    bad[-6] ^= 1
    for place in (len(bad) - 6, 5):
        spoiled = bytearray(event("contentBlockDelta", contentBlockIndex=0, delta={"text": "stolen"}))
        spoiled[place % len(spoiled)] ^= 1
        one = reader()
        got = one.feed(good + bytes(spoiled) + end("end_turn"))
        assert "stolen" not in str([delta.obj for delta in got])
        assert not one.done
        with pytest.raises(StreamBroken):
            one.feed(b"")


def test_every_flipped_bit_is_noticed() -> None:
    raw = event("contentBlockDelta", contentBlockIndex=0, delta={"text": "x"})
    for place in range(len(raw)):
        spoiled = bytearray(raw)
        spoiled[place] ^= 0x10
        messages, broken = EventStream().feed(bytes(spoiled))
        assert messages == []
        assert broken is not None


def test_an_impossible_length_is_not_waited_for() -> None:
    for total, headers in ((1 << 30, 0), (8, 0), (64, 60), (1 << 20, 1 << 19)):
        prelude = pack("!II", total, headers)
        _, broken = EventStream().feed(prelude + pack("!I", crc32(prelude)))
        assert broken is not None


def test_headers_of_every_type_are_passed_over() -> None:
    odd = b"".join(
        bytes([1]) + name + bytes([kind]) + value
        for name, kind, value in (
            (b"a", 0, b""),
            (b"b", 1, b""),
            (b"c", 2, b"\1"),
            (b"d", 3, b"\1\2"),
            (b"e", 4, b"\1\2\3\4"),
            (b"f", 5, b"\1" * 8),
            (b"g", 6, b"\0\2xy"),
            (b"h", 8, b"\1" * 8),
            (b"i", 9, b"\1" * 16),
            (b"j", 7, b"\0\2ok"),
        )
    )
    prelude = pack("!II", 16 + len(odd), len(odd))
    data = prelude + pack("!I", crc32(prelude)) + odd
    messages, broken = EventStream().feed(data + pack("!I", crc32(data)))
    assert broken is None
    assert messages[0].headers == {"j": "ok"}


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("throttlingException", 429, "rate_limited"),
        ("modelStreamErrorException", 502, "modelStreamErrorException"),
        ("validationException", 400, "validationException"),
        ("serviceUnavailableException", 503, "overloaded"),
        ("ofTheFuture", 502, "ofTheFuture"),
    ],
)
def test_an_exception_frame_is_an_error(name: str, status: int, code: str) -> None:
    last = read(reader(), start() + texts(0, "a") + exception(name, "why"))[-1]
    assert last == {"error": {"message": "why", "type": name, "code": code, "status": status}}


def test_the_answer_tools_input_is_the_text() -> None:
    raw = start() + call(0, "t", "json", '{"a"', ":1}") + end("tool_use")
    said = assembled(same_wherever_cut(lambda: reader(answer_tool="json"), raw))
    assert said["choices"][0]["message"]["content"] == '{"a":1}'
    assert said["choices"][0]["finish_reason"] == "stop"


def test_thinking_can_be_hidden_and_is_signed_by_who_thought() -> None:
    raw = start() + thought(0, "sig", "secret") + texts(1, "x") + end("end_turn")
    assert "secret" not in str(read(reader(reasoning=False), raw))
    assert "'provider': 'anthropic'" in str(read(reader(thinker="anthropic"), raw))


def test_a_body_that_ends_after_its_stop_is_whole_and_one_without_is_not() -> None:
    stop = event("messageStop", stopReason="guardrail_intervened")
    one = reader()
    one.feed(start() + texts(0, "no") + stop)
    assert [delta.obj for delta in one.close()][-1] is None
    assert one.done
    two = reader()
    two.feed(start() + texts(0, "no"))
    assert two.close() == []
    assert not two.done


def test_a_message_that_is_none_of_converses_breaks_the_stream() -> None:
    one = reader()
    headers = {":event-type": "contentBlockDelta", ":message-type": "event"}
    assert one.feed(start() + frame(headers, b"[]"))
    with pytest.raises(StreamBroken):
        one.feed(b"")
