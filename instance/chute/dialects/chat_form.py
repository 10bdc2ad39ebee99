"""What a translation relies on in a chat request, checked once: whoever writes it in another dialect need not ask again."""

from __future__ import annotations

from typing import Any, NamedTuple

from instance.chute.answer import JSON
from instance.core.errors import StockyardError

OBJECTS = ("response_format", "web_search_options", "audio")
TEXTS = ("reasoning_effort",)


def check_form(req: JSON) -> None:
    """Refuse, with the `param`, a request whose parts are not of OpenAI's types; what is absent or null is left out of it.

    Holds afterwards: texts are strings, `image_url`, `file` and `input_audio` are what their parts say, tool calls and tools are
    functions with a name, `stop` is a string or a list of strings. Raises `StockyardError` 400.
    """
    for place, message in enumerate(req["messages"]):
        _message(message, f"messages[{place}]")
    for number, tool in enumerate(_list(req.get("tools"), "tools")):
        param = f"tools[{number}]"
        _require(isinstance(tool, dict), param, "a tool is an object with `function`")
        _function(tool.get("function"), param)
    for number, function in enumerate(_list(req.get("functions"), "functions")):
        _function(function, f"functions[{number}]")
    stop = req.get("stop")
    _require(
        stop is None or isinstance(stop, str) or (isinstance(stop, list) and all(isinstance(one, str) for one in stop)),
        "stop",
        "a string or a list of strings",
    )
    for name in OBJECTS:
        _require(req.get(name) is None or isinstance(req[name], dict), name, "an object")
    for name in TEXTS:
        _require(req.get(name) is None or isinstance(req[name], str), name, "a string")
    _choice(req.get("tool_choice"), "tool_choice")
    _choice(req.get("function_call"), "function_call")


class ToolChoice(NamedTuple):
    """Which tools may be called: `mode` is `auto`, `none` or `required`; `names` are those that are allowed, `None` all."""

    mode: str
    names: tuple[str, ...] | None = None

    def allows(self, name: str) -> bool:
        return self.names is None or name in self.names


def tool_choice(choice: Any) -> ToolChoice:
    """A checked `tool_choice` in one form; an unknown word counts as `auto`."""
    if isinstance(choice, dict):
        allowed = choice.get("allowed_tools")
        if choice.get("type") != "allowed_tools" or allowed is None:
            return ToolChoice("required", ((choice.get("function") or choice)["name"],))
        functions = [tool.get("function") for tool in allowed["tools"] if isinstance(tool, dict)]
        names = tuple(str(one["name"]) for one in functions if isinstance(one, dict) and "name" in one)
        return ToolChoice("required" if allowed.get("mode") == "required" else "auto", names)
    return ToolChoice({"none": "none", "required": "required", "any": "required"}.get(choice or "", "auto"))


def _message(message: JSON, param: str) -> None:
    content = message.get("content")
    for number, part in enumerate(content if isinstance(content, list) else ()):
        _part(part, f"{param}.content[{number}]")
    for name in ("name", "tool_call_id", "reasoning_content"):
        _require(message.get(name) is None or isinstance(message[name], str), f"{param}.{name}", "a string")
    for number, call in enumerate(_list(message.get("tool_calls"), f"{param}.tool_calls")):
        place = f"{param}.tool_calls[{number}]"
        _require(isinstance(call, dict), place, "a tool call has `function: {name, arguments}`")
        _require(call.get("id") is None or isinstance(call["id"], str), f"{place}.id", "a string")
        _called(call.get("function"), place)
    if message.get("function_call") is not None:
        _called(message["function_call"], f"{param}.function_call")


def _part(part: JSON, param: str) -> None:
    kind = part.get("type")
    _require(isinstance(kind, str), f"{param}.type", "a string")
    if kind in ("text", "refusal"):
        _require(part.get(kind) is None or isinstance(part[kind], str), param, f"a part of this type has a `{kind}`")
    elif kind == "image_url":
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, dict) else image
        _require(isinstance(url, str), param, "an image part has `image_url: {url}`")
    elif kind in ("input_audio", "file"):
        _require(isinstance(part.get(kind), dict), param, f"a part of this type has an object `{kind}`")


def _called(function: Any, param: str) -> None:
    named = isinstance(function, dict) and isinstance(function.get("name"), str) and bool(function["name"])
    _require(named, param, "a tool call has `function: {name, arguments}`")
    arguments = function.get("arguments")
    _require(arguments is None or isinstance(arguments, (str, dict)), f"{param}.function.arguments", "JSON as a string")


def _function(function: Any, param: str) -> None:
    named = isinstance(function, dict) and isinstance(function.get("name"), str) and bool(function["name"])
    _require(named, param, "a tool is a function with a name")
    _require(
        function.get("parameters") is None or isinstance(function["parameters"], dict),
        f"{param}.function.parameters",
        "a JSON Schema",
    )
    _require(
        function.get("description") is None or isinstance(function["description"], str),
        f"{param}.function.description",
        "a string",
    )


def _choice(choice: Any, param: str) -> None:
    if choice is None or isinstance(choice, str):
        return
    _require(isinstance(choice, dict), param, "a string or an object that names a function")
    if choice.get("type") == "allowed_tools":
        allowed = choice.get("allowed_tools")
        _require(
            isinstance(allowed, dict) and isinstance(allowed.get("tools"), list), param, "`allowed_tools` has `tools`"
        )
        return
    function = choice.get("function") or choice
    _require(
        isinstance(function, dict) and isinstance(function.get("name"), str), param, "an object that names a function"
    )


def _list(value: Any, param: str) -> list[Any]:
    _require(value is None or isinstance(value, list), param, "a list")
    return value or []


def _require(holds: bool, param: str, words: str) -> None:
    if not holds:
        raise StockyardError("bad_request", f"`{param}`: {words}.", param=param, retryable=False)
