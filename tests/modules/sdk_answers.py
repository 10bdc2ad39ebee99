"""What the official SDK got, whole or streamed, in one form."""

from typing import Any

from tests.modules.conftest import Running

TOOLS: list[Any] = [
    {
        "type": "function",
        "function": {
            "name": name,
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
    for name in ("weather", "tides")
]
PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)


def pictured(url: str) -> list[Any]:
    """A message with an image."""
    return [
        {"role": "user", "content": [{"type": "text", "text": "see"}, {"type": "image_url", "image_url": {"url": url}}]}
    ]


async def spoken(s: Running, streamed: bool, **req: Any) -> dict[str, Any]:
    """The message with its finish reason and usage, of a whole answer or put together from a stream."""
    if not streamed:
        answer = await s.sdk().chat.completions.create(**req)
        choice = answer.choices[0]
        made: dict[str, Any] = choice.message.model_dump(exclude_none=True)
        usage = answer.usage.model_dump(exclude_none=True) if answer.usage else None
        return {"content": "", "tool_calls": [], **made, "finish_reason": choice.finish_reason, "usage": usage}
    said: dict[str, Any] = {"content": "", "tool_calls": [], "finish_reason": None, "usage": None}
    async for chunk in await s.sdk().chat.completions.create(
        **req, stream=True, stream_options={"include_usage": True}
    ):
        if chunk.usage is not None:
            said["usage"] = chunk.usage.model_dump(exclude_none=True)
        for choice_now in chunk.choices:
            _add(said, choice_now)
    return said


def _add(said: dict[str, Any], choice: Any) -> None:
    assert said["finish_reason"] is None, "nothing follows the finish"
    delta = choice.delta.model_dump(exclude_none=True)
    for piece in delta.pop("tool_calls", ()):
        if piece["index"] == len(said["tool_calls"]):
            function = {"name": piece["function"]["name"], "arguments": ""}
            said["tool_calls"].append({"id": piece["id"], "type": "function", "function": function})
        said["tool_calls"][piece["index"]]["function"]["arguments"] += piece["function"].get("arguments") or ""
    for name, value in delta.items():
        if name == "role":
            said[name] = value
        elif isinstance(value, (str, list)):
            said[name] = said.get(name, type(value)()) + value
        else:
            said[name] = value
    said["finish_reason"] = choice.finish_reason
