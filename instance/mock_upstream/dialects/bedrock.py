"""Amazon Bedrock's Converse under `/bedrock`: whole and as binary event stream, signed or with a bearer key."""

from __future__ import annotations

from urllib.parse import unquote

import orjson

from instance.core.clock import NS_PER_S
from instance.mock_upstream import event_stream
from instance.mock_upstream.checking import Problem, dotted, refused
from instance.mock_upstream.conversation import answer
from instance.mock_upstream.dialect import Dialect
from instance.mock_upstream.dialects.bedrock_answer import content_of, events_of, stop_reason, trace_of, usage_of
from instance.mock_upstream.dialects.bedrock_schema import CONVERSE
from instance.mock_upstream.dialects.bedrock_talk import check_conversation, read_converse
from instance.mock_upstream.exchange import Call, Request, Response, json_response
from instance.mock_upstream.replies import Failure
from instance.mock_upstream.sigv4 import verify

EVENT_STREAM = "application/vnd.amazon.eventstream"

MODELS = ("anthropic.claude-mock-v1:0", "amazon.nova-mock-v1:0")

_KINDS = {
    400: "ValidationException",
    401: "UnrecognizedClientException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    405: "UnknownOperationException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
    529: "ServiceUnavailableException",
}

_IN_STREAMS = {
    400: "validationException",
    424: "modelStreamErrorException",
    429: "throttlingException",
    503: "serviceUnavailableException",
    529: "serviceUnavailableException",
}


class Bedrock(Dialect):
    name = "bedrock"
    prefix = base_url_tail = "/bedrock"
    key_env = "AWS_BEARER_TOKEN_BEDROCK"

    def __init__(self) -> None:
        super().__init__()
        self.serve("POST", "/model/(?P<model>[^/]+)/converse", self.converse, CONVERSE)
        self.serve("POST", "/model/(?P<model>[^/]+)/converse-stream", self.converse, CONVERSE)
        self.serve("GET", "/foundation-models", self.models)

    def authorize(self, call: Call, request: Request) -> None:
        given = call.headers.get("authorization", "")
        if given.startswith("Bearer "):
            if not call.key:
                raise refused(403, "Authentication failed: the bearer token is empty", kind="AccessDeniedException")
            return
        upstream = request.upstream
        verify(call, upstream.aws_keys, "bedrock", upstream.clock.wall_ns() / NS_PER_S)

    def invalid(self, problem: Problem, request: Request) -> Failure:
        where = dotted(problem.path)
        if problem.kind == "missing":
            said = f"Value null at '{where}' failed to satisfy constraint: Member must not be null"
        elif problem.kind == "unknown":
            said = f"extraneous key [{problem.path[-1]}] is not permitted at '{dotted(problem.path[:-1])}'"
        else:
            said = f"Value at '{where}' failed to satisfy constraint: {problem.message}"
        return Failure(400, f"1 validation error detected: {said}", path=problem.path)

    def failure(self, failure: Failure, request: Request) -> Response:
        kind = failure.kind or _KINDS.get(failure.status, "InternalServerException")
        headers = {**self.headers(request), "x-amzn-errortype": f"{kind}:http://internal.amazon.com/coral/"}
        status = 503 if failure.status == 529 else failure.status
        return json_response({"message": failure.message, **(failure.details or {})}, status, headers)

    def stream_failure(self, failure: Failure, request: Request) -> bytes:
        kind = failure.kind or _IN_STREAMS.get(failure.status, "internalServerException")
        return event_stream.exception(kind, orjson.dumps({"message": failure.message, **(failure.details or {})}))

    def headers(self, request: Request) -> dict[str, str]:
        return {"x-amzn-requestid": f"00000000-0000-4000-8000-{request.number:012d}"}

    def models(self, request: Request) -> Response:
        summaries = [
            {
                "modelId": name,
                "modelArn": f"arn:aws:bedrock:us-east-1::foundation-model/{name}",
                "modelName": name,
                "providerName": name.partition(".")[0],
                "inputModalities": ["TEXT", "IMAGE"],
                "outputModalities": ["TEXT"],
                "responseStreamingSupported": True,
                "inferenceTypesSupported": ["ON_DEMAND"],
                "modelLifecycle": {"status": "ACTIVE"},
            }
            for name in MODELS
        ]
        return json_response({"modelSummaries": summaries}, headers=self.headers(request))

    def converse(self, request: Request) -> Response:
        body = request.body
        if request.upstream.strict:
            check_conversation(body)
        stream = request.path.endswith("/converse-stream")
        asked = read_converse(body, unquote(request.parts["model"]), stream)
        said = answer(asked, request.reply)
        headers = self.headers(request)
        if stream:
            return Response(headers=headers, content_type=EVENT_STREAM, events=events_of(body, said))
        made = {
            "output": {"message": {"role": "assistant", "content": content_of(said)}},
            "stopReason": stop_reason(said),
            "usage": usage_of(said),
            "metrics": {"latencyMs": 12},
        }
        made |= trace_of(body, said)
        return json_response(made | request.reply.more, headers=headers)
