"""OpenAI's images: made, edited, varied; whole and as a stream of partial pictures. Every picture is one pixel."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from instance.mock_upstream.checking import refused
from instance.mock_upstream.conversation import CREATED
from instance.mock_upstream.dialect import Dialect
from instance.mock_upstream.dialects import openai_schemas as schemas
from instance.mock_upstream.exchange import SSE, Event, Request, Response, json_response, sse
from instance.mock_upstream.media import PNG, PNG_BASE64

EDITED_IMAGES_MAX = 16


def serve(dialect: Dialect) -> None:
    dialect.serve("POST", "/images/generations", _generate, schemas.IMAGES)
    dialect.serve("POST", "/images/edits", _edit, schemas.IMAGE_EDITS, form=True)
    dialect.serve("POST", "/images/variations", _vary, schemas.IMAGE_VARIATIONS, form=True)
    dialect.serve("GET", r"/files/image-[0-9]+\.png", lambda request: Response(PNG, content_type="image/png"))


def _generate(request: Request) -> Response:
    return _pictures(request, request.body["prompt"], "image_generation")


def _edit(request: Request) -> Response:
    shown = [str(file) for file in request.files.get("image", [])]
    if not shown or len(shown) > EDITED_IMAGES_MAX:
        raise refused(400, "Missing required parameter: 'image'.", param="image", code="missing_required_parameter")
    shown += [f"mask {file}" for file in request.files.get("mask", [])]
    said = " ".join([request.body["prompt"], *(f"[{one}]" for one in shown)])
    return _pictures(request, said, "image_edit")


def _vary(request: Request) -> Response:
    shown = [str(file) for file in request.files.get("image", [])]
    if not shown:
        raise refused(400, "Missing required parameter: 'image'.", param="image", code="missing_required_parameter")
    return _pictures(request, f"[{shown[0]}]", "image_variation")


def _pictures(request: Request, prompt: str, event: str) -> Response:
    body = request.body
    headers = {"x-request-id": f"req_mock_{request.number}"}
    modern = str(body.get("model") or "").startswith(("gpt-image", "chatgpt-image"))
    if modern and body.get("response_format"):
        raise refused(400, "Unknown parameter: 'response_format'.", param="response_format", code="unknown_parameter")
    if body.get("stream") in (True, "true"):
        return Response(headers=headers, content_type=SSE, events=_events(request, event))
    as_data = modern or body.get("response_format") == "b64_json"
    data: list[dict[str, Any]] = []
    for index in range(int(body.get("n") or 1)):
        one: dict[str, Any] = {"revised_prompt": f"echo: {prompt}"}
        if as_data:
            one["b64_json"] = PNG_BASE64
        else:
            one["url"] = f"{request.root}/v1/files/image-{request.number}{index}.png"
        data.append(one)
    made: dict[str, Any] = {"created": CREATED, "data": data}
    if modern:
        made |= {"size": body.get("size") or "1024x1024", "quality": body.get("quality") or "low"}
        made |= {"output_format": body.get("output_format") or "png", "background": "opaque", "usage": _usage(request)}
    return json_response(made | request.reply.more, headers=headers)


def _usage(request: Request) -> dict[str, Any]:
    if request.reply.usage is not None:
        return request.reply.usage
    words = len(str(request.body.get("prompt") or "").split())
    return {
        "input_tokens": words,
        "output_tokens": 272,
        "total_tokens": words + 272,
        "input_tokens_details": {"text_tokens": words, "image_tokens": 0},
    }


def _events(request: Request, kind: str) -> Iterator[Event]:
    shape = {
        "created_at": CREATED,
        "size": request.body.get("size") or "1024x1024",
        "quality": request.body.get("quality") or "low",
        "background": "opaque",
        "output_format": request.body.get("output_format") or "png",
    }
    for index in range(int(request.body.get("partial_images") or 0)):
        name = f"{kind}.partial_image"
        part = {"type": name, "b64_json": PNG_BASE64, "partial_image_index": index, **shape}
        yield sse(part, name, piece=True)
    name = f"{kind}.completed"
    yield sse({"type": name, "b64_json": PNG_BASE64, **shape, "usage": _usage(request)}, name, piece=True)
