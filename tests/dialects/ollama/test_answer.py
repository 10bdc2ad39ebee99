from collections.abc import Callable
from itertools import count
from typing import Any

import orjson
import pytest

from instance.chute.dialects.ollama.answer import read_chat
from instance.chute.dialects.ollama.lines import LINE_MAX_BYTES
from instance.chute.dialects.ollama.stream import OllamaReader
from instance.chute.stream import StreamBroken
from tests.dialects.streamed import assembled, read, same_wherever_cut

LAST = {"total_duration": 5, "load_duration": 1, "prompt_eval_count": 26, "eval_count": 290}


def ids() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"call_{next(numbers)}"


def plain(obj: dict[str, Any], **more: Any) -> dict[str, Any]:
    got = read_chat(obj, "llama3.2", 1, "chatcmpl-1", made=ids(), **more)
    assert got["choices"][0].pop("logprobs") is None
    assert got.pop("ollama") == {"total_duration": 5, "load_duration": 1}
    return got


def reader(**more: Any) -> OllamaReader:
    return OllamaReader("llama3.2", 1, "chatcmpl-1", made=ids(), **more)


def lines(*objs: dict[str, Any]) -> bytes:
    return b"".join(orjson.dumps(obj) + b"\n" for obj in objs)


def line(done: str = "", **message: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"model": "llama3.2:3b", "message": {"role": "assistant", "content": "", **message}}
    return {**made, "done": True, "done_reason": done, **LAST} if done else {**made, "done": False}


WEATHER = {"function": {"name": "weather", "arguments": {"city": "Zürich"}}}
NOW = {"id": "own", "function": {"name": "now", "arguments": {}}}


def test_a_stream_says_the_same_as_the_plain_answer_wherever_it_is_cut() -> None:
    pieces = [
        line(thinking="hm "),
        line(thinking="so"),
        line(content="Grüße, "),
        line(content="Welt"),
        line(tool_calls=[WEATHER]),
        line(tool_calls=[NOW]),
        line("stop"),
    ]
    whole = line("stop", thinking="hm so", content="Grüße, Welt", tool_calls=[WEATHER, NOW])
    answer = plain(whole)
    assert assembled(same_wherever_cut(reader, lines(*pieces))) == answer
    assert answer["model"] == "llama3.2:3b"
    assert answer["usage"] == {"prompt_tokens": 26, "completion_tokens": 290, "total_tokens": 316}
    message = answer["choices"][0]["message"]
    assert message["reasoning_content"] == "hm so"
    assert [call["id"] for call in message["tool_calls"]] == ["call_1", "own"]
    assert [orjson.loads(call["function"]["arguments"]) for call in message["tool_calls"]] == [{"city": "Zürich"}, {}]
    assert answer["choices"][0]["finish_reason"] == "tool_calls"


@pytest.mark.parametrize(("reason", "expected"), [("stop", "stop"), ("length", "length")])
def test_stop_reasons(reason: str, expected: str) -> None:
    assert plain(line(reason, content="a"))["choices"][0]["finish_reason"] == expected
    assert assembled(read(reader(), lines(line(reason, content="a"))))["choices"][0]["finish_reason"] == expected


def test_thinking_can_be_hidden() -> None:
    whole = line("stop", thinking="hm", content="a")
    assert "reasoning_content" not in plain(whole, reasoning=False)["choices"][0]["message"]
    assert "reasoning_content" not in assembled(read(reader(reasoning=False), lines(whole)))["choices"][0]["message"]


def test_without_counts_there_is_no_usage() -> None:
    whole = line("stop", content="a")
    del whole["prompt_eval_count"]
    assert "usage" not in plain(whole)
    chunks = read(reader(), lines(whole))
    assert all(chunk is None or chunk["choices"] for chunk in chunks)


def test_probabilities() -> None:
    token = {"token": "a", "logprob": -0.5, "bytes": [97]}
    whole = {**line("stop", content="a"), "logprobs": [{**token, "top_logprobs": [token]}]}
    got = read_chat(whole, "m", 1, "i")["choices"][0]["logprobs"]["content"]
    assert got == [{**token, "top_logprobs": [token]}]
    first = read(reader(), lines(whole))[0]
    assert first is not None
    assert first["choices"][0]["logprobs"]["content"] == got


def test_a_line_with_an_error_is_reported() -> None:
    chunks = [event.obj for event in reader().feed(lines(line(content="a"), {"error": "out of memory"}))]
    assert chunks[-1] == {"error": {"message": "out of memory", "status": 502, "code": None}}


def test_a_stream_that_breaks_off_has_no_end() -> None:
    cut_off = reader()
    cut_off.feed(lines(line(content="a")))
    assert cut_off.close() == []
    assert not cut_off.done


@pytest.mark.parametrize("raw", [b"<html>\n", b"[1]\n", b'{"message": 1}\n', b"x" * (LINE_MAX_BYTES + 1)])
def test_what_is_no_line_breaks_the_stream(raw: bytes) -> None:
    with pytest.raises(StreamBroken):
        reader().feed(raw)
