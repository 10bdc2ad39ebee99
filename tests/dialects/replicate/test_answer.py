from typing import Any

import orjson
import pytest

from instance.chute.dialects.replicate.prediction import read_chat, usage, why_failed
from instance.chute.dialects.replicate.stream import LAST, ReplicateReader, encode_text_event
from instance.chute.stream import EVENT_MAX_BYTES, StreamBroken
from tests.dialects.streamed import assembled, same_wherever_cut

DONE = {
    "id": "p1",
    "version": "v1",
    "status": "succeeded",
    "output": ["Grüße,\n", "\n Welt"],
    "metrics": {"predict_time": 1.5, "input_token_count": 3, "output_token_count": 4},
}


def reader() -> ReplicateReader:
    return ReplicateReader("meta/llama", 1, "chatcmpl-1")


def last(**more: Any) -> bytes:
    return encode_text_event(LAST, orjson.dumps({**DONE, **more}).decode())


def outputs(*texts: str) -> bytes:
    return b"".join(encode_text_event("output", text) for text in texts)


@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_a_stream_says_the_same_as_the_plain_answer_wherever_it_is_cut(ending: bytes) -> None:
    raw = (b": hi\n\n" + outputs("Grüße,\n", "\n Welt") + last()).replace(b"\n", ending)
    plain = read_chat(DONE, "meta/llama", 1, "chatcmpl-1")
    own = plain.pop("replicate")
    assert own == {"id": "p1", "version": "v1", "metrics": DONE["metrics"]}
    assert plain["choices"][0].pop("logprobs") is None
    assert plain["choices"][0]["message"]["content"] == "Grüße,\n\n Welt"
    chunks = same_wherever_cut(reader, raw)
    assert assembled(chunks) == plain
    assert chunks[-2] is not None
    assert chunks[-2]["replicate"] == own


@pytest.mark.parametrize(
    ("metrics", "counts"),
    [
        ({"input_token_count": 3, "output_token_count": 4}, (3, 4, 7)),
        ({"token_input_count": 3, "token_output_count": 4}, (3, 4, 7)),
        ({"predict_time": 1}, None),
        (None, None),
    ],
)
def test_usage(metrics: Any, counts: Any) -> None:
    got = usage({"metrics": metrics})
    assert (tuple(got.values()) if got else None) == counts


@pytest.mark.parametrize(
    ("raw", "message", "status"),
    [
        (encode_text_event("error", '{"detail": "out of memory"}'), "The prediction failed: out of memory", 502),
        (encode_text_event("error", "out of memory"), "The prediction failed: out of memory", 502),
        (last(status="failed", error=None, logs="a\nno GPU\n"), "The prediction failed: no GPU", 502),
        (last(status="canceled"), "The prediction was canceled at Replicate.", 499),
    ],
)
def test_a_prediction_that_ended_badly_is_reported(raw: bytes, message: str, status: int) -> None:
    failing = reader()
    (event,) = failing.feed(raw)
    assert event.obj is not None
    assert (event.obj["error"]["message"], event.obj["error"]["status"]) == (message, status)
    assert not failing.done


def test_why_a_prediction_failed() -> None:
    assert why_failed({"error": "E", "logs": "x"}) == "E"
    assert why_failed({"logs": "a\nb\n\n"}) == "b"
    assert why_failed({}) == "it does not say why"


def test_a_stream_that_breaks_off_has_no_end() -> None:
    cut_off = reader()
    cut_off.feed(outputs("a"))
    assert cut_off.close() == []
    assert not cut_off.done


def test_an_event_without_end_breaks_the_stream() -> None:
    with pytest.raises(StreamBroken):
        reader().feed(b"data: " + b"x" * (EVENT_MAX_BYTES + 1))
    with pytest.raises(StreamBroken):
        reader().feed(encode_text_event(LAST, "{"))
