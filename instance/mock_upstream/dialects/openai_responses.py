"""OpenAI's responses: whole, streamed with every event, and kept for `previous_response_id` and `GET`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from instance.mock_upstream.bounded import Bounded
from instance.mock_upstream.checking import refused
from instance.mock_upstream.conversation import CREATED, Asked, Said, answer, described_url
from instance.mock_upstream.dialect import Dialect
from instance.mock_upstream.dialects.openai_responses_schema import RESPONSES
from instance.mock_upstream.exchange import SSE, Event, Request, Response, json_response, sse

KEPT_MAX = 1000
_STATUS_OF_FINISH = {"length": "max_output_tokens", "content_filter": "content_filter"}


def serve(dialect: Dialect) -> None:
    dialect.serve("POST", "/responses", _create, RESPONSES)
    dialect.serve("GET", "/responses/(?P<id>[^/]+)", _read)
    dialect.serve("DELETE", "/responses/(?P<id>[^/]+)", _delete)
    dialect.serve("GET", "/responses/(?P<id>[^/]+)/input_items", _inputs)
    dialect.serve("POST", "/responses/input_tokens", _count)


def _kept(request: Request) -> Bounded[tuple[list[Any], dict[str, Any]]]:
    """Items that went in (the whole talk so far) and the response, by its id."""
    return request.upstream.store("responses", KEPT_MAX)


def _found(request: Request, response_id: str, param: str | None = None) -> tuple[list[Any], dict[str, Any]]:
    found = _kept(request).get(response_id)
    if found is None:
        message = f"{'Previous response' if param else 'Response'} with id '{response_id}' not found."
        raise refused(400 if param else 404, message, param=param, code=f"{param}_not_found" if param else None)
    return found


def _read(request: Request) -> Response:
    return json_response(_found(request, request.parts["id"])[1])


def _delete(request: Request) -> Response:
    _found(request, request.parts["id"])
    _kept(request).pop(request.parts["id"])
    return json_response({"id": request.parts["id"], "object": "response", "deleted": True})


def _inputs(request: Request) -> Response:
    items = _found(request, request.parts["id"])[0]
    data = [{"id": f"item_{place}", **item} for place, item in enumerate(items)][::-1]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return json_response({"object": "list", "data": data, "first_id": first, "last_id": last, "has_more": False})


def _count(request: Request) -> Response:
    asked = read_responses(request.body, [])
    return json_response({"object": "response.input_tokens", "input_tokens": asked.words})


def _create(request: Request) -> Response:
    body = request.body
    history: list[Any] = []
    previous = body.get("previous_response_id")
    if previous:
        items, response = _found(request, previous, "previous_response_id")
        history = [*items, *response["output"]]
    given = body.get("input", [])
    items = [{"type": "message", "role": "user", "content": given}] if isinstance(given, str) else given
    if request.upstream.strict:
        _check_calls([*history, *items])
    asked = read_responses(body, [*history, *items])
    said = answer(asked, request.reply)
    made = _response(body, said, f"resp_mock_{request.number}", f"msg_mock_{request.number}")
    if body.get("store") is not False:
        _kept(request).put(made["id"], ([*history, *items], made))
    headers = {"x-request-id": f"req_mock_{request.number}"}
    if body.get("stream"):
        return Response(headers=headers, content_type=SSE, events=_events(made, said))
    return json_response(made, headers=headers)


def _check_calls(items: list[Any]) -> None:
    known = {item.get("call_id") for item in items if item.get("type") == "function_call"}
    answered = {item.get("call_id") for item in items if item.get("type") == "function_call_output"}
    for name in sorted(map(str, answered - known)):
        raise refused(400, f"No tool call found for function call output with call_id {name}.", param="input")
    for name in sorted(map(str, known - answered)):
        raise refused(400, f"No tool output found for function call {name}.", param="input")


def read_responses(body: dict[str, Any], items: list[Any]) -> Asked:
    """A request in the form of the responses API, over the whole talk."""
    asked = Asked(model=str(body.get("model") or ""), stream=body.get("stream") is True)
    asked.words += len((body.get("instructions") or "").split())
    for item in items:
        kind = item.get("type", "message")
        if kind == "function_call":
            asked.earlier_calls += 1
            asked.results.clear()
        elif kind == "function_call_output":
            asked.results.append(_text(item["output"]))
        elif kind == "message":
            asked.new_turn(item["role"])
            if item["role"] == "user":
                asked.hear(_text(item["content"]))
                _see(asked, item["content"])
            else:
                asked.words += len(_text(item["content"]).split())
    for tool in body.get("tools") or []:
        if tool["type"] == "function":
            asked.tools[tool["name"]] = tool.get("parameters") or {"type": "object"}
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        asked.choice = choice.get("name") or "auto"
    elif choice is not None:
        asked.choice = "any" if choice == "required" else choice
    asked.parallel = body.get("parallel_tool_calls") is not False
    wanted = (body.get("text") or {}).get("format") or {}
    asked.schema = wanted.get("schema", {}) if wanted.get("type") in ("json_schema", "json_object") else None
    return asked


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or "" for part in content)


def _see(asked: Asked, content: Any) -> None:
    for part in content if isinstance(content, list) else ():
        if part["type"] == "input_image":
            asked.media.append(described_url("image", part.get("image_url") or f"file {part.get('file_id')}"))
        elif part["type"] == "input_file":
            asked.media.append(described_url("file", part.get("file_data") or part.get("file_url") or "by id"))


def _usage(said: Said) -> dict[str, Any]:
    usage = said.usage
    return {
        "input_tokens": usage.prompt,
        "input_tokens_details": {"cached_tokens": usage.cached, "cache_write_tokens": usage.cache_creation},
        "output_tokens": usage.completion,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }


def _response(body: dict[str, Any], said: Said, response_id: str, message_id: str) -> dict[str, Any]:
    reason = _STATUS_OF_FINISH.get(said.finish)
    status = "incomplete" if reason else "completed"
    output: list[dict[str, Any]] = []
    if said.reasoning:
        summary = [{"type": "summary_text", "text": said.reasoning}]
        output.append({"id": f"rs_{message_id[4:]}", "type": "reasoning", "summary": summary})
        if "reasoning.encrypted_content" in (body.get("include") or []):
            output[-1]["encrypted_content"] = "bW9jaw=="
    if said.text or not said.tool_calls:
        annotations = [
            {
                "type": "url_citation",
                "url": source.get("url", ""),
                "title": source.get("title", ""),
                "start_index": source.get("start", 0),
                "end_index": source.get("end", 0),
            }
            for source in said.reply.citations
        ]
        part = {"type": "output_text", "text": said.text, "annotations": annotations, "logprobs": []}
        output.append({"id": message_id, "type": "message", "role": "assistant", "status": status, "content": [part]})
    for call in said.tool_calls:
        output.append(
            {
                "id": f"fc_{message_id[4:]}_{call.number}",
                "type": "function_call",
                "call_id": f"call_{call.number}",
                "name": call.name,
                "arguments": call.arguments,
                "status": "completed",
            }
        )
    return {
        "id": response_id,
        "object": "response",
        "created_at": CREATED,
        "status": status,
        "background": bool(body.get("background")),
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "model": body.get("model"),
        "output": output,
        "parallel_tool_calls": body.get("parallel_tool_calls") is not False,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": body.get("reasoning") or {"effort": None, "summary": None},
        "store": body.get("store") is not False,
        "temperature": 1.0 if body.get("temperature") is None else body["temperature"],
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice") or "auto",
        "tools": body.get("tools") or [],
        "top_p": 1.0 if body.get("top_p") is None else body["top_p"],
        "truncation": body.get("truncation") or "disabled",
        "usage": _usage(said),
        "user": body.get("user"),
        "metadata": body.get("metadata") or {},
    } | said.reply.more


def _events(made: dict[str, Any], said: Said) -> Iterator[Event]:
    for number, (event, piece) in enumerate(_told(made, said)):
        yield sse({**event, "sequence_number": number}, event["type"], piece)


def _told(made: dict[str, Any], said: Said) -> Iterator[tuple[dict[str, Any], bool]]:
    begun = {**made, "status": "in_progress", "output": [], "usage": None, "incomplete_details": None}
    yield {"type": "response.created", "response": begun}, False
    yield {"type": "response.in_progress", "response": begun}, False
    for index, item in enumerate(made["output"]):
        place = {"output_index": index}
        empty = {**item, **_EMPTY[item["type"]]}
        if "status" in item:
            empty["status"] = "in_progress"
        yield {"type": "response.output_item.added", **place, "item": empty}, False
        at = {"item_id": item["id"], **place}
        if item["type"] == "message":
            yield from _told_message(item, at, said)
        elif item["type"] == "reasoning":
            yield from _told_reasoning(at, said)
        else:
            yield from _told_call(item, at)
        yield {"type": "response.output_item.done", **place, "item": item}, False
    ended = "response.incomplete" if made["status"] == "incomplete" else "response.completed"
    yield {"type": ended, "response": made}, False


_EMPTY: dict[str, dict[str, Any]] = {
    "message": {"content": []},
    "reasoning": {"summary": []},
    "function_call": {"arguments": ""},
}


def _told_message(item: dict[str, Any], at: dict[str, Any], said: Said) -> Iterator[tuple[dict[str, Any], bool]]:
    part = item["content"][0]
    at = {**at, "content_index": 0}
    begun = {**part, "text": "", "annotations": []}
    yield {"type": "response.content_part.added", **at, "part": begun}, False
    for piece in said.pieces:
        yield {"type": "response.output_text.delta", **at, "delta": piece, "logprobs": []}, True
    for number, annotation in enumerate(part["annotations"]):
        name = "response.output_text.annotation.added"
        yield {"type": name, **at, "annotation_index": number, "annotation": annotation}, False
    yield {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []}, False
    yield {"type": "response.content_part.done", **at, "part": part}, False


def _told_reasoning(at: dict[str, Any], said: Said) -> Iterator[tuple[dict[str, Any], bool]]:
    at = {**at, "summary_index": 0}
    name = "response.reasoning_summary"
    yield {"type": f"{name}_part.added", **at, "part": {"type": "summary_text", "text": ""}}, False
    for piece in said.reasoning_pieces:
        yield {"type": f"{name}_text.delta", **at, "delta": piece}, True
    yield {"type": f"{name}_text.done", **at, "text": said.reasoning}, False
    yield {"type": f"{name}_part.done", **at, "part": {"type": "summary_text", "text": said.reasoning}}, False


def _told_call(item: dict[str, Any], at: dict[str, Any]) -> Iterator[tuple[dict[str, Any], bool]]:
    arguments = item["arguments"]
    middle = len(arguments) // 2
    for piece in (arguments[:middle], arguments[middle:]):
        if piece:
            yield {"type": "response.function_call_arguments.delta", **at, "delta": piece}, True
    done = {"arguments": arguments, "name": item["name"]}
    yield {"type": "response.function_call_arguments.done", **at, **done}, False
