"""A canonical chat request as the body of `generateContent`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from instance.chute.answer import JSON
from instance.chute.dialects.chat_form import check_form, tool_choice
from instance.chute.dialects.data_url import Media
from instance.chute.dialects.gemini.contents import Contents
from instance.chute.dialects.gemini.generation import takes_level
from instance.chute.dialects.gemini.schema import SchemaTooLarge, gemini_schema
from instance.chute.dialects.request_fields import RequestFields, provider_object
from instance.core.errors import StockyardError

BUDGETS = {"none": 0, "minimal": 1024, "low": 1024, "medium": 8192, "high": 24576, "xhigh": 24576}
"""Thinking tokens for each effort, with the models that take a budget (2.5)."""
LEVELS = {"none": "minimal", "minimal": "minimal", "low": "low", "medium": "medium", "high": "high", "xhigh": "high"}
"""Thinking levels, with the models that take a level (3 and later)."""
PRO_LEVELS = {**LEVELS, "none": "low", "minimal": "low"}
"""The same for Pro models, which always think."""
FIRST_PRO = "gemini-3-pro"
"""It knows only the levels low and high."""
OWN_FIELDS: dict[str, tuple[str, ...]] = {
    "safetySettings": ("safetySettings", "safety_settings"),
    "cachedContent": ("cachedContent", "cached_content"),
    "labels": ("labels",),
}
OWN_CONFIG: dict[str, tuple[str, ...]] = {
    "topK": ("top_k", "topK"),
    "thinkingConfig": ("thinkingConfig", "thinking_config"),
    "mediaResolution": ("mediaResolution", "media_resolution"),
    "speechConfig": ("speechConfig", "speech_config"),
    "imageConfig": ("imageConfig", "image_config"),
}


class Written(NamedTuple):
    """The body, the fields without a counterpart, and how many characters of base64 are in it."""

    body: JSON
    dropped: list[str]
    inline_bytes: int


def write_chat(
    req: JSON,
    model: str,
    *,
    fetched: Mapping[str, Media] | None = None,
    safety: Mapping[str, str] | None = None,
    thoughts: bool = True,
) -> Written:
    """The request for `models/<model>:generateContent`. `fetched` has the media of remote addresses, `safety` the threshold of
    each category, `thoughts` whether the thinking is asked for as text. Raises `StockyardError` 400."""
    check_form(req)
    fields = RequestFields(req)
    levels = takes_level(model)
    contents = Contents(req["messages"], fetched or {}, signed=levels)
    body: JSON = {"contents": contents.contents}
    if contents.system and not contents.contents:  # a chat of instructions only: somebody has to ask
        body["contents"] = [{"role": "user", "parts": contents.system}]
    elif contents.system:
        body["systemInstruction"] = {"parts": contents.system}
    _tools(fields, body)
    config = _sampling(fields)
    _output_form(fields, config)
    _thinking(fields, config, model, thoughts)
    for name, names in OWN_CONFIG.items():
        value = fields.take(*names)
        if value is not None:
            config[name] = value
    for name, names in OWN_FIELDS.items():
        value = fields.take(*names)
        if value is not None:
            body[name] = value
    if safety and "safetySettings" not in body:
        body["safetySettings"] = [{"category": name, "threshold": level} for name, level in safety.items()]
    if config:
        body["generationConfig"] = config
    _merge(body, provider_object(fields, "google", "gemini"))
    return Written(body, fields.dropped, contents.inline_bytes)


def _sampling(fields: RequestFields) -> JSON:
    config: JSON = {}
    for name, names in (
        ("temperature", ("temperature",)),
        ("topP", ("top_p",)),
        ("maxOutputTokens", ("max_completion_tokens", "max_tokens")),
        ("candidateCount", ("n",)),
        ("seed", ("seed",)),
        ("presencePenalty", ("presence_penalty",)),
        ("frequencyPenalty", ("frequency_penalty",)),
    ):
        value = fields.take(*names)
        if value is not None and not (name == "candidateCount" and value == 1):
            config[name] = value
    stop = fields.take("stop")
    if stop:
        config["stopSequences"] = [stop] if isinstance(stop, str) else stop
    if fields.take("logprobs"):
        config["responseLogprobs"] = True
        top = fields.take("top_logprobs")
        if top:
            config["logprobs"] = top
    return config


def _output_form(fields: RequestFields, config: JSON) -> None:
    form = fields.take("response_format")
    if isinstance(form, dict):
        kind = form.get("type")
        if kind in ("json_object", "json_schema"):
            config["responseMimeType"] = "application/json"
        holder = form.get("json_schema")
        if kind == "json_schema" and isinstance(holder, dict) and isinstance(holder.get("schema"), dict):
            config["responseSchema"] = _schema(holder["schema"], "response_format.json_schema.schema")
    modalities = fields.take("modalities")
    if isinstance(modalities, list) and modalities != ["text"]:
        config["responseModalities"] = [str(name).upper() for name in modalities]
    audio = fields.take("audio")
    if isinstance(audio, dict) and isinstance(audio.get("voice"), str):
        config["speechConfig"] = {"voiceConfig": {"prebuiltVoiceConfig": {"voiceName": audio["voice"]}}}


def _thinking(fields: RequestFields, config: JSON, model: str, thoughts: bool) -> None:
    effort = fields.take("reasoning_effort")
    if effort is None:
        return
    if effort not in BUDGETS:
        raise StockyardError(
            "bad_request", f"`reasoning_effort` is one of {', '.join(BUDGETS)}.", param="reasoning_effort"
        )
    thinking: JSON = {"includeThoughts": thoughts and effort != "none"}
    pro = "pro" in model
    if takes_level(model):
        level = (PRO_LEVELS if pro else LEVELS)[effort]
        thinking["thinkingLevel"] = "high" if level == "medium" and FIRST_PRO in model else level
    else:
        # A 2.5 Pro cannot be told not to think; its smallest budget is 128.
        thinking["thinkingBudget"] = 128 if pro and effort == "none" else BUDGETS[effort]
    config["thinkingConfig"] = thinking


def _tools(fields: RequestFields, body: JSON) -> None:
    functions = [
        (tool["function"], f"tools[{number}].function.parameters")
        for number, tool in enumerate(fields.take("tools") or ())
    ]
    functions += [
        (function, f"functions[{number}].parameters") for number, function in enumerate(fields.take("functions") or ())
    ]
    choice = tool_choice(fields.take("tool_choice", "function_call"))
    calling: JSON = {}
    if choice.mode == "none":
        calling = {"mode": "NONE"}
    elif choice.mode == "required":
        calling = {"mode": "ANY"} | ({"allowedFunctionNames": list(choice.names)} if choice.names is not None else {})
    else:  # names can only be given with ANY: what may be called is what is declared
        functions = [entry for entry in functions if choice.allows(entry[0]["name"])]
    declared = [_declaration(function, param) for function, param in functions]
    if declared:
        body["tools"] = [{"functionDeclarations": declared}]
        if calling:
            body["toolConfig"] = {"functionCallingConfig": calling}
    if fields.take("web_search_options") is not None:
        body.setdefault("tools", []).append({"googleSearch": {}})


def _declaration(function: JSON, param: str) -> JSON:
    declared: JSON = {"name": function["name"]}
    if function.get("description"):
        declared["description"] = function["description"]
    parameters = function.get("parameters")
    if isinstance(parameters, dict):
        schema = _schema(parameters, param)
        # An object without properties is refused: a function without parameters is declared without them.
        if schema.get("properties") or schema.get("type") not in (None, "OBJECT") or schema.get("anyOf"):
            declared["parameters"] = schema
    return declared


def _schema(schema: JSON, param: str) -> JSON:
    try:
        return gemini_schema(schema)
    except SchemaTooLarge as error:
        raise StockyardError("bad_request", f"The provider cannot take this: {error}.", param=param) from None


def _merge(body: JSON, own: JSON) -> None:
    """Put the provider's own parameters over what was translated: objects are joined, tools are added."""
    for given, value in own.items():
        name = _camel(given)
        present = body.get(name)
        if name in ("thinkingConfig", "topK", "mediaResolution", "speechConfig", "imageConfig", "responseModalities"):
            body.setdefault("generationConfig", {})[name] = _camelled(value)
        elif isinstance(present, dict) and isinstance(value, dict):
            present.update(_camelled(value))
        elif name == "tools" and isinstance(present, list) and isinstance(value, list):
            present += _camelled(value)
        else:
            body[name] = _camelled(value) if name != "labels" else value


def _camelled(value: Any) -> Any:
    """Keys as the API writes them; what users write inside schemas and labels keeps its own."""
    if isinstance(value, list):
        return [_camelled(item) for item in value]
    if not isinstance(value, dict):
        return value
    return {
        _camel(name): inner if "chema" in name or name in ("labels", "parameters") else _camelled(inner)
        for name, inner in value.items()
    }


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word[:1].upper() + word[1:] for word in rest) if head else name
