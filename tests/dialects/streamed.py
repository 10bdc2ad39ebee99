"""Reading a provider's stream in tests: cut anywhere, and put together again as the plain answer would be."""

from collections.abc import Callable
from typing import Any

from instance.chute.answer import DONE
from instance.chute.operation import StreamReader

JSON = dict[str, Any]


def read(reader: StreamReader, *blocks: bytes) -> list[JSON | None]:
    """The chunks of a stream that came in these blocks; `None` for its end."""
    events = [event for block in blocks for event in reader.feed(block)]
    if not reader.done:
        events += reader.close()
    assert all(event.obj is not None or event.raw == DONE or event.raw.startswith(b":") for event in events)
    return [event.obj for event in events]


def same_wherever_cut(make: Callable[[], StreamReader], raw: bytes) -> list[JSON | None]:
    """The chunks of the stream, after checking that a cut at any byte changes nothing."""
    whole = read(make(), raw)
    assert whole[-1] is None, "the stream has no end"
    for cut in range(1, len(raw)):
        assert read(make(), raw[:cut], raw[cut:]) == whole, f"cut at byte {cut}"
    assert read(make(), *(raw[place : place + 1] for place in range(len(raw)))) == whole
    return whole


def assembled(chunks: list[JSON | None]) -> JSON:
    """The chat completion that the chunks say, checked for canonical form on the way."""
    heads = {(chunk["id"], chunk["created"], chunk["model"], chunk["object"]) for chunk in chunks if chunk is not None}
    assert len(heads) == 1, "id, created and model stay the same"
    answer_id, created, model, kind = heads.pop()
    assert kind == "chat.completion.chunk"
    choices: dict[int, JSON] = {}
    usage = None
    for chunk in chunks:
        if chunk is None:
            continue
        if not chunk["choices"]:
            assert usage is None
            usage = chunk["usage"]
            continue
        assert usage is None, "usage comes last"
        for piece in chunk["choices"]:
            _add(choices, piece)
    answer = {"id": answer_id, "object": "chat.completion", "created": created, "model": model}
    answer["choices"] = [choices[index] for index in sorted(choices)]
    if usage is not None:
        answer["usage"] = usage
    return answer


def _add(choices: dict[int, JSON], piece: JSON) -> None:
    delta = dict(piece["delta"])
    choice = choices.get(piece["index"])
    if choice is None:
        assert delta.get("role") == "assistant", "the first delta has the role"
        choice = choices[piece["index"]] = {
            "index": piece["index"],
            "message": {"role": "assistant", "content": None},
            "finish_reason": None,
        }
    else:
        assert "role" not in delta
    assert choice["finish_reason"] is None, "nothing follows the finish"
    message = choice["message"]
    delta.pop("role", None)
    for call in delta.pop("tool_calls", ()):
        calls = message.setdefault("tool_calls", [])
        if call["index"] == len(calls):
            assert call["id"] and call["function"]["name"], "the first piece of a call has id and name"
            calls.append({"id": call["id"], "type": "function", "function": dict(call["function"])})
        else:
            assert set(call) == {"index", "function"}
            calls[call["index"]]["function"]["arguments"] += call["function"]["arguments"]
    for name, value in delta.items():
        if isinstance(value, str):
            message[name] = (message.get(name) or "") + value
        elif isinstance(value, list):
            message[name] = message.get(name, []) + value
        elif value is not None:
            message[name] = value
    choice["finish_reason"] = piece["finish_reason"]
