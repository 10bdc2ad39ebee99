"""Choices of a text completion: made of chat's, with their legacy lists of log probabilities."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON

_FINISH = {"tool_calls": "stop", "function_call": "stop"}


def message_of(prompt: str) -> JSON:
    return {"role": "user", "content": prompt}


def completion_id(chat_id: Any) -> str:
    """`cmpl-…` for a chat answer's id."""
    text = str(chat_id or "")
    return text if text.startswith("cmpl") else f"cmpl-{text.removeprefix('chatcmpl-')}"


def finish_reason(reason: Any) -> Any:
    return _FINISH.get(reason, reason) if isinstance(reason, str) else reason


def completion_choice(choice: JSON) -> JSON:
    """A choice of a whole chat answer as one of a text completion; a refusal is its text where nothing else was said."""
    message = choice.get("message") or {}
    content = message.get("content")
    if isinstance(content, list):
        content = "".join(str(part.get("text") or "") for part in content if isinstance(part, dict))
    return {
        "text": content or message.get("refusal") or "",
        "index": choice.get("index", 0),
        "logprobs": legacy_logprobs(choice.get("logprobs"), 0),
        "finish_reason": finish_reason(choice.get("finish_reason")) or "stop",
    }


def legacy_logprobs(logprobs: Any, offset: int) -> JSON | None:
    """Chat's log probabilities as four parallel lists; `offset` is where the first token stands in the text, in characters."""
    content = logprobs.get("content") if isinstance(logprobs, dict) else None
    if not isinstance(content, list):
        return None
    made: JSON = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
    for token in content:
        made["tokens"].append(token.get("token"))
        made["token_logprobs"].append(token.get("logprob"))
        made["top_logprobs"].append({top["token"]: top["logprob"] for top in token.get("top_logprobs") or ()})
        made["text_offset"].append(offset)
        offset += len(token.get("token") or "")
    return made


def with_texts(answer: JSON, obj: JSON) -> JSON:
    """A text completion with the texts of its changed chat form; offsets and probabilities of a changed text are gone."""
    texts = {choice.get("index", 0): choice["message"].get("content") or "" for choice in obj.get("choices") or ()}
    choices = []
    for choice in answer["choices"]:
        text = texts.get(choice.get("index", 0), "")
        choices.append(choice if text == choice["text"] else {**choice, "text": text, "logprobs": None})
    return {**answer, "choices": choices}
