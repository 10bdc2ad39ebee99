"""What both dialects can say survives the way there and back, for any talk."""

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st

from instance.chute.answer import Delta
from instance.chute.dialects.anthropic.answer import read_answer
from instance.chute.dialects.anthropic.caller_answer import write_answer
from instance.chute.dialects.anthropic.caller_request import read_request
from instance.chute.dialects.anthropic.event_reader import AnthropicReader
from instance.chute.dialects.anthropic.event_writer import EventWriter
from instance.chute.dialects.anthropic.request import write_request
from tests.dialects.streamed import assembled, read

JSON = dict[str, Any]
texts = st.text(min_size=1, max_size=20).filter(lambda text: bool(text.strip()))
names = st.from_regex(r"[a-z][a-z0-9_]{0,10}", fullmatch=True)
values = st.dictionaries(names, st.one_of(texts, st.integers(-1000, 1000), st.booleans(), st.none()), max_size=3)
images = st.sampled_from(
    [
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}},
        {"type": "image_url", "image_url": {"url": "https://x.example/a.jpg"}},
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,JVBERi0="}},
    ]
)
parts = st.one_of(texts.map(lambda text: {"type": "text", "text": text}), images)
contents = st.one_of(texts, st.lists(parts, min_size=2, max_size=4))
signed = st.one_of(
    st.builds(lambda text: {"type": "reasoning.text", "text": text, "signature": "s", "provider": "anthropic"}, texts),
    st.just({"type": "reasoning.encrypted", "data": "xx", "provider": "anthropic"}),
)


@st.composite
def rounds(draw: Any) -> list[JSON]:
    """A question, what the assistant thought, said and called, and the results."""
    message: JSON = {"role": "assistant", "content": draw(texts)}
    details = draw(st.lists(signed, max_size=2))
    if details:
        said = "".join(detail.get("text", "") for detail in details)
        message |= {"reasoning_content": said} if said else {}
        message["reasoning_details"] = details
    talk = [{"role": "user", "content": draw(contents)}, message]
    count = draw(st.integers(0, 3))
    if count:
        ids = draw(st.lists(names, min_size=count, max_size=count, unique=True))
        message["tool_calls"] = [
            {
                "id": call_id,
                "type": "function",
                "function": {"name": draw(names), "arguments": orjson.dumps(draw(values)).decode()},
            }
            for call_id in ids
        ]
        talk += [{"role": "tool", "tool_call_id": call_id, "content": draw(contents)} for call_id in ids]
    return talk


@st.composite
def requests(draw: Any) -> JSON:
    messages = [message for one in draw(st.lists(rounds(), min_size=1, max_size=3)) for message in one]
    req: JSON = {
        "model": "m",
        "max_tokens": draw(st.integers(1, 9000)),
        "messages": [
            {"role": "system", "content": draw(texts)},
            *messages,
            {"role": "user", "content": draw(texts)},
        ],
    }
    if draw(st.booleans()):
        function = {"name": draw(names), "parameters": {"type": "object", "properties": {}}, "description": draw(texts)}
        req["tools"] = [{"type": "function", "function": function}]
        req["tool_choice"] = draw(st.sampled_from(["auto", "required", "none"]))
    req |= draw(st.fixed_dictionaries({}, optional={"temperature": st.floats(0, 1), "top_k": st.integers(1, 50)}))
    req |= draw(st.fixed_dictionaries({}, optional={"user": names, "stop": st.lists(texts, min_size=1, max_size=3)}))
    return req


@settings(max_examples=150, deadline=None)
@given(requests())
def test_a_request_there_and_back(req: JSON) -> None:
    written = write_request(req, "m", default_max_tokens=1)
    assert written.dropped == []
    back = read_request(written.body)
    assert _merged(back) == _merged(req)


def _merged(req: JSON) -> JSON:
    """The request with a user's message merged into the results' before it, where the dialect has only one message."""
    messages: list[JSON] = []
    for message in req["messages"]:
        last = messages[-1] if messages else None
        if last is not None and last["role"] == message["role"] == "user":
            last["content"] = _parts(last["content"]) + _parts(message["content"])
        else:
            messages.append(dict(message))
    for message in messages:
        if message["role"] != "assistant":
            message["content"] = _parts(message["content"])
    return {**req, "messages": messages}


def _parts(content: Any) -> list[JSON]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


@settings(max_examples=150, deadline=None)
@given(rounds(), st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))
def test_an_answer_there_and_back_whole_and_streamed(talk: list[JSON], finish: str) -> None:
    message = talk[1]
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "total_tokens": 14,
        "prompt_tokens_details": {"cached_tokens": 3},
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": finish}
    answer = {
        "id": "msg_1",
        "object": "chat.completion",
        "created": 5,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }
    back = read_answer(write_answer(answer, "x"), 5)
    back.pop("anthropic", None)
    assert back == answer
    writer = EventWriter("msg_1")
    raw = b"".join(writer.event(Delta(b"", chunk)) for chunk in _chunks(answer)) + writer.end()
    streamed = assembled(read(AnthropicReader("m", 5, "c"), raw))["choices"][0]
    assert streamed["message"]["content"] == message["content"]
    assert streamed["message"].get("tool_calls") == message.get("tool_calls")
    assert streamed["message"].get("reasoning_content") == message.get("reasoning_content")
    assert streamed["finish_reason"] == finish


def _chunks(answer: JSON) -> list[JSON]:
    """The answer as a stream of one chunk for each thing that it says."""
    [choice] = answer["choices"]
    message = choice["message"]
    head = {name: answer[name] for name in ("id", "created", "model")}
    deltas: list[JSON] = [{"role": "assistant", "content": ""}]
    for detail in message.get("reasoning_details", ()):
        said = {"reasoning_content": detail["text"]} if detail.get("text") else {}
        deltas.append({**said, "reasoning_details": [detail]})
    deltas.append({"content": message["content"]})
    for index, call in enumerate(message.get("tool_calls", ())):
        first = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
        deltas.append({"tool_calls": [first]})
        deltas.append({"tool_calls": [{"index": index, "function": {"arguments": call["function"]["arguments"]}}]})
    chunks = [{**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]} for delta in deltas]
    chunks.append({**head, "choices": [{"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}]})
    return [*chunks, {**head, "choices": [], "usage": answer["usage"]}]
