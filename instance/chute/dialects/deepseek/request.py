"""A chat request as DeepSeek takes it. Source: api-docs.deepseek.com, Create Chat Completion, and its guides on thinking, JSON
output and prefix completion."""

from __future__ import annotations

from instance.chute.answer import JSON
from instance.chute.dialects.openai_like.draft import Draft
from instance.chute.dialects.openai_like.openai_fields import OPENAI_ONLY
from instance.chute.dialects.openai_like.schema_instruction import ensure_json_word, instruct
from instance.core.errors import StockyardError

ABSENT = (*OPENAI_ONLY, "n", "seed", "logit_bias", "user", "parallel_tool_calls")
NOT_WHILE_THINKING = ("temperature", "top_p", "presence_penalty", "frequency_penalty", "logprobs", "top_logprobs")
NO_EFFORT = ("none", "minimal")


def fit(draft: Draft, *, thinks: bool) -> None:
    """Change the request to what DeepSeek takes. `thinks`: the model reasons, so sampling cannot be steered."""
    draft.rename("max_completion_tokens", "max_tokens")
    effort = draft.remove("reasoning_effort")
    if effort is not None and "thinking" not in draft.req and not thinks:
        draft.set("thinking", {"type": "disabled" if effort in NO_EFFORT else "enabled"})
    draft.drop(*ABSENT)
    if thinks:
        draft.drop(*NOT_WHILE_THINKING)
    instruct(draft)
    wanted = draft.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_object":
        ensure_json_word(draft)
    draft.each_message(_message)
    _text_only(draft.req["messages"])


def needs_beta(req: JSON) -> bool:
    """Whether the request uses what only the beta address has: continuing a prefix, strict tools."""
    if any(message.get("prefix") for message in req["messages"]):
        return True
    return any(
        isinstance(tool, dict) and isinstance(tool.get("function"), dict) and tool["function"].get("strict") is True
        for tool in req.get("tools") or ()
    )


def in_tool_round(messages: list[JSON], message: JSON) -> bool:
    """Whether the message belongs to the round of tools that is not finished: it comes after the last word of the user."""
    for one in reversed(messages):
        if one is message:
            return True
        if one.get("role") == "user":
            return False
    return False


def _text_only(messages: list[JSON]) -> None:
    """Refuse what DeepSeek cannot read: an answer to a question without its image would be about nothing."""
    for index, message in enumerate(messages):
        content = message.get("content")
        for place, part in enumerate(content if isinstance(content, list) else ()):
            if part.get("type") != "text":
                raise StockyardError(
                    "unsupported_parameter",
                    f"DeepSeek reads text only, and a message holds a part of type {part.get('type')!r}.",
                    param=f"messages[{index}].content[{place}]",
                    retryable=False,
                )


def _message(message: JSON) -> JSON:
    content = message.get("content")
    role = "system" if message.get("role") == "developer" else message.get("role")
    if isinstance(content, list) and all(part.get("type") == "text" for part in content):
        content = "\n".join(part.get("text") or "" for part in content)
    if content is message.get("content") and role == message.get("role"):
        return message
    return {**message, "role": role, "content": content}
