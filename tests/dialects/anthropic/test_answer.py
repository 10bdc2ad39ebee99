from typing import Any

import pytest

from instance.chute.dialects.anthropic.answer import read_answer
from instance.chute.dialects.anthropic.conversation import assistant_blocks

JSON = dict[str, Any]


def message(*blocks: JSON, reason: str = "end_turn", usage: JSON | None = None, **more: Any) -> JSON:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "claude-x",
        "content": list(blocks),
        "stop_reason": reason,
        "stop_sequence": None,
        "usage": usage or {"input_tokens": 3, "output_tokens": 5},
        **more,
    }


def text(value: str) -> JSON:
    return {"type": "text", "text": value}


CALL = {"type": "tool_use", "id": "toolu_1", "name": "f", "input": {"x": 1}}
THOUGHT = {"type": "thinking", "thinking": "hm", "signature": "sig"}


def test_a_text() -> None:
    assert read_answer(message(text("hi")), 7) == {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 7,
        "model": "claude-x",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "hi"},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 5,
            "total_tokens": 8,
            "prompt_tokens_details": {"cached_tokens": 0},
        },
    }


def test_cached_tokens_count_as_prompt() -> None:
    counts = {
        "input_tokens": 20,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 30,
        "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 10},
        "output_tokens": 50,
        "output_tokens_details": {"thinking_tokens": 40},
    }
    usage = read_answer(message(text("x"), usage=counts), 0)["usage"]
    assert usage["prompt_tokens"] == 150
    assert usage["prompt_tokens_details"] == {
        "cached_tokens": 100,
        "cache_creation_tokens": 30,
        "cache_creation_1h_tokens": 10,
    }
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 40}
    assert usage["total_tokens"] == 200


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("tool_use", "tool_calls"),
        ("refusal", "content_filter"),
        ("pause_turn", "stop"),
        ("of the future", "stop"),
    ],
)
def test_why_it_stopped(reason: str, finish: str) -> None:
    assert read_answer(message(text("x"), reason=reason), 0)["choices"][0]["finish_reason"] == finish


def test_calls_and_thinking() -> None:
    said = read_answer(message(THOUGHT, text("so"), CALL, reason="tool_use"), 0)["choices"][0]["message"]
    assert said == {
        "role": "assistant",
        "content": "so",
        "reasoning_content": "hm",
        "reasoning_details": [
            {"type": "reasoning.text", "text": "hm", "signature": "sig", "provider": "anthropic"},
        ],
        "tool_calls": [{"id": "toolu_1", "type": "function", "function": {"name": "f", "arguments": '{"x":1}'}}],
    }
    hidden = read_answer(message(THOUGHT, text("so")), 0, reasoning=False)["choices"][0]["message"]
    assert hidden == {"role": "assistant", "content": "so"}


def test_the_answer_tools_input_is_the_content() -> None:
    answer = read_answer(message(CALL, reason="tool_use"), 0, answer_tool="f")
    assert answer["choices"][0]["message"] == {"role": "assistant", "content": '{"x":1}'}
    assert answer["choices"][0]["finish_reason"] == "stop"


ORDERS: list[list[JSON]] = [
    [text("a")],
    [THOUGHT, text("a"), CALL],
    [THOUGHT, {"type": "redacted_thinking", "data": "zz"}, CALL, {**CALL, "id": "toolu_2"}],
    [THOUGHT, text("a"), {**THOUGHT, "signature": "2"}, CALL],
    [text("a"), CALL, text("b")],
    [text("a"), {"type": "server_tool_use", "id": "s", "name": "web_search", "input": {"q": 1}}, text("b")],
    [{**text("a"), "citations": [{"type": "page_location", "cited_text": "x"}]}],
]


@pytest.mark.parametrize("blocks", ORDERS)
def test_blocks_sent_back_are_those_that_came(blocks: list[JSON]) -> None:
    said = read_answer(message(*blocks), 0)["choices"][0]["message"]
    dropped: list[str] = []
    assert assistant_blocks(said, "messages[0]", dropped) == blocks
    assert dropped == []


def test_blocks_whose_text_a_client_changed_are_written_anew() -> None:
    said = read_answer(message(text("a"), CALL, text("b")), 0)["choices"][0]["message"]
    said["content"] = "other"
    assert assistant_blocks(said, "m", []) == [text("other"), CALL]


@pytest.mark.parametrize("bad", [{}, {"content": "x"}, {"content": [{}]}, {"content": [], "type": "error"}])
def test_what_is_no_message_is_refused(bad: JSON) -> None:
    with pytest.raises((ValueError, KeyError, TypeError)):
        read_answer(bad, 0)
