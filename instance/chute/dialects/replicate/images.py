"""A canonical image request as the input of a prediction, and its output as images."""

from __future__ import annotations

from math import gcd, log
from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.replicate.chat import take_own_inputs
from instance.chute.dialects.replicate.input_schema import InputSchema
from instance.chute.dialects.request_fields import RequestFields
from instance.core.errors import StockyardError

COUNTS = ("num_outputs", "number_of_images", "num_images", "n")
FORMATS = {"jpeg": ("jpg", "jpeg"), "png": ("png",), "webp": ("webp",)}


def write_images(req: JSON, schema: InputSchema) -> tuple[JSON, int, list[str]]:
    """The prediction's `input`, how many predictions it takes, and the fields without a counterpart. Raises 400."""
    fields = RequestFields(req)
    prompt = fields.take("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise StockyardError("bad_request", "`prompt` is the text of the image.", param="prompt")
    if "prompt" not in schema:
        raise StockyardError("unsupported_parameter", "This model takes no prompt.", param="prompt", retryable=False)
    made: JSON = {"prompt": prompt}
    fields.take("response_format")
    size = fields.take("size")
    if size is not None and size != "auto" and not _size(str(size), made, schema):
        fields.drop("size")
    wanted = fields.take("n") or 1
    count = schema.first(*COUNTS)
    times = wanted
    if count and wanted > 1:
        made[count] = schema.fitted(count, wanted)
        times = -(-wanted // max(1, made[count]))
    form = fields.take("output_format")
    if isinstance(form, str) and "output_format" in schema:
        choices = schema.choices("output_format")
        fitting = [name for name in FORMATS.get(form, (form,)) if not choices or name in choices]
        if fitting:
            made["output_format"] = fitting[0]
        else:
            fields.drop("output_format")
    elif form is not None:
        fields.drop("output_format")
    take_own_inputs(fields, made, schema)
    return made, times, fields.dropped


def _size(size: str, made: JSON, schema: InputSchema) -> bool:
    """Say the size as the model takes it: in pixels, else as the nearest of its aspect ratios."""
    width, _, height = size.partition("x")
    if not (width.isdigit() and height.isdigit() and int(width) and int(height)):
        raise StockyardError("bad_request", "`size` is like 1024x768.", param="size")
    wide, high = int(width), int(height)
    if "width" in schema and "height" in schema:
        made["width"], made["height"] = schema.fitted("width", wide), schema.fitted("height", high)
        if "custom" in (schema.choices("aspect_ratio") if "aspect_ratio" in schema else ()):
            made["aspect_ratio"] = "custom"
        return True
    if "size" in schema and (size in schema.choices("size") or not schema.choices("size")):
        made["size"] = size
        return True
    if "aspect_ratio" not in schema:
        return False
    ratios = [choice for choice in schema.choices("aspect_ratio") if _ratio(choice)]
    divisor = gcd(wide, high)
    exact = f"{wide // divisor}:{high // divisor}"
    made["aspect_ratio"] = (
        min(ratios, key=lambda choice: abs(log(_ratio(choice)) - log(wide / high))) if ratios else exact
    )
    return True


def _ratio(choice: Any) -> float:
    wide, _, high = str(choice).partition(":")
    return int(wide) / int(high) if wide.isdigit() and high.isdigit() and int(high) else 0.0


def image_urls(output: Any) -> list[str]:
    """The addresses of the images in a prediction's output. Raises `ValueError` when there are none."""
    if isinstance(output, dict):
        output = output.get("images") or output.get("image") or output.get("output") or output.get("url")
    found = [output] if isinstance(output, str) else output
    if not isinstance(found, list) or not found:
        raise ValueError("the prediction has no images")
    given = [entry.get("url") if isinstance(entry, dict) else entry for entry in found]
    urls = [url for url in given if isinstance(url, str)]
    if len(urls) < len(given):
        raise ValueError("the prediction's output is no list of addresses")
    return urls
