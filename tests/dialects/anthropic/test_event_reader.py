import pytest

from instance.chute.answer import DONE
from instance.chute.dialects.anthropic.answer import read_answer
from instance.chute.dialects.anthropic.conversation import thinking_blocks
from instance.chute.dialects.anthropic.event_reader import AnthropicReader
from instance.chute.stream import StreamBroken
from tests.dialects.anthropic.streams import call, end, event, start, texts, thought
from tests.dialects.streamed import assembled, read, same_wherever_cut


def reader(*, native: bool = False, answer_tool: str = "", reasoning: bool = True) -> AnthropicReader:
    return AnthropicReader("asked", 5, "chatcmpl-1", native=native, answer_tool=answer_tool, reasoning=reasoning)


FULL = (
    start()
    + event("ping")
    + thought(0, "sig", "h", "m")
    + texts(1, "So ", "é, ", "well")
    + call(2, "toolu_1", "f", "", '{"x"', ":1}")
    + call(3, "toolu_2", "g")
    + end("tool_use")
)


def test_a_stream_says_what_the_plain_answer_says_wherever_it_is_cut() -> None:
    chunks = same_wherever_cut(reader, FULL)
    said = assembled(chunks)
    plain = {
        "id": "msg_1",
        "model": "claude-x",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "sig"},
            {"type": "text", "text": "So é, well"},
            {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}},
            {"type": "tool_use", "id": "toolu_2", "name": "g", "input": {}},
        ],
        "stop_reason": "tool_use",
        "usage": {"input_tokens": 10, "cache_read_input_tokens": 100, "output_tokens": 7},
    }
    expected = read_answer(plain, 5)
    message, want = said["choices"][0]["message"], expected["choices"][0]["message"]
    assert message["content"] == want["content"]
    assert message["reasoning_content"] == want["reasoning_content"]
    assert thinking_blocks(message["reasoning_details"]) == plain["content"][:1]  # type: ignore[index]
    assert message["tool_calls"][0] == want["tool_calls"][0]
    assert message["tool_calls"][1]["function"]["name"] == "g"
    assert said["choices"][0]["finish_reason"] == "tool_calls"
    assert said["usage"] == expected["usage"]
    assert said["id"] == "msg_1"


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_a_native_stream_leaves_with_the_bytes_that_came(ending: bytes) -> None:
    raw = FULL.replace(b"\n", ending)
    for size in (1, 7, 64, len(raw)):
        one = reader(native=True)
        deltas = [delta for at in range(0, len(raw), size) for delta in one.feed(raw[at : at + size])]
        if not one.done:
            deltas += one.close()
        assert deltas[-1].raw == DONE
        assert b"".join(delta.raw for delta in deltas[:-1]) + one.last_event == raw
        finish = [delta.obj for delta in deltas if delta.obj and delta.obj["choices"][0]["finish_reason"]]
        assert finish[0]["usage"]["prompt_tokens_details"] == {"cached_tokens": 100}
        assert one.next_block == 4


def test_the_answer_tools_input_is_the_text() -> None:
    raw = start() + call(0, "toolu_1", "json", '{"a"', ":1}") + end("tool_use")
    said = assembled(same_wherever_cut(lambda: reader(answer_tool="json"), raw))
    assert said["choices"][0]["message"]["content"] == '{"a":1}'
    assert said["choices"][0]["finish_reason"] == "stop"
    assert "tool_calls" not in said["choices"][0]["message"]


def test_thinking_can_be_hidden() -> None:
    raw = start() + thought(0, "s", "secret thought") + texts(1, "x") + end("end_turn")
    assert "secret thought" not in str(read(reader(reasoning=False), raw))


def test_an_error_event_has_the_status_that_it_stands_for() -> None:
    raw = start() + texts(0, "a") + event("error", error={"type": "overloaded_error", "message": "Overloaded"})
    last = read(reader(), raw)[-1]
    assert last == {"error": {"message": "Overloaded", "type": "overloaded_error", "code": "overloaded", "status": 503}}


@pytest.mark.parametrize(
    "bad", [b"event: x\ndata: {\n\n", b"nonsense\n\n", event("content_block_delta", index=0), event("message_start")]
)
def test_what_is_none_of_the_dialect_breaks_after_the_good_events(bad: bytes) -> None:
    one = reader()
    assert one.feed(start())
    with pytest.raises(StreamBroken):
        one.feed(bad)
        one.feed(b"")


def test_a_stream_without_its_end_is_not_done() -> None:
    one = reader()
    one.feed(start() + texts(0, "a"))
    one.close()
    assert not one.done


def test_the_stop_sequence_is_kept_under_the_providers_name() -> None:
    raw = start() + texts(0, "a") + end("stop_sequence", stop_sequence="END")
    finish = next(c for c in read(reader(), raw) if c and c["choices"] and c["choices"][0]["finish_reason"])
    assert finish["anthropic"] == {"stop_sequence": "END", "stop_reason": "stop_sequence"}
