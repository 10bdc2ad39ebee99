"""A canonical chat request as the input of a prediction. Only what the model publishes as an input is sent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.chat_form import check_form
from instance.chute.dialects.replicate.input_schema import InputSchema
from instance.chute.dialects.replicate.templates import Template, Turn, prompt_of, template_of
from instance.chute.dialects.request_fields import RequestFields, provider_object
from instance.core.errors import StockyardError

INPUTS: dict[str, tuple[str, ...]] = {
    "temperature": ("temperature",),
    "top_p": ("top_p",),
    "top_k": ("top_k",),
    "seed": ("seed",),
    "presence_penalty": ("presence_penalty",),
    "frequency_penalty": ("frequency_penalty",),
    "stop": ("stop_sequences", "stop"),
    "reasoning_effort": ("reasoning_effort",),
}
"""Canonical field -> the names that models have for it."""
MAX_TOKENS = ("max_tokens", "max_new_tokens", "max_completion_tokens", "max_output_tokens", "max_length")
SINGLE_IMAGES = ("image", "image_url", "img")
SEVERAL_IMAGES = ("image_input", "images", "input_images", "image_inputs")


def write_chat(
    req: JSON, model: str, schema: InputSchema, templates: Mapping[str, Template] | None = None
) -> tuple[JSON, list[str]]:
    """The prediction's `input`, and the fields without a counterpart. Raises `StockyardError` 400."""
    check_form(req)
    fields = RequestFields(req)
    if fields.take("tools", "functions"):
        raise StockyardError(
            "unsupported_parameter", "Models at Replicate take no tools.", param="tools", retryable=False
        )
    fields.take("tool_choice", "function_call")
    turns, images = _turns(req["messages"])
    made = _prompt(turns, model, schema, templates or {})
    if images:
        _images(images, made, schema)
    limit = fields.take("max_completion_tokens", "max_tokens")
    if limit is not None:
        name = schema.first(*MAX_TOKENS)
        if name:
            made[name] = schema.fitted(name, limit)
        else:
            fields.drop("max_tokens")
    for field, names in INPUTS.items():
        value = fields.take(field)
        if value is None:
            continue
        name = schema.first(*names)
        if not name:
            fields.drop(field)
        else:
            listed = [value] if field == "stop" and isinstance(value, str) else value
            made[name] = schema.fitted(name, listed)
    take_own_inputs(fields, made, schema)
    return made, fields.dropped


def take_own_inputs(fields: RequestFields, made: JSON, schema: InputSchema) -> None:
    """Add the model's own inputs, given top level or under `replicate` or `input`; unknown ones are dropped."""
    given = fields.take("input")
    own = {**(given if isinstance(given, dict) else {}), **provider_object(fields, "replicate")}
    for name, value in own.items():
        if name in schema:
            made[name] = value
        else:
            fields.drop(name)
    for name in list(fields.req):
        if name in schema and name not in made and fields.req[name] is not None and name not in ("messages", "model"):
            made[name] = fields.take(name)


def _turns(messages: list[JSON]) -> tuple[list[Turn], list[str]]:
    turns: list[Turn] = []
    images: list[str] = []
    for place, message in enumerate(messages):
        role = message["role"]
        if role in ("tool", "function") or message.get("tool_calls"):
            raise StockyardError(
                "unsupported_parameter",
                "Models at Replicate take no tools.",
                param=f"messages[{place}]",
                retryable=False,
            )
        content = message.get("content")
        text = content if isinstance(content, str) else ""
        for number, part in enumerate(content if isinstance(content, list) else ()):
            kind = part.get("type")
            image = part.get("image_url")
            url = image.get("url") if isinstance(image, dict) else image
            if kind in ("text", "refusal"):
                text += part.get(kind) or ""
            elif kind == "image_url" and isinstance(url, str):
                images.append(url)
            else:
                raise StockyardError(
                    "unsupported_parameter",
                    f"Replicate has nothing like this part ({kind!r}).",
                    param=f"messages[{place}].content[{number}]",
                    retryable=False,
                )
        turns.append(Turn("system" if role == "developer" else role, text))
    return turns, images


def _prompt(turns: list[Turn], model: str, schema: InputSchema, templates: Mapping[str, Template]) -> JSON:
    if "messages" in schema and schema.is_list("messages"):
        return {"messages": [{"role": turn.role, "content": turn.text} for turn in turns]}
    made: JSON = {}
    name = schema.first("prompt", "text", "input_text", "question")
    if not name:
        raise StockyardError("unsupported_parameter", "This model takes no prompt.", param="model", retryable=False)
    template = template_of(model, templates)
    system = "\n\n".join(turn.text for turn in turns if turn.role == "system")
    holder = schema.first("system_prompt", "system", "system_instruction")
    if system and holder:
        made[holder] = system
        turns = [turn for turn in turns if turn.role != "system"]
    if len(turns) == 1 and turns[0].role == "user" and (holder or "prompt_template" in schema):
        made[name] = turns[0].text  # the model puts its own template around a lone message
        return made
    made[name] = prompt_of(turns, template if not holder or "prompt_template" in schema else "plain")
    if "prompt_template" in schema:
        made["prompt_template"] = "{prompt}"
    return made


def _images(images: list[str], made: JSON, schema: InputSchema) -> None:
    several = schema.first(*SEVERAL_IMAGES)
    if several:
        made[several] = schema.fitted(several, images)
        return
    single = schema.first(*SINGLE_IMAGES)
    if not single or (len(images) > 1 and not schema.is_list(single)):
        raise StockyardError(
            "unsupported_parameter",
            "This model takes no images." if not single else "This model takes one image only.",
            param="messages",
            retryable=False,
        )
    made[single] = schema.fitted(single, images if len(images) > 1 else images[0])


def text_of(output: Any) -> str:
    """A prediction's output as text: pieces are joined, an object's own text is taken."""
    if output is None:
        return ""
    if isinstance(output, str):
        return output
    if isinstance(output, list):
        return "".join(map(text_of, output))
    if isinstance(output, dict):
        for name in ("text", "output", "content", "response"):
            if isinstance(output.get(name), (str, list)):
                return text_of(output[name])
    return str(output)
