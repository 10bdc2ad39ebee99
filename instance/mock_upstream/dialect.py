"""What every dialect of the mock is: paths under a prefix, a way to carry keys, schemas, and a form for errors."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import orjson

from instance.mock_upstream.checking import Checker, Problem, Refused, refused
from instance.mock_upstream.exchange import Call, Request, Response
from instance.mock_upstream.multipart import NotMultipart, read_form
from instance.mock_upstream.replies import Failure
from instance.mock_upstream.shapes import Schema

Answer = Callable[[Request], Response]


class Endpoint:
    """One path: how its body is read, which schema it must fit, and what answers it."""

    __slots__ = ("answer", "checker", "form", "method", "path", "raw")

    def __init__(self, method: str, pattern: str, answer: Answer, schema: Schema | None, form: bool, raw: bool) -> None:
        self.method = method
        self.path = re.compile(pattern)
        self.answer = answer
        self.checker = Checker(schema) if schema is not None else None
        self.form = form
        self.raw = raw


class Dialect:
    """A provider's API. Subclasses name their endpoints in `__init__`."""

    name = ""
    prefix = ""
    base_url_tail = ""
    """What a provider's base URL has after the mock's root."""
    key_env = ""
    """Environment variable in which this provider's SDK looks for its key."""

    def __init__(self) -> None:
        self.endpoints: list[Endpoint] = []

    def serve(
        self,
        method: str,
        pattern: str,
        answer: Answer,
        schema: Schema | None = None,
        *,
        form: bool = False,
        raw: bool = False,
    ) -> None:
        """Adds an endpoint; `pattern` is matched against the whole path after the prefix.

        Its body is JSON, or a `form` with files, or `raw`: left to the endpoint.
        """
        self.endpoints.append(Endpoint(method, pattern, answer, schema, form, raw))

    def respond(self, request: Request, strict: bool = True) -> Response:
        """The answer to a call, or the refusal in the provider's form."""
        try:
            return self._respond(request, strict)
        except Refused as problem:
            return self.failure(problem.failure, request)

    def _respond(self, request: Request, strict: bool) -> Response:
        scripted = request.reply.body
        try:
            endpoint = self._endpoint(request)
        except Refused:
            if scripted is None:
                raise
            return Response(scripted, request.reply.status, content_type=request.reply.content_type)
        if strict:
            self.authorize(request.call, request)
        if endpoint.form:
            try:
                request.body, request.files = read_form(request.call)
            except NotMultipart as why:
                raise refused(400, str(why)) from None
        elif request.call.method == "POST" and not endpoint.raw:
            try:
                request.body = orjson.loads(request.call.body or b"{}")
            except orjson.JSONDecodeError:
                raise refused(400, "We could not parse the JSON body of your request.") from None
            request.body = self.normal(request.body)
        if strict and endpoint.checker is not None:
            problem = endpoint.checker.problem(request.body)
            if problem is not None:
                raise Refused(self.invalid(problem, request))
        if scripted is not None:
            return Response(scripted, request.reply.status, content_type=request.reply.content_type)
        if request.reply.failure is not None and request.reply.fail_after is None:
            raise Refused(request.reply.failure)
        response = endpoint.answer(request)
        if response.events is not None and request.reply.failure is not None:
            response.failing = self.stream_failure(request.reply.failure, request)
        return response

    def _endpoint(self, request: Request) -> Endpoint:
        path_known = False
        for endpoint in self.endpoints:
            found = endpoint.path.fullmatch(request.path)
            if found is not None:
                if endpoint.method == request.call.method:
                    request.parts = {name: value or "" for name, value in found.groupdict().items()}
                    return endpoint
                path_known = True
        if path_known:
            raise refused(405, f"Not allowed to {request.call.method} on {request.path}")
        raise refused(404, f"Unknown request URL: {request.call.method} {request.call.path}", code="unknown_url")

    def takes_script(self, method: str, path: str) -> bool:
        """Whether a call uses up a scripted reply; what only follows up on an earlier call does not."""
        return True

    def normal(self, body: Any) -> Any:
        """The body in the spelling that the schemas know, where a provider takes several."""
        return body

    def authorize(self, call: Call, request: Request) -> None:
        """Raises Refused when the call carries no key where this provider looks for it."""

    def invalid(self, problem: Problem, request: Request) -> Failure:
        """How the provider says that a field is wrong."""
        return Failure(400, problem.message, path=problem.path)

    def failure(self, failure: Failure, request: Request) -> Response:
        raise NotImplementedError

    def stream_failure(self, failure: Failure, request: Request) -> bytes:
        raise NotImplementedError


def bearer(call: Call, message: str = "You didn't provide an API key.") -> None:
    """Raises Refused(401) without an `Authorization: Bearer …`."""
    if not call.headers.get("authorization", "").startswith("Bearer ") or not call.key:
        raise refused(401, message)


def whole_seconds(seconds: float) -> str:
    return str(max(0, -int(-seconds // 1)))


def json_type(value: Any) -> str:
    """What OpenAI calls a JSON value's type."""
    names: dict[type, str] = {
        str: "a string",
        bool: "a boolean",
        int: "an integer",
        float: "a decimal number",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "null")


def value_at(body: Any, path: tuple[str | int, ...]) -> Any:
    for part in path:
        try:
            body = body[part]
        except (KeyError, IndexError, TypeError):
            return None
    return body
