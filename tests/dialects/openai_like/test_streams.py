"""Streams of the nearly-OpenAI providers: read the same wherever they are cut, and canonical whatever came."""

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.dialects.azure.answer import AzureEdit
from instance.chute.dialects.deepseek.answer import DeepSeekEdit
from instance.chute.dialects.fireworks.answer import FireworksEdit
from instance.chute.dialects.groq.answer import GroqEdit
from instance.chute.dialects.mistral.answer import MistralEdit
from instance.chute.dialects.openai_like.chunks import ChunkEdit, ChunkReader
from instance.chute.dialects.perplexity.answer import PerplexityEdit
from instance.chute.dialects.together.answer import TogetherEdit
from instance.chute.stream import StreamBroken
from tests.dialects.streamed import assembled, read, same_wherever_cut
from tests.modules.openai_like import chunk, sse

USAGE = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
CALL = {"index": 0, "id": "a1b2c3d4e", "function": {"name": "f", "arguments": '{"ü": 1}'}}
THOUGHT = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
SAFE = {"hate": {"filtered": False}}


def make(edit: Callable[[], ChunkEdit]) -> Callable[[], ChunkReader]:
    return lambda: ChunkReader(edit())


MISTRAL = sse(
    chunk({"role": "assistant", "content": ""}),
    chunk({"content": THOUGHT}),
    chunk({"content": "naïve 中"}),
    chunk({"content": "", "tool_calls": [CALL]}, "model_length", usage=USAGE),
)
GROQ = sse(
    chunk({"role": "assistant", "content": ""}, x_groq={"id": "r"}),
    ": comment\n\n",
    chunk({"reasoning": "hm"}),
    chunk({"content": "naïve 中"}),
    chunk({}, "stop", x_groq={"usage": USAGE}),
)
TOGETHER = sse(
    chunk({"role": "assistant", "content": "naïve "}, choice={"text": "naïve "}),
    chunk({"content": "中"}, choice={"text": "中"}),
    chunk({"content": ""}, "eos", usage=USAGE),
)
DEEPSEEK = sse(
    ": keep-alive\n\n",
    chunk({"role": "assistant", "content": None, "reasoning_content": "hm"}),
    chunk({"content": "naïve 中"}),
    chunk({"content": ""}, "stop", usage={**USAGE, "prompt_cache_hit_tokens": 3}),
)
FIREWORKS = sse(
    chunk({"role": "assistant", "content": "naïve "}),
    chunk({"content": "中"}, choice={"raw_output": {"x": 1}}),
    chunk({}, "stop", usage=USAGE, perf_metrics={"a": "1"}),
)
PERPLEXITY = sse(
    chunk(
        {"role": "assistant", "content": "<thi"}, choice={"message": {"content": "<thi"}}, usage=USAGE, citations=["u"]
    ),
    chunk({"content": "nk>hm</think>\n"}, usage=USAGE, citations=["u"]),
    chunk({"content": "naïve [1"}, usage=USAGE, citations=["u"]),
    chunk({"content": "] 中"}, "stop", usage=USAGE, citations=["u"]),
)
AZURE = sse(
    chunk(None, prompt_filter_results=[{"prompt_index": 0}]),
    chunk({"role": "assistant", "content": ""}, choice={"content_filter_results": {}}),
    chunk({"content": "naïve 中"}, choice={"content_filter_results": SAFE}),
    chunk({}, "stop", choice={"content_filter_results": {}}),
    chunk({}, choice={"content_filter_offsets": {"check_offset": 1}, "content_filter_results": SAFE}),
    chunk(None, usage=USAGE),
)


@pytest.mark.parametrize(
    ("edit", "raw", "message", "finish"),
    [
        (MistralEdit, MISTRAL, {"content": "naïve 中", "reasoning_content": "hm"}, "length"),
        (GroqEdit, GROQ, {"content": "naïve 中", "reasoning_content": "hm"}, "stop"),
        (TogetherEdit, TOGETHER, {"content": "naïve 中"}, "stop"),
        (DeepSeekEdit, DEEPSEEK, {"content": "naïve 中", "reasoning_content": "hm"}, "stop"),
        (lambda: FireworksEdit(1, {}, hide_reasoning=False), FIREWORKS, {"content": "naïve 中"}, "stop"),
        (PerplexityEdit, PERPLEXITY, {"content": "naïve [1] 中", "reasoning_content": "hm"}, "stop"),
        (AzureEdit, AZURE, {"content": "naïve 中"}, "stop"),
    ],
)
def test_a_stream_is_the_same_wherever_it_is_cut(edit: Any, raw: bytes, message: dict[str, Any], finish: str) -> None:
    found = assembled(same_wherever_cut(make(edit), raw))
    choice = found["choices"][0]
    assert {name: choice["message"].get(name) for name in message} == message
    assert choice["finish_reason"] == finish
    assert found["usage"]["total_tokens"] == 7


def test_hidden_thinking_is_in_no_chunk() -> None:
    for edit, raw in ((MistralEdit, MISTRAL), (GroqEdit, GROQ), (DeepSeekEdit, DEEPSEEK)):
        chunks = same_wherever_cut(make(lambda edit=edit: edit(hide_reasoning=True)), raw)  # type: ignore[misc]
        assert "hm" not in str(chunks)


def test_chunks_that_need_nothing_pass_as_the_bytes_that_came() -> None:
    plain = sse(chunk({"role": "assistant", "content": "a"}), chunk({}, "stop"), chunk(None, usage=USAGE))
    for edit in (MistralEdit, GroqEdit, TogetherEdit, DeepSeekEdit, AzureEdit):
        reader = ChunkReader(edit())
        came = b"".join(event.raw for event in reader.feed(plain))
        assert came == plain, edit.__name__


def test_a_body_that_ends_after_its_finish_is_complete_and_one_before_it_is_not() -> None:
    reader = ChunkReader(TogetherEdit())
    full = sse(chunk({"role": "assistant", "content": "a"}), chunk({}, "stop", usage=USAGE), done=False)
    found = read(reader, full)
    assert reader.done and found[-1] is None and found[-2] is not None and found[-2]["usage"] == USAGE
    broken = ChunkReader(TogetherEdit())
    broken.feed(sse(chunk({"role": "assistant", "content": "a"}), done=False))
    assert broken.close() == [] and not broken.done


def test_an_error_is_passed_on_and_garbage_is_refused() -> None:
    reader = ChunkReader(GroqEdit())
    events = reader.feed(b'data: {"error": {"message": "no"}}\n\n')
    assert events[0].obj == {"error": {"message": "no"}}
    with pytest.raises(StreamBroken):
        ChunkReader(GroqEdit()).feed(b"data: {nonsense\n\n")


ODD: Any = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.text("ab", max_size=2),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(
            st.sampled_from(
                [
                    "choices",
                    "delta",
                    "content",
                    "usage",
                    "x_groq",
                    "message",
                    "finish_reason",
                    "tool_calls",
                    "error",
                    "citations",
                ]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)


@given(
    st.lists(
        st.dictionaries(st.sampled_from(["choices", "usage", "x_groq", "id", "citations", "search_results"]), ODD),
        max_size=4,
    )
)
def test_whatever_json_comes_it_is_read_or_refused(chunks: list[dict[str, Any]]) -> None:
    for edit in (
        MistralEdit,
        GroqEdit,
        TogetherEdit,
        DeepSeekEdit,
        PerplexityEdit,
        AzureEdit,
        lambda: FireworksEdit(1, {}, hide_reasoning=True),
    ):
        reader = ChunkReader(edit())
        with suppress(StreamBroken):
            reader.feed(sse(*chunks))
            reader.close()


def test_good_events_come_before_the_broken_one() -> None:
    reader = ChunkReader(TogetherEdit())
    raw = sse(chunk({"role": "assistant", "content": "a"}), {"choices": [1]}, done=False)
    assert [event.obj for event in reader.feed(raw)] == [chunk({"role": "assistant", "content": "a"})]
    with pytest.raises(StreamBroken):
        reader.feed(b"")


def test_usage_is_said_once_when_it_comes_twice() -> None:
    raw = sse(
        chunk({"role": "assistant", "content": "a"}, usage=USAGE),
        chunk({}, "stop", x_groq={"usage": USAGE}),
        chunk(None, usage=USAGE),
    )
    found = read(ChunkReader(GroqEdit()), raw)
    assert [one["usage"]["total_tokens"] for one in found if one and one.get("usage")] == [7]
