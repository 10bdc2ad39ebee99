"""What is asked under `/v1` beside calls: lists of models, stored responses, counts; and what is not there. Nothing is traced."""

from __future__ import annotations

from collections.abc import MutableMapping
from time import time_ns
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.answering import send_error, send_json
from instance.chute.call_watch import Receive, Send
from instance.chute.caller import authenticate
from instance.chute.client_address import client_address
from instance.chute.not_served import not_served
from instance.chute.operation import Operation
from instance.chute.operations import operation_of
from instance.chute.request_body import BodyTooLarge, read_body
from instance.chute.side_routes import SideCall, side_route
from instance.core.errors import StockyardError
from instance.core.ids import new_id

if TYPE_CHECKING:
    from instance.chute.app import Chute

Scope = MutableMapping[str, Any]


class BesideCalls:
    """The part of the endpoint that makes no calls."""

    def __init__(self, chute: Chute, body_max_bytes: int) -> None:
        self._chute = chute
        self._body_max_bytes = body_max_bytes

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, path: str, operation: Operation | None
    ) -> None:
        """Answer a request that makes no call; `operation` is the path's own, when it was asked by another method than POST."""
        if operation is not None:
            error = StockyardError("method_not_allowed", "Use POST.", headers={"Allow": "POST"})
        elif side_route(path) is not None:
            await self._side(scope, receive, send, path)
            return
        elif path == "/v1/models" or path.startswith("/v1/models/"):
            if scope["method"] in ("GET", "HEAD"):
                await self._models(scope, send, path)
                return
            error = StockyardError("method_not_allowed", "Use GET.", headers={"Allow": "GET, HEAD"})
        else:
            error = not_served(path) or StockyardError("not_found", f"There is no {path} here.")
        request_id = new_id("req_")
        await send_error(send, error, request_id=request_id, body=_in_shape_of(path, error, request_id))

    async def _models(self, scope: Scope, send: Send, path: str) -> None:
        """`GET /v1/models` and `/v1/models/{id}`: what the caller's key may use."""
        headers = dict(scope["headers"])
        try:
            address = client_address(scope.get("client"), headers, self._chute.trusted_proxies)
            principal = authenticate(headers, self._chute.core.keys, time_ns(), address)
            body = self._chute.models(principal, path[len("/v1/models/") :], scope.get("query_string", b""), headers)
        except StockyardError as error:
            await send_error(send, error, request_id=new_id("req_"))
            return
        await send_json(send, 200, [], b"" if scope["method"] == "HEAD" else orjson.dumps(body))

    async def _side(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        """What is asked under `/v1` beside calls: stored responses, counts of tokens. Not traced, nothing is paid."""
        headers = dict(scope["headers"])
        request_id = new_id("req_")
        handler = side_route(path)
        assert handler is not None
        try:
            address = client_address(scope.get("client"), headers, self._chute.trusted_proxies)
            principal = authenticate(headers, self._chute.core.keys, time_ns(), address)
            body = await read_body(headers, receive, self._body_max_bytes)
            side = SideCall(
                self._chute, scope["method"], path, scope.get("query_string", b""), principal, headers, body, request_id
            )
            status, obj = await handler(side)
        except BodyTooLarge:
            error = StockyardError("body_too_large", f"The body is over {self._body_max_bytes} bytes.")
            await send_error(send, error, request_id=request_id, body=_in_shape_of(path, error, request_id))
            return
        except StockyardError as error:
            await send_error(send, error, request_id=request_id, body=_in_shape_of(path, error, request_id))
            return
        ids = [(b"x-request-id", request_id.encode()), (b"request-id", request_id.encode())]
        await send_json(send, status, ids, b"" if scope["method"] == "HEAD" else orjson.dumps(obj))


def _in_shape_of(path: str, error: StockyardError, request_id: str) -> bytes | None:
    """An error beside calls as the callers of that path read it; `None`: in the usual shape."""
    if not path.startswith("/v1/messages"):
        return None
    operation = operation_of("/v1/messages")
    return orjson.dumps(operation.error(error, request_id, "")) if operation is not None else None
