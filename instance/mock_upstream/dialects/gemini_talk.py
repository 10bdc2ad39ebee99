"""Talks in Google's form: what may be said, and what was asked."""

from __future__ import annotations

import base64
from typing import Any

import orjson

from instance.mock_upstream.checking import refused
from instance.mock_upstream.conversation import Asked, described

SIGNING_FAMILY = "gemini-3"
"""Models of this family want their thought signatures back with function calls."""

UNCHECKED_SIGNATURE = "skip_thought_signature_validator"
"""What Google takes in place of a signature for a call that another model made."""

_FREE_FORM = frozenset(
    (
        "args",
        "response",
        "properties",
        "responseJsonSchema",
        "parametersJsonSchema",
        "labels",
        "partMetadata",
        "default",
    )
)


def camel_cased(node: Any) -> Any:
    """Google's JSON takes the names of fields in snake case as well."""
    if isinstance(node, list):
        return [camel_cased(item) for item in node]
    if not isinstance(node, dict):
        return node
    made: dict[str, Any] = {}
    for name, value in node.items():
        head, *rest = name.split("_") if not name.startswith("_") else (name,)
        spelled = head + "".join(part[:1].upper() + part[1:] for part in rest)
        made[spelled] = value if spelled in _FREE_FORM and spelled != "properties" else camel_cased(value)
        if spelled == "properties" and isinstance(value, dict):
            made[spelled] = {key: camel_cased(inner) for key, inner in value.items()}
    return made


def signature_of(number: int) -> str:
    """The thought signature that goes with the function call of this number."""
    return base64.b64encode(f"mock thought signature {number}".encode()).decode()


def check_contents(body: dict[str, Any], model: str) -> None:
    """Raises Refused for what Google's schema cannot say."""
    calls: list[str] = []
    names: list[str] = []
    last_user = max((i for i, one in enumerate(body["contents"]) if _is_said(one)), default=-1)
    for place, content in enumerate(body["contents"]):
        role = content.get("role", "user")
        results = [part["functionResponse"]["name"] for part in content["parts"] if "functionResponse" in part]
        if role != "model" and len(results) != len(calls):
            raise refused(
                400,
                "Please ensure that the number of function response parts is equal to the number of function call "
                "parts of the function call turn.",
            )
        if sorted(results) != sorted(calls):
            raise refused(400, f"contents[{place}]: function responses {results} do not answer the calls {calls}.")
        made = [part for part in content["parts"] if "functionCall" in part]
        if made and role != "model":
            raise refused(400, "Please ensure that function call turn comes from the model role.")
        if made and place == 0:
            raise refused(400, "Please ensure that function call turn comes immediately after a user turn.")
        calls = [part["functionCall"]["name"] for part in made]
        names += calls
        if made and model.startswith(SIGNING_FAMILY) and place > last_user and not made[0].get("thoughtSignature"):
            raise refused(400, f"Function call is missing a thought_signature in functionCall parts: {calls[0]}.")
        for part in content["parts"]:
            signature = part.get("thoughtSignature")
            if signature and signature != UNCHECKED_SIGNATURE and not _is_ours(signature):
                raise refused(400, "Thought signature is not valid.")
    if calls:
        raise refused(400, "Please ensure that every function call is followed by its function response.")
    _check_config(body)


def _is_ours(signature: str) -> bool:
    try:
        return base64.b64decode(signature).startswith(b"mock thought signature")
    except ValueError:
        return False


def _is_said(content: dict[str, Any]) -> bool:
    return content.get("role", "user") == "user" and any("functionResponse" not in part for part in content["parts"])


def _check_config(body: dict[str, Any]) -> None:
    config = body.get("generationConfig") or {}
    wants_schema = "responseSchema" in config or "responseJsonSchema" in config
    if wants_schema and config.get("responseMimeType") not in ("application/json", "text/x.enum"):
        raise refused(400, "response_schema is only supported with response_mime_type application/json or text/x.enum")
    if "responseSchema" in config and "responseJsonSchema" in config:
        raise refused(400, "Only one of response_schema and response_json_schema can be set.")
    if config.get("logprobs") is not None and not config.get("responseLogprobs"):
        raise refused(400, "logprobs is only supported with response_logprobs.")
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    if calling.get("allowedFunctionNames") and calling.get("mode") not in ("ANY", "VALIDATED"):
        raise refused(400, "allowed_function_names should only be set when function calling mode is ANY.")
    for place, tool in enumerate(body.get("tools") or []):
        for number, function in enumerate(tool.get("functionDeclarations") or []):
            where = f"tools[{place}].function_declarations[{number}].parameters"
            if "parameters" in function:
                _check_schema(function["parameters"], where)
    if "responseSchema" in config:
        _check_schema(config["responseSchema"], "generation_config.response_schema")


def _check_schema(schema: dict[str, Any], where: str) -> None:
    kind = str(schema.get("type", "")).upper()
    if not kind and "anyOf" not in schema:
        raise refused(400, f"* GenerateContentRequest.{where}.type: must be specified")
    if kind == "ARRAY" and "items" not in schema:
        raise refused(400, f"* GenerateContentRequest.{where}.items: missing field.")
    if schema.get("enum") and kind != "STRING":
        raise refused(400, f"* GenerateContentRequest.{where}.enum: only allowed for STRING type")
    for name in schema.get("required") or ():
        if name not in (schema.get("properties") or {}):
            raise refused(400, f"* GenerateContentRequest.{where}.required: property is not defined: {name}")
    for name, inner in (schema.get("properties") or {}).items():
        _check_schema(inner, f"{where}.properties[{name}]")
    for inner in [schema["items"]] if "items" in schema else []:
        _check_schema(inner, f"{where}.items")
    for inner in schema.get("anyOf") or ():
        _check_schema(inner, f"{where}.any_of")


def read_gemini(body: dict[str, Any], model: str, stream: bool) -> Asked:
    """A request in Google's form."""
    asked = Asked(model=model, stream=stream)
    for part in (body.get("systemInstruction") or {}).get("parts", ()):
        asked.words += len(part.get("text", "").split())
    for content in body.get("contents") or ():
        _hear(asked, content)
    for tool in body.get("tools") or ():
        for function in tool.get("functionDeclarations") or ():
            schema = function.get("parametersJsonSchema") or function.get("parameters")
            asked.tools[function["name"]] = schema or {"type": "object"}
    calling = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    mode = calling.get("mode", "AUTO")
    allowed = calling.get("allowedFunctionNames")
    if mode == "ANY":
        asked.choice = "any"
        if allowed:
            asked.tools = {name: schema for name, schema in asked.tools.items() if name in allowed}
            asked.choice = allowed[0] if len(allowed) == 1 else "any"
    elif mode == "NONE":
        asked.choice = "none"
    config = body.get("generationConfig") or {}
    if config.get("responseMimeType") == "application/json":
        asked.schema = config.get("responseJsonSchema") or config.get("responseSchema") or {}
    asked.think = bool((config.get("thinkingConfig") or {}).get("includeThoughts"))
    return asked


def _hear(asked: Asked, content: dict[str, Any]) -> None:
    role = content.get("role", "user")
    results = [part["functionResponse"] for part in content["parts"] if "functionResponse" in part]
    asked.new_turn("tool" if results else role)
    for result in results:
        response = result["response"]
        only = next(iter(response.values())) if len(response) == 1 else response
        asked.results.append(only if isinstance(only, str) else orjson.dumps(only).decode())
    for part in content["parts"]:
        if "functionCall" in part:
            asked.earlier_calls += 1
        elif "inlineData" in part:
            asked.media.append(described(part["inlineData"]["mimeType"], part["inlineData"]["data"]))
        elif "fileData" in part:
            asked.media.append(described("file", url=part["fileData"]["fileUri"]))
        elif "text" in part and role == "user":
            asked.hear(part["text"])
        elif "text" in part:
            asked.words += len(part["text"].split())
