"""Canonical messages as Converse wants them: the system apart, user and assistant in turn, results after their calls."""

from __future__ import annotations

import re
from hashlib import sha256
from typing import Any, NamedTuple

from instance.chute.answer import JSON
from instance.chute.dialects.anthropic.conversation import BEFORE_THE_FIRST, call_input, whole_details
from instance.chute.dialects.bedrock.blocks import BlockWriter, cache_point

_TOOL_ID = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class Conversation(NamedTuple):
    """`tools`: the names of the tools that the history called. `thinks`: see the Messages API's."""

    system: list[JSON]
    messages: list[JSON]
    tools: list[str]
    thinks: bool


def wire_tool_id(call_id: Any) -> str:
    """The id as it is, or one made from it where it has characters, or a length, that are refused here."""
    text = call_id if isinstance(call_id, str) else str(call_id or "")
    if _TOOL_ID.fullmatch(text):
        return text
    return "tooluse_" + sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def conversation(messages: list[JSON], writer: BlockWriter, thinkers: frozenset[str]) -> Conversation:
    """The whole talk. `thinkers` are the providers whose signed thinking the model takes back."""
    system: list[JSON] = []
    turns: list[JSON] = []
    tools: dict[str, None] = {}
    for index, message in enumerate(messages):
        role = message.get("role")
        param = f"messages[{index}]"
        if role in ("system", "developer"):
            blocks = writer.blocks(message.get("content"), f"{param}.content")
            kept = [block for block in blocks if "text" in block or "cachePoint" in block or "guardContent" in block]
            if len(kept) < len(blocks):
                # A system prompt is text alone.
                writer.dropped.append(f"{param}.content")
            system += _marked(kept, message)
        elif role == "assistant":
            blocks = thinking_blocks(message.get("reasoning_details"), thinkers)
            blocks += writer.blocks(message.get("content"), f"{param}.content")
            for call in message.get("tool_calls") or ():
                name = (call.get("function") or {}).get("name") or ""
                tools[name] = None
                use = {"toolUseId": wire_tool_id(call.get("id")), "name": name, "input": call_input(call)}
                blocks.append({"toolUse": use})
            _add(turns, "assistant", _marked(blocks, message))
        elif role in ("tool", "function"):
            _add(turns, "user", _marked([_result(message, writer, param)], message))
        else:
            _add(turns, "user", _marked(writer.blocks(message.get("content"), f"{param}.content"), message))
    for turn in turns:
        if turn["role"] == "user":
            turn["content"].sort(key=lambda block: "toolResult" not in block)
            if _holds(turn, "document") and not _holds(turn, "text"):
                # A document alone is refused.
                turn["content"].append({"text": "(See the document.)"})
    thinks = _thinks(turns)
    if not turns and system:
        turns.append({"role": "user", "content": [block for block in system if "cachePoint" not in block]})
        system = []
    elif turns and turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [{"text": BEFORE_THE_FIRST}]})
    return Conversation(system, turns, list(tools), thinks)


def _holds(turn: JSON, kind: str) -> bool:
    return any(kind in block for block in turn["content"])


def _add(turns: list[JSON], role: str, blocks: list[JSON]) -> None:
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _marked(blocks: list[JSON], message: JSON) -> list[JSON]:
    if blocks and message.get("cache_control") is not None:
        return [*blocks, cache_point(message["cache_control"])]
    return blocks


def _result(message: JSON, writer: BlockWriter, param: str) -> JSON:
    content = message.get("content")
    blocks = [{"text": content}] if isinstance(content, str) and content else []
    if not isinstance(content, str):
        blocks = [block for block in writer.blocks(content, f"{param}.content") if "cachePoint" not in block]
    result: JSON = {"toolUseId": wire_tool_id(message.get("tool_call_id")), "content": blocks or [{"text": "(empty)"}]}
    own = message.get("anthropic")
    if isinstance(own, dict) and own.get("is_error"):
        result["status"] = "error"
    return {"toolResult": result}


def thinking_blocks(details: Any, thinkers: frozenset[str]) -> list[JSON]:
    """Signed thinking as blocks, also from the pieces of a stream; what has no signature is left out."""
    blocks: list[JSON] = []
    for detail in whole_details(details):
        if detail.get("provider") not in thinkers:
            continue
        if detail["type"] == "reasoning.encrypted":
            blocks.append({"reasoningContent": {"redactedContent": detail["data"]}})
        else:
            said = {"text": detail["text"], "signature": detail["signature"]}
            blocks.append({"reasoningContent": {"reasoningText": said}})
    return blocks


def _thinks(turns: list[JSON]) -> bool:
    """Whether the newest run of calls, when its results are what comes last, begins with thinking."""
    if not turns or turns[-1]["role"] != "user" or "toolResult" not in turns[-1]["content"][0]:
        return True
    before = [turn for turn in turns[:-1] if turn["role"] == "assistant"]
    return not before or "reasoningContent" in before[-1]["content"][0]
