"""A whole `/api/chat` answer in canonical form."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import orjson

from instance.chute.answer import JSON

TIMES = ("total_duration", "load_duration", "prompt_eval_duration", "eval_duration")


def new_call_id() -> str:
    return f"call_{uuid4().hex[:24]}"


def read_chat(
    obj: JSON,
    model: str,
    created: int,
    answer_id: str,
    *,
    reasoning: bool = True,
    made: Callable[[], str] = new_call_id,
) -> JSON:
    """The answer as a chat completion. Raises what indexing raises for what is none."""
    said = obj["message"]
    calls = [tool_call(call, made) for call in said.get("tool_calls") or ()]
    message: JSON = {"role": "assistant", "content": said.get("content") or (None if calls else "")}
    thinking = said.get("thinking")
    if thinking and reasoning:
        message["reasoning_content"] = thinking
    if calls:
        message["tool_calls"] = [
            {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call_id, name, arguments in calls
        ]
    answer: JSON = {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": obj.get("model") or model,
        "choices": [
            {
                "index": 0,
                "message": message,
                "finish_reason": finish_reason(obj.get("done_reason"), has_calls=bool(calls)),
                "logprobs": logprobs(obj.get("logprobs")),
            }
        ],
    }
    counts = usage(obj)
    if counts is not None:
        answer["usage"] = counts
    answer["ollama"] = times(obj)
    return answer


def tool_call(call: JSON, made: Callable[[], str]) -> tuple[str, str, str]:
    """(id, name, arguments as JSON text) of a call, with a made id where Ollama gives none."""
    function = call["function"]
    arguments = function.get("arguments")
    text = arguments if isinstance(arguments, str) else orjson.dumps(arguments or {}).decode()
    return call.get("id") or made(), function["name"], text


def finish_reason(reason: Any, *, has_calls: bool) -> str:
    if reason == "length":
        return "length"
    return "tool_calls" if has_calls else "stop"


def usage(obj: JSON) -> JSON | None:
    """The counts of the last line; `None` where the prompt was not counted (older servers leave that out for a cached one)."""
    read, written = obj.get("prompt_eval_count"), obj.get("eval_count")
    if type(read) is not int or type(written) is not int:
        return None
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}


def times(obj: JSON) -> JSON:
    """Ollama's own times in nanoseconds, for the top level's `ollama`."""
    return {name: obj[name] for name in TIMES if name in obj}


def logprobs(given: Any) -> JSON | None:
    if not isinstance(given, list) or not given:
        return None
    return {
        "content": [
            {**_logprob(one), "top_logprobs": [_logprob(top) for top in one.get("top_logprobs") or ()]} for one in given
        ],
        "refusal": None,
    }


def _logprob(one: JSON) -> JSON:
    token = one.get("token") or ""
    return {"token": token, "logprob": one.get("logprob") or 0.0, "bytes": one.get("bytes") or list(token.encode())}
