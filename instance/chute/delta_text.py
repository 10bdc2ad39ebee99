"""The texts of a streamed event: reading them, and giving back what was held when an event carries none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from instance.chute.answer import JSON, Delta

DELTA_TEXTS = frozenset(("content", "refusal", "reasoning_content", "reasoning"))


FIRST_CONTENT = "choices[0].content"


def first_choice(delta: Delta) -> tuple[str, bool]:
    """The content that an event has for the first choice, and whether that choice finishes with it."""
    plain = plain_part(delta)
    if plain is not None:
        return plain["content"], False
    obj = delta.obj
    choices = obj.get("choices") if obj is not None else None
    text, finished = "", False
    for choice in choices or ():
        index = choice.get("index", 0)
        if index and isinstance(index, int):
            continue
        if delta.final or choice.get("finish_reason") is not None:
            finished = True
        part = choice.get("delta")
        piece = part.get("content") if part else None
        if piece and isinstance(piece, str):
            text += piece
    return text, finished


def characters_beside(part: JSON) -> int:
    """How much a choice's part of an event holds beside its content: reasoning, a refusal, and what tools are called with."""
    count = 0
    for text in (part.get("reasoning_content") or part.get("reasoning"), part.get("refusal")):
        if type(text) is str:
            count += len(text)
    calls = part.get("tool_calls")
    functions = [call.get("function") for call in calls if type(call) is dict] if type(calls) is list else []
    for function in (*functions, part.get("function_call")):
        if type(function) is dict:
            for text in (function.get("name"), function.get("arguments")):
                if type(text) is str:
                    count += len(text)
    return count


def plain_part(delta: Delta) -> JSON | None:
    """What holds the text of the plainest event: some `content` of the first choice, which goes on, and nothing else; else `None`."""
    obj = delta.obj
    if obj is None or delta.final:
        return None
    try:
        (choice,) = obj["choices"]
        if "text" in choice:
            return None
        part = choice["delta"]
        if (
            len(part) == 1
            and "content" in part
            and choice.get("finish_reason") is None
            and not choice.get("index")
            and type(part["content"]) is str
        ):
            return part  # type: ignore[no-any-return]
    except (KeyError, TypeError, ValueError):  # no choice, several, or one without a part
        pass
    return None


def delta_texts(delta: Delta) -> Iterable[tuple[str, JSON, str, JSON]]:
    """Each text of an event: its place (stable over the stream), the object and field that hold it, and its choice."""
    obj = delta.obj
    choices = obj.get("choices") if obj is not None else None
    if not choices:
        return ()
    if len(choices) == 1:  # as nearly every event is: one choice with some content and nothing else
        choice = choices[0]
        part = choice.get("delta")
        if part is not None and "text" not in choice and choice.get("index", 0) == 0:
            if not part:
                return ()
            if type(part.get("content")) is str and (len(part) == 1 or (len(part) == 2 and "role" in part)):
                return ((FIRST_CONTENT, part, "content", choice),)
    return _all_texts(delta)


def _all_texts(delta: Delta) -> Iterator[tuple[str, JSON, str, JSON]]:
    obj = delta.obj
    for choice in (obj.get("choices") or ()) if obj is not None else ():
        index = choice.get("index", 0)
        part = choice.get("delta")
        if part:
            for name in part:
                if name in DELTA_TEXTS:
                    if type(part[name]) is str:
                        yield f"choices[{index}].{name}", part, name, choice
                elif name == "reasoning_details":
                    yield from _detail_texts(part[name], index, choice)
                elif name == "tool_calls":
                    yield from _call_texts(part[name], index, choice)
                elif name == "function_call" and type(part[name]) is dict and type(part[name].get("arguments")) is str:
                    yield f"choices[{index}].function_call.arguments", part[name], "arguments", choice
        if type(choice.get("text")) is str:
            yield f"choices[{index}].text", choice, "text", choice


def _call_texts(calls: Any, index: int, choice: JSON) -> Iterator[tuple[str, JSON, str, JSON]]:
    for call in calls if type(calls) is list else ():
        function = call.get("function") if type(call) is dict else None
        if type(function) is dict and type(function.get("arguments")) is str:
            yield f"choices[{index}].tool_calls[{call.get('index', 0)}].arguments", function, "arguments", choice


def _detail_texts(details: Any, index: int, choice: JSON) -> Iterator[tuple[str, JSON, str, JSON]]:
    for detail in details if type(details) is list else ():
        if type(detail) is dict and type(detail.get("text")) is str:
            yield f"choices[{index}].reasoning_details[{detail.get('index', 0)}].text", detail, "text", choice


def release(choice: JSON, place: str, text: str) -> None:
    """Put the rest of a text into a choice whose event does not carry that text."""
    name = place.rsplit(".", 1)[1]
    if ".reasoning_details[" in place:
        thought = place.split(".reasoning_details[", 1)[1].split("]", 1)[0]
        detail = {"type": "reasoning.text", "text": text, "index": int(thought) if thought.isdigit() else 0}
        choice.setdefault("delta", {}).setdefault("reasoning_details", []).append(detail)
        return
    if name == "text":
        choice["text"] = text
        return
    part = choice.get("delta")
    if part is None:
        part = choice["delta"] = {}
    if name != "arguments":
        part[name] = text
    elif ".tool_calls[" in place:
        number = int(place.split(".tool_calls[", 1)[1].split("]", 1)[0])
        part.setdefault("tool_calls", []).append({"index": number, "function": {"arguments": text}})
    else:
        part["function_call"] = {"arguments": text}


def last_event(before: Delta | None, finish_reason: str, text: str = "", index: int = 0) -> Delta:
    """A made event that ends a choice, shaped like the ones `before` it: some last text and the reason of the end."""
    obj = {
        name: value for name, value in ((before.obj if before is not None else None) or {}).items() if name != "usage"
    }
    obj["choices"] = [{"index": index, "delta": {"content": text} if text else {}, "finish_reason": finish_reason}]
    made = Delta(b"", obj)
    made.changed = True  # in whatever dialect the stream is, its bytes are still to be written
    return made
