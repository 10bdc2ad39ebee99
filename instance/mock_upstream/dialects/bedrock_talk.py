"""Talks in Converse's form: what may be said, and what was asked."""

from __future__ import annotations

from typing import Any

import orjson

from instance.mock_upstream.checking import refused
from instance.mock_upstream.conversation import Asked, described
from instance.mock_upstream.dialects.anthropic_talk import signature_of


def check_conversation(body: dict[str, Any]) -> None:
    """Raises Refused for what the service's model cannot say."""
    expected = "user"
    open_calls: set[str] = set()
    uses_tools = False
    for place, message in enumerate(body["messages"]):
        if message["role"] != expected:
            if place == 0:
                raise refused(400, "A conversation must start with a user message. Try again with a conversation that "
                                   "starts with a user message.")  # fmt: skip
            raise refused(400, "A conversation must alternate between user and assistant roles. Make sure the "
                               "conversation alternates between user and assistant roles and try again.")  # fmt: skip
        expected = "assistant" if expected == "user" else "user"
        results = {block["toolResult"]["toolUseId"] for block in message["content"] if "toolResult" in block}
        calls = {block["toolUse"]["toolUseId"] for block in message["content"] if "toolUse" in block}
        uses_tools = uses_tools or bool(results or calls)
        if open_calls - results:
            raise refused(400, f"Expected toolResult blocks at messages.{place}.content for the following Ids: "
                               f"{', '.join(sorted(open_calls - results))}")  # fmt: skip
        if results - open_calls:
            raise refused(400, f"The number of toolResult blocks at messages.{place}.content exceeds the number of "
                               "toolUse blocks of previous turn.")  # fmt: skip
        open_calls = calls
        _check_blocks(message, place)
    if open_calls:
        raise refused(400, "Expected toolResult blocks after the last toolUse blocks.")
    if uses_tools and "toolConfig" not in body:
        raise refused(400, "The toolConfig field must be defined when using toolUse and toolResult content blocks.")
    for tool in (body.get("toolConfig") or {}).get("tools", ()):
        if "toolSpec" in tool and tool["toolSpec"]["inputSchema"]["json"].get("type") != "object":
            name = tool["toolSpec"]["name"]
            raise refused(
                400, f"The value at toolConfig.tools.toolSpec.inputSchema.json.type of {name} must be object."
            )


def _check_blocks(message: dict[str, Any], place: int) -> None:
    has_text = any("text" in block for block in message["content"])
    for number, block in enumerate(message["content"]):
        where = f"messages.{place}.content.{number}"
        if "text" in block and not block["text"].strip():
            raise refused(400, f"The text field in the ContentBlock object at {where} is blank. Add text to the text "
                               "field, and try again.")  # fmt: skip
        if "document" in block and not has_text:
            raise refused(400, f"A text block must be included beside the document at {where}.")
        mine = {"user": ("toolUse", "reasoningContent"), "assistant": ("toolResult", "image", "document", "video")}
        for name in mine[message["role"]]:
            if name in block:
                raise refused(400, f"The {name} block at {where} is not allowed in a {message['role']} message.")
        thought = block.get("reasoningContent", {}).get("reasoningText")
        if thought and thought.get("signature") != signature_of(thought["text"]):
            raise refused(400, f"The signature of the reasoning at {where} is missing or not valid.")


def read_converse(body: dict[str, Any], model: str, stream: bool) -> Asked:
    """A request in Converse's form."""
    asked = Asked(model=model, stream=stream)
    for block in body.get("system") or ():
        asked.words += len(block.get("text", "").split())
    for message in body["messages"]:
        role, blocks = message["role"], message["content"]
        results = [block["toolResult"] for block in blocks if "toolResult" in block]
        only_results = len(results) == sum("cachePoint" not in block for block in blocks)
        asked.new_turn("tool" if results and only_results else role)
        asked.results += [_result(result) for result in results]
        for block in blocks:
            asked.earlier_calls += "toolUse" in block
            if "text" in block and role == "user":
                asked.hear(block["text"])
            elif "text" in block:
                asked.words += len(block["text"].split())
            elif "image" in block or "document" in block:
                asked.media.append(_shown(block))
    config = body.get("toolConfig") or {}
    for tool in config.get("tools") or ():
        if "toolSpec" in tool:
            asked.tools[tool["toolSpec"]["name"]] = tool["toolSpec"]["inputSchema"]["json"]
    choice = config.get("toolChoice") or {}
    asked.choice = choice["tool"]["name"] if "tool" in choice else "any" if "any" in choice else "auto"
    wanted = (body.get("outputConfig") or {}).get("textFormat")
    if wanted:
        asked.schema = orjson.loads(wanted["structure"]["jsonSchema"]["schema"])
    extra = body.get("additionalModelRequestFields") or {}
    thinking = extra.get("thinking") or extra.get("reasoning_config") or {}
    asked.think = isinstance(thinking, dict) and thinking.get("type") == "enabled"
    return asked


def _result(result: dict[str, Any]) -> str:
    said = []
    for part in result["content"]:
        if "text" in part:
            said.append(part["text"])
        elif "json" in part:
            only = next(iter(part["json"].values())) if len(part["json"]) == 1 else part["json"]
            said.append(only if isinstance(only, str) else orjson.dumps(only).decode())
        else:
            said.append(_shown(part))
    return " ".join(said)


def _shown(block: dict[str, Any]) -> str:
    kind = "image" if "image" in block else "document"
    part = block.get(kind)
    if part is None:
        return next(iter(block))
    source = part["source"]
    name = f"image/{part['format']}" if kind == "image" else f"application/{part.get('format', 'txt')}"
    if "bytes" in source:
        return described(name, source["bytes"])
    return described(name, url=source.get("s3Location", {}).get("uri", "text"))
