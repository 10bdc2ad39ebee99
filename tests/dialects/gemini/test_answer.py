from collections.abc import Callable
from itertools import count
from typing import Any

import orjson
import pytest

from instance.chute.dialects.gemini.answer import read_chat
from instance.chute.dialects.gemini.stream import GeminiReader
from instance.chute.stream import StreamBroken
from instance.core.errors import StockyardError
from tests.dialects.streamed import assembled, read, same_wherever_cut

COUNTS = {
    "promptTokenCount": 10,
    "cachedContentTokenCount": 4,
    "candidatesTokenCount": 5,
    "thoughtsTokenCount": 7,
    "toolUsePromptTokenCount": 2,
    "totalTokenCount": 24,
    "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}, {"modality": "AUDIO", "tokenCount": 3}],
}


def ids() -> Callable[[], str]:
    numbers = count(1)
    return lambda: f"call_{next(numbers)}"


def candidate(*parts: dict[str, Any], reason: str | None = "STOP", **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"content": {"role": "model", "parts": list(parts)}, "index": 0, **more}
    if reason:
        made["finishReason"] = reason
    return made


def answer(*candidates: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {
        "candidates": list(candidates),
        "usageMetadata": COUNTS,
        "modelVersion": "gemini-2.5-flash-001",
        "responseId": "r-1",
        **more,
    }


def plain(obj: dict[str, Any], **more: Any) -> dict[str, Any]:
    return read_chat(obj, "gemini-2.5-flash", 1, "chatcmpl-1", made=ids(), **more)


def reader(**more: Any) -> GeminiReader:
    return GeminiReader("gemini-2.5-flash", 1, "chatcmpl-1", made=ids(), **more)


def sse(*objs: dict[str, Any], ending: bytes = b"\r\n\r\n") -> bytes:
    return b"".join(b"data: " + orjson.dumps(obj) + ending for obj in objs)


def without_logprobs(obj: dict[str, Any]) -> dict[str, Any]:
    for choice in obj["choices"]:
        assert choice.pop("logprobs") is None
    return obj


def test_text_thinking_and_usage() -> None:
    got = plain(answer(candidate({"text": "hm", "thought": True}, {"text": "Hel"}, {"text": "lo"})))
    message = got["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "Hello", "reasoning_content": "hm"}
    assert got["choices"][0]["finish_reason"] == "stop"
    assert got["model"] == "gemini-2.5-flash-001"
    usage = got["usage"]
    assert (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]) == (12, 12, 24)
    assert usage["prompt_tokens_details"] == {"cached_tokens": 4, "audio_tokens": 3}
    assert usage["completion_tokens_details"] == {"reasoning_tokens": 7, "audio_tokens": 0}


@pytest.mark.parametrize(("model", "searches"), [("gemini-2.5-flash", 1), ("gemini-3-flash", 2)])
def test_searches_of_the_web_and_pictures_are_counted_apart(model: str, searches: int) -> None:
    obj = answer(candidate({"text": "a"}, groundingMetadata={"webSearchQueries": ["b", "c"]}))
    obj["usageMetadata"] = {**COUNTS, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 9}]}
    usage = read_chat(obj, model, 1, "i")["usage"]
    assert usage["server_tool_use"] == {"web_search_requests": searches}
    assert usage["completion_tokens_details"]["image_tokens"] == 9
    assert assembled(read(GeminiReader(model, 1, "i"), sse(obj)))["usage"] == usage


def test_thinking_can_be_hidden() -> None:
    obj = answer(candidate({"text": "hm", "thought": True}, {"text": "Hello"}))
    assert "reasoning_content" not in plain(obj, reasoning=False)["choices"][0]["message"]
    chunks = read(reader(reasoning=False), sse(obj))
    assert "reasoning_content" not in assembled(chunks)["choices"][0]["message"]


def test_two_calls_to_one_function_keep_distinct_ids() -> None:
    call = {"functionCall": {"name": "weather", "args": {"city": "Oslo"}}}
    got = plain(answer(candidate({**call, "thoughtSignature": "c2ln"}, call)))
    calls = got["choices"][0]["message"]["tool_calls"]
    assert [one["id"] for one in calls] == ["call_1__sc2ln", "call_2"]
    assert all(orjson.loads(one["function"]["arguments"]) == {"city": "Oslo"} for one in calls)
    assert got["choices"][0]["finish_reason"] == "tool_calls"
    assert got["choices"][0]["message"]["content"] is None


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("STOP", "stop"),
        ("MAX_TOKENS", "length"),
        ("SAFETY", "content_filter"),
        ("RECITATION", "content_filter"),
        ("BLOCKLIST", "content_filter"),
        ("PROHIBITED_CONTENT", "content_filter"),
        ("MALFORMED_FUNCTION_CALL", "stop"),
    ],
)
def test_stop_reasons(reason: str, expected: str) -> None:
    obj = answer(candidate({"text": "a"}, reason=reason))
    assert plain(obj)["choices"][0]["finish_reason"] == expected
    assert assembled(read(reader(), sse(obj)))["choices"][0]["finish_reason"] == expected


def test_a_refused_prompt_is_an_error() -> None:
    obj = {"promptFeedback": {"blockReason": "SAFETY"}, "usageMetadata": {"promptTokenCount": 3}}
    with pytest.raises(StockyardError) as caught:
        plain(obj)
    assert (caught.value.code, caught.value.status) == ("content_filter", 400)
    chunk = read(reader(), sse(obj))[0]
    assert chunk is not None
    assert (chunk["error"]["code"], chunk["error"]["status"]) == ("content_filter", 400)


@pytest.mark.parametrize(
    "obj", [{}, {"candidates": []}, {"candidates": [{"content": {"parts": [{"functionCall": {}}]}}]}]
)
def test_what_is_no_answer_is_said_to_be_none(obj: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        plain(obj)


def test_web_pages_are_annotations_with_offsets_in_characters() -> None:
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://example.com", "title": "Example"}}],
        "groundingSupports": [
            {"segment": {"startIndex": 3, "endIndex": 6, "text": "abc"}, "groundingChunkIndices": [0, 9]}
        ],
    }
    obj = answer(candidate({"text": "é abc"}, groundingMetadata=grounding))
    for message in (
        plain(obj)["choices"][0]["message"],
        assembled(read(reader(), sse(obj)))["choices"][0]["message"],
    ):
        (cited,) = message["annotations"]
        assert cited["url_citation"]["url"] == "https://example.com"
        assert "é abc"[cited["url_citation"]["start_index"] : cited["url_citation"]["end_index"]] == "abc"
        assert message["gemini"]["groundingMetadata"] == grounding


def test_probabilities() -> None:
    result = {
        "chosenCandidates": [{"token": "a", "logProbability": -0.5}],
        "topCandidates": [
            {"candidates": [{"token": "a", "logProbability": -0.5}, {"token": "b", "logProbability": -1}]}
        ],
    }
    choice = plain(answer(candidate({"text": "a"}, logprobsResult=result)))["choices"][0]
    (one,) = choice["logprobs"]["content"]
    assert (one["token"], one["logprob"], one["bytes"]) == ("a", -0.5, [97])
    assert [top["token"] for top in one["top_logprobs"]] == ["a", "b"]


PIECES = [
    answer(candidate({"text": "hm ", "thought": True}, reason=None)),
    answer(candidate({"text": "Grüße, "}, reason=None)),
    answer(candidate({"text": "Welt"}, {"text": "", "thoughtSignature": "c2ln"}, reason=None)),
    answer(
        candidate(
            {"functionCall": {"name": "weather", "args": {"city": "Zürich"}}, "thoughtSignature": "YQ=="},
            {"functionCall": {"name": "weather", "args": {"city": "Oslo"}, "id": "own"}},
            reason=None,
        )
    ),
    answer(candidate(reason="STOP", safetyRatings=[{"category": "A", "probability": "LOW"}])),
]
WHOLE = answer(
    candidate(
        *(part for piece in PIECES for part in piece["candidates"][0]["content"]["parts"]),
        safetyRatings=[{"category": "A", "probability": "LOW"}],
    )
)


@pytest.mark.parametrize("ending", [b"\r\n\r\n", b"\n\n"])
def test_a_stream_says_the_same_as_the_plain_answer_wherever_it_is_cut(ending: bytes) -> None:
    chunks = same_wherever_cut(reader, sse(*PIECES, ending=ending))
    assert assembled(chunks) == without_logprobs(plain(WHOLE))


def test_several_candidates_are_choices_of_their_own() -> None:
    first = answer(candidate({"text": "a"}, reason=None), {**candidate({"text": "b"}, reason=None), "index": 1})
    last = answer({**candidate({"text": "B"}), "index": 1}, candidate({"text": "A"}))
    got = assembled(same_wherever_cut(reader, sse(first, last)))
    assert [choice["message"]["content"] for choice in got["choices"]] == ["aA", "bB"]
    assert [choice["finish_reason"] for choice in got["choices"]] == ["stop", "stop"]


def test_a_stream_that_breaks_off_has_no_end() -> None:
    cut_off = reader()
    cut_off.feed(sse(*PIECES[:2]))
    assert cut_off.close() == []
    assert not cut_off.done


def test_an_error_in_the_stream_keeps_its_status() -> None:
    error = {"error": {"code": 503, "message": "The model is overloaded.", "status": "UNAVAILABLE"}}
    chunks = [event.obj for event in reader().feed(sse(PIECES[1], error))]
    assert chunks[-1] == {"error": {"message": "The model is overloaded.", "status": 503, "code": "unavailable"}}


def test_a_filter_before_the_first_word_can_be_an_error() -> None:
    filtered = sse(answer(candidate(reason="SAFETY")))
    chunk = read(reader(stop_at_filter=True), filtered)[0]
    assert chunk is not None
    assert chunk["error"]["code"] == "content_filter"
    assert assembled(read(reader(), filtered))["choices"][0]["finish_reason"] == "content_filter"


def test_a_stream_of_something_else_is_broken() -> None:
    with pytest.raises(StreamBroken):
        reader().feed(b"<html>\n\n")
