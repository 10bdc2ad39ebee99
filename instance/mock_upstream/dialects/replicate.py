"""Replicate's predictions under `/replicate/v1`: made, asked for until done, streamed from a URL of their own, cancelled.

A model whose name has `nostream` in it has no stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from instance.mock_upstream.bounded import Bounded
from instance.mock_upstream.checking import Checker, Problem, bracketed, refused
from instance.mock_upstream.conversation import Asked, Said, answer, described_url
from instance.mock_upstream.dialect import Dialect, whole_seconds
from instance.mock_upstream.dialects.replicate_models import (
    PREDICTION,
    input_schema,
    inputs_of,
    makes_pictures,
    user_turn,
)
from instance.mock_upstream.exchange import SSE, Call, Event, Request, Response, json_response
from instance.mock_upstream.media import PNG
from instance.mock_upstream.replies import Failure, Reply

PREDICTIONS_KEPT = 1000
CREATED_AT = "2026-01-01T00:00:00.000000Z"
ENDED = ("succeeded", "failed", "canceled")
_MODEL = "/v1/models/(?P<model>[^/]+/[^/]+)"
_TITLES = {
    401: "Unauthenticated",
    402: "Insufficient credit",
    404: "Not found",
    422: "Input validation failed",
    429: "Too many requests",
}


@dataclass(slots=True)
class Prediction:
    id: str
    model: str
    given: dict[str, Any]
    said: Said
    output: list[str]
    polls_left: int
    polls: int
    status: str = "starting"

    @property
    def reply(self) -> Reply:
        return self.said.reply

    def advance(self) -> None:
        """It was asked for: it comes a step nearer to its end."""
        if self.status in ENDED:
            return
        self.polls_left -= 1
        self.status = self.ends_as if self.polls_left <= 0 else "processing"

    @property
    def ends_as(self) -> str:
        return self.reply.finish if self.reply.finish in ("failed", "canceled") else "succeeded"


class Replicate(Dialect):
    name = "replicate"
    prefix = "/replicate"
    base_url_tail = "/replicate/v1"
    key_env = "REPLICATE_API_TOKEN"

    def __init__(self) -> None:
        super().__init__()
        self.serve("POST", f"{_MODEL}/predictions", self.predict, PREDICTION)
        self.serve("POST", "/v1/deployments/(?P<model>[^/]+/[^/]+)/predictions", self.predict, PREDICTION)
        self.serve("POST", "/v1/predictions", self.predict_version, PREDICTION)
        self.serve("GET", "/v1/predictions/(?P<id>[^/]+)", self.poll)
        self.serve("POST", "/v1/predictions/(?P<id>[^/]+)/cancel", self.cancel)
        self.serve("GET", "/v1/stream/(?P<id>[^/]+)", self.stream)
        self.serve("GET", "/v1/models", self.models)
        self.serve("GET", _MODEL, self.model)
        self.serve("GET", f"{_MODEL}/versions/(?P<version>[^/]+)", self.model_version)
        self.serve("GET", r"/v1/files/image-[0-9a-z-]+\.png", lambda request: Response(PNG, content_type="image/png"))

    def takes_script(self, method: str, path: str) -> bool:
        return method == "POST" and path.endswith("/predictions")

    def authorize(self, call: Call, request: Request) -> None:
        if request.path.startswith(("/v1/stream/", "/v1/files/")):
            return
        if not call.headers.get("authorization", "").startswith(("Bearer ", "Token ")):
            raise refused(401, "You did not pass an authentication token")

    def invalid(self, problem: Problem, request: Request) -> Failure:
        where = bracketed(problem.path)
        fields = [{"type": problem.kind, "field": where, "description": problem.message}]
        return Failure(422, f"- {where}: {problem.message}\n", path=problem.path, details={"invalid_fields": fields})

    def failure(self, failure: Failure, request: Request) -> Response:
        made: dict[str, Any] = {
            "title": failure.kind or _TITLES.get(failure.status, "Internal server error"),
            "detail": failure.message,
            "status": failure.status,
            **(failure.details or {}),
        }
        headers = {}
        if failure.retry_after_s is not None:
            headers["retry-after"] = whole_seconds(failure.retry_after_s)
            made["retry_after"] = int(headers["retry-after"])
        return json_response(made, failure.status, headers)

    def stream_failure(self, failure: Failure, request: Request) -> bytes:
        error = orjson.dumps({"detail": failure.message}).decode()
        return _event("error", error, 0).data + _event("done", '{"reason": "error"}', 1).data

    def _kept(self, request: Request) -> Bounded[Prediction]:
        return request.upstream.store("predictions", PREDICTIONS_KEPT)

    def _found(self, request: Request) -> Prediction:
        found = self._kept(request).get(request.parts["id"])
        if found is None:
            raise refused(404, "The requested resource could not be found.")
        return found

    def predict_version(self, request: Request) -> Response:
        version = request.body.get("version")
        if not version:
            raise refused(422, "- version is required\n", kind="Input validation failed")
        # a version's number says nothing of its model; the mock's own are `owner/name:number`
        request.parts["model"] = str(version).partition(":")[0]
        return self.predict(request)

    def predict(self, request: Request) -> Response:
        model, given, reply = request.parts["model"], request.body["input"], request.reply
        if request.upstream.strict:
            problem = Checker(input_schema(model)).problem(given)
            if problem is not None:
                failure = self.invalid(problem._replace(path=("input", *problem.path)), request)
                raise refused(failure.status, failure.message, details=failure.details)
        said = answer(_asked(model, given), reply)
        output = said.pieces
        if makes_pictures(model):
            url = f"{request.root}{self.prefix}/v1/files/image-{request.number}"
            output = [f"{url}-{number}.png" for number in range(given.get("num_outputs") or 1)]
        waits = "wait" in request.call.headers.get("prefer", "")
        polls = reply.polls if reply.polls is not None else 0 if waits else 2
        made = Prediction(f"mock{request.number:022d}", model, given, said, output, polls, polls)
        if waits and polls <= 0:
            made.status = made.ends_as
        self._kept(request).put(made.id, made)
        return json_response(self._shown(made, request), 201)

    def poll(self, request: Request) -> Response:
        found = self._found(request)
        found.advance()
        return json_response(self._shown(found, request))

    def cancel(self, request: Request) -> Response:
        found = self._found(request)
        if found.status not in ENDED:
            found.status = "canceled"
        return json_response(self._shown(found, request))

    def stream(self, request: Request) -> Response:
        found = self._found(request)
        failure = found.reply.failure
        response = Response(content_type=SSE, events=self._events(found), paced_by=found.reply)
        if failure is not None:
            response.failing = self.stream_failure(failure, request)
        return response

    def _events(self, found: Prediction) -> Iterator[Event]:
        found.status = "processing"
        number = 0
        for number, piece in enumerate(found.output, 1):
            if found.status == "canceled":
                yield _event("done", '{"reason": "canceled"}', number)
                return
            yield _event("output", piece, number, piece=True)
        if found.ends_as == "failed":
            found.status = "failed"
            yield _event("error", orjson.dumps({"detail": "the prediction failed"}).decode(), number + 1)
            yield _event("done", '{"reason": "error"}', number + 2)
            return
        found.status = found.ends_as
        yield _event("done", "{}", number + 1)

    def _shown(self, found: Prediction, request: Request) -> dict[str, Any]:
        here = f"{request.root}{self.prefix}/v1"
        urls = {"get": f"{here}/predictions/{found.id}", "cancel": f"{here}/predictions/{found.id}/cancel"}
        if "nostream" not in found.model and not makes_pictures(found.model):
            urls["stream"] = f"{here}/stream/{found.id}"
        ended = found.status in ENDED
        output: list[str] | None = None
        if found.status == "succeeded":
            output = found.output
        elif found.status == "processing" and not makes_pictures(found.model):
            share = found.polls - found.polls_left
            output = found.output[: len(found.output) * share // max(found.polls, 1)] or None
        usage = found.said.usage
        failed = found.status == "failed"
        return {
            "id": found.id,
            "model": found.model,
            "version": "mock0000",
            "input": found.given,
            "output": output,
            "logs": "loading\nthe prediction failed\n" if failed else "",
            "error": "the prediction failed" if failed else None,
            "status": found.status,
            "created_at": CREATED_AT,
            "started_at": None if found.status == "starting" else CREATED_AT,
            "completed_at": CREATED_AT if ended else None,
            "data_removed": False,
            "urls": urls,
            "metrics": {
                "predict_time": 0.5,
                "total_time": 0.6,
                **(
                    {}
                    if makes_pictures(found.model)
                    else {"input_token_count": usage.prompt, "output_token_count": usage.completion}
                ),
            }
            if ended
            else {},
        } | found.reply.more

    def models(self, request: Request) -> Response:
        names = ("meta/meta-llama-3-8b-instruct", "black-forest-labs/flux-schnell")
        return json_response({"next": None, "previous": None, "results": [_model(name) for name in names]})

    def model(self, request: Request) -> Response:
        if "missing" in request.parts["model"]:
            raise refused(404, "The requested resource could not be found.")
        return json_response(_model(request.parts["model"]))

    def model_version(self, request: Request) -> Response:
        return json_response(_model(request.parts["model"])["latest_version"])


def _asked(model: str, given: dict[str, Any]) -> Asked:
    asked = Asked(model=model)
    asked.words = len(str(given.get("system_prompt", "")).split())
    asked.hear(user_turn(given))
    shown = [given["image"]] if "image" in given else given.get("image_input") or []
    asked.media += [described_url("image", url) for url in shown]
    return asked


def _model(name: str) -> dict[str, Any]:
    owner, _, short = name.partition("/")
    inputs = {
        field: {**schema, "title": field, "x-order": place}
        for place, (field, schema) in enumerate(inputs_of(name).items())
    }
    needed = [] if "messages" in inputs else ["prompt"]
    schema = {
        "openapi": "3.0.2",
        "components": {
            "schemas": {
                "Input": {"type": "object", "title": "Input", "properties": inputs, "required": needed},
                "Output": {"type": "array", "items": {"type": "string"}, "x-cog-array-type": "iterator"},
            }
        },
    }
    return {
        "url": f"https://replicate.com/{name}",
        "owner": owner,
        "name": short,
        "description": "a mock",
        "visibility": "public",
        "run_count": 1,
        "latest_version": {
            "id": "mock0000",
            "created_at": CREATED_AT,
            "cog_version": "0.9.0",
            "openapi_schema": schema,
        },
    }


def _event(kind: str, data: str, number: int, piece: bool = False) -> Event:
    lines = "".join(f"data: {line}\n" for line in data.split("\n"))
    return Event(f"event: {kind}\nid: 1767225600:{number}\n{lines}\n".encode(), piece)
