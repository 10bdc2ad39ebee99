"""A chat request as Mistral takes it. Source: the OpenAPI document of api.mistral.ai, ChatCompletionRequest."""

from __future__ import annotations

from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.mistral.tool_ids import with_short_ids
from instance.chute.dialects.openai_like.draft import Draft

MESSAGE_FIELDS = frozenset(("role", "content", "tool_calls", "tool_call_id", "name", "prefix"))
ABSENT = (
    "logit_bias",
    "logprobs",
    "top_logprobs",
    "user",
    "store",
    "service_tier",
    "modalities",
    "audio",
    "verbosity",
    "safety_identifier",
    "prompt_cache_key",
    "prompt_cache_retention",
    "web_search_options",
    "functions",
    "function_call",
)


def fit(draft: Draft, *, safe_prompt: bool = False, prefix_continuation: bool = True) -> None:
    """Change the request to Mistral's names; what it has nothing like is dropped."""
    draft.rename("seed", "random_seed")
    draft.rename("max_completion_tokens", "max_tokens")
    if draft.get("tool_choice") == "required":
        draft.set("tool_choice", "any")
    draft.remove("stream_options")
    draft.drop(*ABSENT)
    if safe_prompt and "safe_prompt" not in draft.req:
        draft.set("safe_prompt", True)
    lost: set[str] = set()
    draft.each_message(lambda message: _message(message, lost))
    draft.dropped += sorted(lost)
    last: JSON = draft.req["messages"][-1]
    if prefix_continuation and last.get("role") == "assistant" and not last.get("tool_calls") and "prefix" not in last:
        draft.set("messages", [*draft.req["messages"][:-1], {**last, "prefix": True}])


def fit_embeddings(draft: Draft) -> None:
    """The same for embeddings."""
    draft.rename("dimensions", "output_dimension")
    draft.drop("user")


def _message(message: JSON, lost: set[str]) -> JSON:
    message = with_short_ids(message)
    if message.get("role") == "developer":
        message = {**message, "role": "system"}
    if "name" in message and message.get("role") != "tool":
        message = {name: value for name, value in message.items() if name != "name"}
        lost.add("messages[].name")
    content = message.get("content")
    if isinstance(content, list) and any(part.get("type") in ("input_audio", "file") for part in content):
        message = {**message, "content": [_part(part) for part in content]}
    return message


def _part(part: JSON) -> JSON:
    """Audio is the bare base64 there, and a file is a document at a (data) URL."""
    if part.get("type") == "input_audio":
        audio: Any = part.get("input_audio")
        return {"type": "input_audio", "input_audio": audio.get("data") if isinstance(audio, dict) else audio}
    if part.get("type") == "file" and isinstance(part.get("file"), dict) and part["file"].get("file_data"):
        document = {"type": "document_url", "document_url": part["file"]["file_data"]}
        if part["file"].get("filename"):
            document["document_name"] = part["file"]["filename"]
        return document
    return part
