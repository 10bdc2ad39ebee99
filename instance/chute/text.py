"""The texts of a request and of an answer: reading them, and rewriting them where they stand.

Texts are message contents (a string, or the text parts of a list), refusals, reasoning, tool call arguments and tool
results, the `prompt` of completions and images, the `input` of embeddings, moderations and speech, the query and documents of
a rerank, and what a transcription says. Images, audio, files, tool schemas and ids are never read or touched. Shapes that no dialect knows are passed over, never an error.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from instance.chute.answer import JSON

Rewrite = Callable[[str, str], str]
"""`(text, place) -> text`, with the place as a path: `messages[2].content`."""

SEPARATOR = "\n\0\n"
"""Between the texts of a request or an answer that are scanned together: no `\\s`, `\\w` or `.` run goes over it, and `(?m)^` and `$` hold at its edges."""
INPUTS = ("prompt", "input", "suffix", "instructions", "query", "documents")
_MESSAGE_TEXTS = ("content", "refusal", "reasoning_content", "reasoning", "reasoning_details")


def request_texts(req: JSON) -> list[str]:
    """Every text of a request, in order; empty ones are left out."""
    texts: list[str] = []
    messages = req.get("messages")
    if type(messages) is list:
        for message in messages:
            if type(message) is not dict:
                continue
            content = message.get("content")
            if type(content) is str:
                if content:
                    texts.append(content)
            elif content:
                _collect_parts(content, texts)
            if len(message) > 2:
                _collect_rest(message, texts)
    for name in INPUTS:
        if name in req:
            _collect_parts([req[name]] if type(req[name]) is str else req[name], texts)
    return texts


def answer_texts(obj: JSON) -> list[str]:
    """Every text of a whole answer, in order; empty ones are left out."""
    texts: list[str] = []
    choices = obj.get("choices")
    if type(choices) is list:
        for choice in choices:
            if type(choice) is not dict:
                continue
            message = choice.get("message")
            if type(message) is dict:
                content = message.get("content")
                if type(content) is str:
                    if content:
                        texts.append(content)
                elif content:
                    _collect_parts(content, texts)
                if len(message) > 2:
                    _collect_rest(message, texts)
            text = choice.get("text")
            if type(text) is str and text:
                texts.append(text)
    elif "text" in obj:
        _collect_parts([obj], texts)
        _collect_parts(obj.get("segments"), texts)
    return texts


def answer_text(obj: JSON) -> str:
    """The texts of a whole answer in one, as they are scanned; empty without any."""
    choices = obj.get("choices")
    if type(choices) is list and len(choices) == 1:
        choice = choices[0]
        message = choice.get("message") if type(choice) is dict and "text" not in choice else None
        if type(message) is dict and len(message) <= 2:  # as nearly every answer is: a role and some content
            content = message.get("content")
            if type(content) is str:
                return content
    texts = answer_texts(obj)
    return texts[0] if len(texts) == 1 else SEPARATOR.join(texts)


def _collect_parts(parts: Any, texts: list[str]) -> None:
    if type(parts) is not list:
        return
    for part in parts:
        if type(part) is str:
            if part:
                texts.append(part)
        elif type(part) is dict:
            for name in ("text", "refusal"):
                text = part.get(name)
                if type(text) is str and text:
                    texts.append(text)
            content = part.get("content")
            if type(content) is str:
                if content:
                    texts.append(content)
            elif type(content) is list:
                _collect_parts([piece for piece in content if type(piece) is not dict or "content" not in piece], texts)


def _collect_rest(message: JSON, texts: list[str]) -> None:
    for name in _MESSAGE_TEXTS[1:]:
        text = message.get(name)
        if type(text) is str:
            if text:
                texts.append(text)
        elif text:
            _collect_parts(text, texts)
    calls = message.get("tool_calls")
    if type(calls) is list:
        for call in calls:
            function = call.get("function") if type(call) is dict else None
            text = function.get("arguments") if type(function) is dict else None
            if type(text) is str and text:
                texts.append(text)
    function = message.get("function_call")
    text = function.get("arguments") if type(function) is dict else None
    if type(text) is str and text:
        texts.append(text)


def rewrite_request(req: JSON, fn: Rewrite) -> JSON:
    """The request with each text passed through `fn`; the same object when nothing changed, else a copy."""
    changed: JSON = {}
    messages = req.get("messages")
    if type(messages) is list:
        changed_messages = _rewrite_list(messages, "messages", fn, rewrite_message)
        if changed_messages is not messages:
            changed["messages"] = changed_messages
    for name in INPUTS:
        if name in req:
            value = _rewrite_content(req[name], name, fn)
            if value is not req[name]:
                changed[name] = value
    return {**req, **changed} if changed else req


def rewrite_answer(obj: JSON, fn: Rewrite) -> JSON:
    """The whole answer with each text passed through `fn`; the same object when nothing changed, else a copy."""
    choices = obj.get("choices")
    if type(choices) is not list:
        return _rewrite_transcript(obj, fn)
    changed = _rewrite_list(choices, "choices", fn, _rewrite_choice)
    return obj if changed is choices else {**obj, "choices": changed}


def _rewrite_transcript(obj: JSON, fn: Rewrite) -> JSON:
    new = _rewrite_field(obj, "text", "transcript", fn)
    segments = obj.get("segments")
    if type(segments) is list:
        changed = _rewrite_list(
            segments, "segments", fn, lambda part, place, fn: _rewrite_field(part, "text", place, fn)
        )
        if changed is not segments:
            new = {**new, "segments": changed}
    return new


def rewrite_message(message: JSON, place: str, fn: Rewrite) -> JSON:
    """One message with each of its texts passed through `fn`; the same object when nothing changed."""
    changed: JSON = {}
    for name in _MESSAGE_TEXTS:
        value = message.get(name)
        if value:
            new = _rewrite_content(value, f"{place}.{name}", fn)
            if new is not value:
                changed[name] = new
    calls = message.get("tool_calls")
    if type(calls) is list:
        new_calls = _rewrite_list(calls, f"{place}.tool_calls", fn, _rewrite_call)
        if new_calls is not calls:
            changed["tool_calls"] = new_calls
    function = message.get("function_call")
    if type(function) is dict:
        new_function = _rewrite_field(function, "arguments", f"{place}.function_call", fn)
        if new_function is not function:
            changed["function_call"] = new_function
    return {**message, **changed} if changed else message


def _rewrite_choice(choice: JSON, place: str, fn: Rewrite) -> JSON:
    message = choice.get("message")
    if type(message) is dict:
        new = rewrite_message(message, f"{place}.message", fn)
        if new is not message:
            choice = {**choice, "message": new}
    return _rewrite_field(choice, "text", place, fn)


def _rewrite_call(call: JSON, place: str, fn: Rewrite) -> JSON:
    function = call.get("function")
    if type(function) is not dict:
        return call
    new = _rewrite_field(function, "arguments", f"{place}.function", fn)
    return call if new is function else {**call, "function": new}


def _rewrite_content(content: Any, place: str, fn: Rewrite) -> Any:
    if type(content) is str:
        new = fn(content, place) if content else content
        return content if new == content else new
    if type(content) is list:
        return _rewrite_list(content, place, fn, _rewrite_part)
    return content


def _rewrite_part(part: Any, place: str, fn: Rewrite) -> Any:
    if type(part) is str:
        return _rewrite_content(part, place, fn)
    if type(part) is not dict:
        return part
    for name in ("text", "refusal"):
        part = _rewrite_field(part, name, place, fn)
    content = part.get("content")
    if type(content) is str:
        return _rewrite_field(part, "content", place, fn)
    if type(content) is list:
        new = _rewrite_list(content, f"{place}.content", fn, _rewrite_leaf)
        return part if new is content else {**part, "content": new}
    return part


def _rewrite_leaf(part: Any, place: str, fn: Rewrite) -> Any:
    return part if type(part) is dict and "content" in part else _rewrite_part(part, place, fn)


def _rewrite_field(holder: JSON, name: str, place: str, fn: Rewrite) -> JSON:
    text = holder.get(name)
    if type(text) is not str or not text:
        return holder
    new = fn(text, f"{place}.{name}")
    return holder if new == text else {**holder, name: new}


def _rewrite_list(items: list[Any], place: str, fn: Rewrite, rewrite: Callable[[Any, str, Rewrite], Any]) -> list[Any]:
    out: list[Any] | None = None
    for index, item in enumerate(items):
        if type(item) is not dict and type(item) is not str:
            continue
        if type(item) is str and rewrite is not _rewrite_part and rewrite is not _rewrite_leaf:
            continue
        new = rewrite(item, f"{place}[{index}]", fn)
        if new is not item:
            if out is None:
                out = list(items)
            out[index] = new
    return items if out is None else out
