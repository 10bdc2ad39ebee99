"""Whatever modules hold back, change and give back of a native stream: each text is the same wherever it is repeated."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from instance.chute.answer import Delta
from instance.chute.dialects.openai_responses.native_rewriter import NativeRewriter
from instance.chute.dialects.openai_responses.native_stream import NativeReader
from tests.dialects.openai_responses.streams import JSON, events_of, native_events, sse


class Holder:
    """Stands for a module that may hold any text back for a while: `moves` says at each text whether it lets go."""

    def __init__(self, moves: list[bool], upper: bool) -> None:
        self._moves = iter(moves)
        self._upper = upper
        self._held: dict[str, str] = {}
        self.sent: dict[str, str] = {}

    def on_delta(self, delta: Delta) -> None:
        assert delta.obj is not None
        choice = delta.obj["choices"][0]
        for place, holder, name in self._texts(choice["delta"]):
            text = self._held.pop(place, "") + (holder[name].upper() if self._upper else holder[name])
            if not next(self._moves, True):
                self._held[place] = text
                text = ""
            holder[name] = text
            self.sent[place] = self.sent.get(place, "") + text
        if choice["finish_reason"] is not None:
            for place, text in self._held.items():
                self.sent[place] = self.sent.get(place, "") + text
                if place.startswith("call"):
                    calls = choice["delta"].setdefault("tool_calls", [])
                    calls.append({"index": 0, "function": {"arguments": text}})
                else:
                    choice["delta"][place] = text

    @staticmethod
    def _texts(chat: JSON) -> list[tuple[str, JSON, str]]:
        found: list[tuple[str, JSON, str]] = [
            (name, chat, name) for name in ("content", "reasoning_content") if name in chat
        ]
        for call in chat.get("tool_calls", ()):
            found.append((f"call {call['index']}", call["function"], "arguments"))
        return found


@settings(max_examples=300, deadline=None)
@given(moves=st.lists(st.booleans(), max_size=12), upper=st.booleans())
def test_what_is_repeated_says_what_was_sent(moves: list[bool], upper: bool) -> None:
    module = Holder(moves, upper)
    rewriter = NativeRewriter()
    out = b""
    for delta in NativeReader(lambda _: None).feed(sse(*native_events())):
        if delta.obj is not None and delta.obj["choices"]:
            module.on_delta(delta)
            out += rewriter.take(delta)
    out += rewriter.end()
    events = events_of(out)
    last = events[-1]["response"]["output"]
    said: dict[str, Any] = {
        "content": ("response.output_text", last[1]["content"][0]["text"]),
        "reasoning_content": ("response.reasoning_summary_text", last[0]["summary"][0]["text"]),
        "call 0": ("response.function_call_arguments", last[2]["arguments"]),
    }
    for place, (kind, whole) in said.items():
        deltas = [event["delta"] for event in events if event["type"] == f"{kind}.delta"]
        (done,) = [event for event in events if event["type"] == f"{kind}.done"]
        assert "".join(deltas) == module.sent[place] == whole == done.get("text", done.get("arguments"))
        assert not any(event["type"] == f"{kind}.delta" for event in events[events.index(done) :])
    items = {event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"}
    assert [items[index] for index in range(3)] == last
