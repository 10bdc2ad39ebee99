"""Canonical messages as the Messages API wants them: the system apart, user and assistant in turn, results after their calls."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.anthropic.blocks import Dropped, blocks_of, text_block
from instance.chute.dialects.anthropic.tool_ids import wire_tool_id

DIALECT = "anthropic"
LateSystem = Literal["top", "user"]
BEFORE_THE_FIRST = "(The conversation begins with your message.)"
"""Said by the user where the talk begins with the assistant, which the API refuses."""


class Conversation(NamedTuple):
    """`system` and `messages` of the request. `thinks`: the calls whose results are still to be answered came with thinking,
    or there are none; without it the API refuses to think on."""

    system: list[JSON]
    messages: list[JSON]
    thinks: bool


def conversation(messages: list[JSON], late_system: LateSystem, dropped: Dropped) -> Conversation:
    """The whole talk. Adjacent messages of one role are one; tool results come first in the message after their call."""
    system: list[JSON] = []
    turns: list[JSON] = []
    for index, message in enumerate(messages):
        role = message.get("role")
        param = f"messages[{index}]"
        if role in ("system", "developer"):
            blocks = _texts(blocks_of(message.get("content"), f"{param}.content", dropped), f"{param}.content", dropped)
            blocks = _marked(blocks, message)
            if turns and late_system == "user":
                _add(turns, "user", blocks)
            else:
                system += blocks
        elif role == "assistant":
            _add(turns, "assistant", assistant_blocks(message, param, dropped))
        elif role in ("tool", "function"):
            _add(turns, "user", [_result(message, param, dropped)])
        else:
            _add(turns, "user", _marked(blocks_of(message.get("content"), f"{param}.content", dropped), message))
    for turn in turns:
        if turn["role"] == "user":
            turn["content"].sort(key=lambda block: block.get("type") != "tool_result")
    thinks = _thinks(turns)
    if not turns and system:
        # Without any message there would be nothing to answer.
        turns.append({"role": "user", "content": system})
        system = []
    elif turns and turns[0]["role"] == "assistant":
        turns.insert(0, {"role": "user", "content": [text_block(BEFORE_THE_FIRST)]})
    return Conversation(system, turns, thinks)


def _texts(blocks: list[JSON], param: str, dropped: Dropped) -> list[JSON]:
    """A system prompt is text alone."""
    if any(block["type"] != "text" for block in blocks):
        dropped.append(param)
    return [block for block in blocks if block["type"] == "text"]


def _add(turns: list[JSON], role: str, blocks: list[JSON]) -> None:
    if not blocks:
        return
    if turns and turns[-1]["role"] == role:
        turns[-1]["content"] += blocks
    else:
        turns.append({"role": role, "content": blocks})


def _marked(blocks: list[JSON], message: JSON) -> list[JSON]:
    """The mark for the cache that stands on the message itself, put on its last block."""
    mark = message.get("cache_control")
    if mark is not None and blocks:
        blocks[-1].setdefault("cache_control", mark)
    return blocks


def _result(message: JSON, param: str, dropped: Dropped) -> JSON:
    content = message.get("content")
    result: JSON = {"type": "tool_result", "tool_use_id": wire_tool_id(message.get("tool_call_id"))}
    if isinstance(content, str):
        if content:
            result["content"] = content
    else:
        blocks = blocks_of(content, f"{param}.content", dropped)
        if blocks:
            result["content"] = blocks
    own = message.get(DIALECT)
    if isinstance(own, dict):
        result.update(own)
    if message.get("cache_control") is not None:
        result["cache_control"] = message["cache_control"]
    return result


def assistant_blocks(message: JSON, param: str, dropped: Dropped) -> list[JSON]:
    """The blocks of an assistant message: thinking with its signatures first, then text, then calls. Blocks that came from
    this dialect in another order, or that have no canonical form, go back as they came while text and calls are unchanged."""
    kept = kept_blocks(message)
    if kept is not None:
        return kept
    blocks = thinking_blocks(message.get("reasoning_details"))
    texts = blocks_of(message.get("content"), f"{param}.content", dropped)
    if not texts and isinstance(message.get("refusal"), str) and message["refusal"]:
        texts = [text_block(message["refusal"])]
    blocks += texts
    for call in message.get("tool_calls") or ():
        blocks.append(_tool_use(call))
    return _marked(blocks, message) if texts else blocks


def kept_blocks(message: JSON) -> list[JSON] | None:
    """The blocks that the message was read from, where they were kept and its text and calls are still the same."""
    own = message.get(DIALECT)
    blocks = own.get("content") if isinstance(own, dict) else None
    if not isinstance(blocks, list):
        return None
    text = "".join(block.get("text", "") for block in blocks if block.get("type") == "text")
    calls = [(block.get("id"), block.get("input")) for block in blocks if block.get("type") == "tool_use"]
    content = message.get("content")
    said = content if isinstance(content, str) else "".join(p.get("text", "") for p in content or ())
    named = [(call.get("id"), call_input(call)) for call in message.get("tool_calls") or ()]
    return [dict(block) for block in blocks] if text == said and calls == named else None


def thinking_blocks(details: Any) -> list[JSON]:
    """The thinking blocks that canonical details of reasoning stand for. Another provider's are left out, and text without its
    signature: both would be refused."""
    blocks: list[JSON] = []
    for detail in whole_details(details):
        if detail.get("provider", DIALECT) != DIALECT:
            continue
        if detail["type"] == "reasoning.encrypted":
            blocks.append({"type": "redacted_thinking", "data": detail["data"]})
        else:
            blocks.append({"type": "thinking", "thinking": detail["text"], "signature": detail["signature"]})
    return blocks


def whole_details(details: Any) -> list[JSON]:
    """Details that can be sent back: encrypted ones, and texts with their signature, put together again when a client gives
    the pieces of a stream as they came (those of one thought have one `index`, or end with the signature)."""
    found: list[JSON] = []
    thoughts: dict[Any, JSON] = {}
    for detail in details if isinstance(details, list) else ():
        if not isinstance(detail, dict):
            continue
        if detail.get("type") == "reasoning.encrypted" and detail.get("data"):
            found.append(detail)
        elif detail.get("type") == "reasoning.text":
            number = detail.get("index")
            thought = thoughts.get(number)
            if thought is None or (number is None and thought["signature"]):
                thought = thoughts[number] = {"type": "reasoning.text", "text": "", "signature": ""}
                found.append(thought)
            thought["text"] += detail.get("text") or ""
            thought["signature"] = detail.get("signature") or thought["signature"]
            if detail.get("provider"):
                thought["provider"] = detail["provider"]
    return [detail for detail in found if detail.get("signature") or detail.get("data")]


def call_input(call: JSON) -> Any:
    """A call's arguments as the object that they are; text that is none stands in one under `arguments`."""
    arguments = (call.get("function") or {}).get("arguments")
    if isinstance(arguments, dict):
        return arguments
    if not arguments:
        return {}
    try:
        read = orjson.loads(arguments)
    except orjson.JSONDecodeError:
        read = None
    return read if isinstance(read, dict) else {"arguments": arguments}


def _tool_use(call: JSON) -> JSON:
    name = (call.get("function") or {}).get("name") or ""
    block: JSON = {"type": "tool_use", "id": wire_tool_id(call.get("id")), "name": name, "input": call_input(call)}
    own = call.get(DIALECT)
    if isinstance(own, dict):
        block.update(own)
    if call.get("cache_control") is not None:
        block["cache_control"] = call["cache_control"]
    return block


def _thinks(turns: list[JSON]) -> bool:
    """Whether the newest run of calls, when its results are what comes last, begins with thinking."""
    if not turns or turns[-1]["role"] != "user":
        return True
    if not any(block.get("type") == "tool_result" for block in turns[-1]["content"]):
        return True
    for turn in reversed(turns[:-1]):
        if turn["role"] == "assistant":
            return bool(turn["content"][0]["type"] in ("thinking", "redacted_thinking"))
    return True
