"""OpenAI's legacy completions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from instance.mock_upstream.conversation import CREATED, Asked, Said, answer
from instance.mock_upstream.dialect import Dialect
from instance.mock_upstream.dialects import openai_schemas as schemas
from instance.mock_upstream.dialects.openai_chat import ChatForm
from instance.mock_upstream.exchange import SSE, Event, Request, Response, json_response, sse


def serve(dialect: Dialect) -> None:
    dialect.serve("POST", "/completions", complete, schemas.COMPLETIONS)


def prompts(given: Any) -> list[str]:
    """One text for each prompt; tokens stand as their numbers."""
    if not isinstance(given, list):
        return [given or ""]
    if given and isinstance(given[0], int):
        return [" ".join(map(str, given))]
    return [one if isinstance(one, str) else " ".join(map(str, one)) for one in given]


def complete(request: Request) -> Response:
    body = request.body
    told: list[Said] = []
    for prompt in prompts(body.get("prompt")):
        asked = Asked(model=body.get("model", ""))
        asked.hear(prompt)
        said = answer(asked, request.reply)
        told += [said] * (body.get("n") or 1)
    headers = {"x-request-id": f"req_mock_{request.number}"}
    if body.get("stream"):
        return Response(headers=headers, content_type=SSE, events=_events(body, told))
    made = _shell(body, [_choice(index, said.text, said.finish, body) for index, said in enumerate(told)])
    made["usage"] = _usage(told)
    return json_response(made | request.reply.more, headers=headers)


def _usage(told: list[Said]) -> dict[str, Any]:
    if told[0].reply.usage is not None:
        return told[0].reply.usage
    made = [ChatForm().usage(said.usage) for said in told]
    return {name: sum(one[name] for one in made) for name in ("prompt_tokens", "completion_tokens", "total_tokens")}


def _shell(body: dict[str, Any], choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "id": "cmpl-mock",
        "object": "text_completion",
        "created": CREATED,
        "model": body.get("model"),
        "system_fingerprint": "fp_mock",
        "choices": choices,
    }


def _choice(index: int, text: str, finish: str | None, body: dict[str, Any]) -> dict[str, Any]:
    logprobs = None
    if body.get("logprobs") is not None:
        logprobs = {
            "tokens": [text],
            "token_logprobs": [-0.25],
            "top_logprobs": [{text: -0.25}],
            "text_offset": [0],
        }
    return {"index": index, "text": text, "logprobs": logprobs, "finish_reason": finish}


def _events(body: dict[str, Any], told: list[Said]) -> Iterator[Event]:
    with_usage = bool((body.get("stream_options") or {}).get("include_usage"))
    beside = {"usage": None} if with_usage else {}
    for index, said in enumerate(told):
        for piece in said.pieces:
            yield sse(_shell(body, [_choice(index, piece, None, body)]) | beside, piece=True)
        yield sse(_shell(body, [_choice(index, "", said.finish, body)]) | beside)
    if with_usage:
        yield sse(_shell(body, []) | {"usage": _usage(told)})
    yield Event(b"data: [DONE]\n\n")
