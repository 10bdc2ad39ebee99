"""`/v1/*`: the way of a call from the first byte of the request to the last of the answer. Raw ASGI, ahead of any router."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, MutableMapping
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any

from instance.chute.answer import Answer
from instance.chute.answering import (
    WHOLE_ANSWER,
    ConnectionCut,
    answer_headers,
    answer_lines,
    discard_and_refuse,
    send_bytes,
    send_json,
    whole_body,
)
from instance.chute.beside_calls import BesideCalls
from instance.chute.call_end import CallEnd
from instance.chute.call_watch import Receive, Send, Watch, Watches
from instance.chute.caller import authenticate, model_allowed, take_labels, take_user
from instance.chute.client_address import client_address
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.operation import Operation
from instance.chute.operations import CHAT, LOADED, operation_of
from instance.chute.own_call import OWN_CALL, OwnCall
from instance.chute.request_body import BodyTooLarge, read_body
from instance.chute.stream_sending import StreamSending
from instance.core.errors import StockyardError
from instance.core.ids import new_id
from instance.core.log_lines import trace_id

if TYPE_CHECKING:
    from instance.chute.app import Chute

Scope = MutableMapping[str, Any]


class Endpoint:
    """The ASGI application for everything under `/v1`."""

    def __init__(self, chute: Chute) -> None:
        self.chute = chute
        core = chute.core
        limits = core.settings.limits
        self.body_max_bytes = limits.body_bytes
        self.multipart_max_bytes = limits.multipart_bytes
        self.limits = limits
        self.operations = LOADED
        self.max_concurrent = limits.max_concurrent
        self.journal = core.journal
        self.keys = core.keys
        self.trusted = chute.trusted_proxies
        self.watches = Watches()
        self.end = CallEnd(chute)
        self.streams = StreamSending(chute, self.end)
        self.draining = False
        self.beside_calls = BesideCalls(chute, self.body_max_bytes)

    def __call__(self, scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        path: str = scope["path"]
        if path.startswith("/v1/v1/"):
            path = path[3:]
        operation = self.operations.get(path) or operation_of(path)
        if operation is not None and scope["method"] == "POST":
            return self.call(scope, receive, send, path, operation)
        return self.beside_calls(scope, receive, send, path, operation)

    async def call(self, scope: Scope, receive: Receive, send: Send, path: str, operation: Operation = CHAT) -> None:
        """One call: admitted, taken through the chain, answered, recorded."""
        chute = self.chute
        started = perf_counter_ns()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        x = Exchange(new_id("tr_"), started, time_ns(), path, headers, operation)
        x.request_id = "req_" + x.id[3:]
        trace_id.set(x.id)  # for what is logged about this call
        x.client_ip = client_address(scope.get("client"), headers, self.trusted)
        extensions = scope.get("extensions")
        own: OwnCall | None = extensions.get(OWN_CALL) if extensions else None
        try:
            if own is not None:
                x.principal = own.principal
            else:
                x.principal = authenticate(headers, self.keys, x.started_wall_ns, x.client_ip)
        except StockyardError as error:
            refusal = chute.refused_key(x, error)
            await discard_and_refuse(receive, send, refusal, x, self._declared(headers))
            return
        if chute.in_flight >= self.max_concurrent or self.draining or not self.journal.available:
            await discard_and_refuse(receive, send, self._unavailable(), x, self._declared(headers))
            return
        plan = chute.registry.plan(operation.kind, admitted=own is not None and own.admitted, client=x.principal.client)
        x.plan = plan
        plan.in_flight += 1
        chute.in_flight += 1
        direct = extensions.get(WHOLE_ANSWER) if extensions else None
        watch = Watch(x, receive)
        try:
            try:
                raw = None
                if direct is not None:
                    x.task = direct.task
                    raw = direct.take_body()
                if raw is None or len(raw) > self.body_max_bytes:
                    await self._read(x, receive, raw)
                else:
                    x.raw = raw
                self.watches.add(watch)
                answer = await self._answer(x, own)
            except BodyTooLarge:
                refusal = StockyardError(
                    "body_too_large",
                    f"The body is over the limit of {self.multipart_max_bytes if operation.multipart else self.body_max_bytes} bytes.",
                )
                self.end.fail(x, refusal)
                self.end.record(x, b"")
                await discard_and_refuse(receive, send, refusal, x, self._declared(headers))
                return
            except StockyardError as error:
                await self.end.refuse(x, send, error, watch)
                return
            except CallFailed as failure:
                await self.end.refuse(x, send, self.end.shape(x, failure), watch)
                return
            if answer.events is not None:
                await self.streams.send(x, answer, send, watch, direct)
            else:
                body = self._recorded_whole(x, answer, watch)
                lines = None
                if direct is not None and not answer.content_type:
                    lines = answer_lines(x, answer.target, len(body))
                if direct is not None and lines is not None:
                    direct.answer(answer.status, lines, body)
                else:
                    await self._send_whole(x, answer, send, body)
        except ConnectionCut:
            raise
        except asyncio.CancelledError:
            self.end.gone(x)
            if not x.client_gone:
                raise
            if "caller_stalled" in x.state:
                raise ConnectionCut(at_once=True) from None
        except Exception as error:  # a fault of ours: the caller gets an id, the log the rest
            chute.log_fault(x, error)
            await self.end.refuse(
                x, send, StockyardError("internal_error", f"Something failed here; its trace is {x.id}."), watch
            )
        finally:
            self.watches.discard(watch)
            watch.end()
            chute.in_flight -= 1
            plan.in_flight -= 1
            if plan.retired is not None and not plan.in_flight:
                plan.retired()
            chute.observe(x)

    def _declared(self, headers: dict[bytes, bytes]) -> bool:
        return headers.get(b"content-length", b"") != b"0"

    def _unavailable(self) -> StockyardError:
        if self.draining:
            return StockyardError(
                "draining", "This instance is about to stop; repeat the call.", headers={"Retry-After": "1"}
            )
        if not self.journal.available:
            return StockyardError(
                "audit_unavailable",
                f"Calls cannot be recorded, so none are made: {self.journal.reason}.",
                headers={"Retry-After": "5"},
            )
        return StockyardError(
            "overloaded", "Too many calls are in flight; repeat the call.", headers={"Retry-After": "1"}
        )

    async def _read(self, x: Exchange, receive: Receive, raw: bytes | None) -> None:
        limit = self.multipart_max_bytes if x.operation.multipart else self.body_max_bytes
        if raw is not None:
            if len(raw) > limit:
                raise BodyTooLarge
            x.raw = raw
            return
        try:
            x.raw = await read_body(x.headers, receive, limit)
        except asyncio.CancelledError:
            x.client_gone = True
            raise

    async def _answer(self, x: Exchange, own: OwnCall | None = None) -> Answer:
        """The call's answer after the chain. Raises `StockyardError`, `CallFailed`."""
        chute = self.chute
        principal = x.principal
        assert principal is not None and x.plan is not None
        take_labels(x)
        if own is not None and own.begin is not None:
            own.begin(x)
        x.operation.take(x, self.limits)
        take_user(x)
        if x.model_requested:
            model_allowed(principal, x.model_requested)
        if principal.rpm and (own is None or not own.admitted):
            self.keys.check_rate(principal, x.started_ns)
        chute.targets.resolve(x)
        if x.operation.prepares:
            await x.operation.prepare(x, chute.core.services, self.limits)
        chute.billing.admit(x)
        answer = await x.plan.run(x)
        if answer.obj is not None:
            x.plan.respond(x, answer)
        return answer

    def _recorded_whole(self, x: Exchange, answer: Answer, watch: Watch) -> bytes:
        """The bytes of a whole answer, with the call recorded: they may leave now."""
        body = whole_body(x, answer)
        x.bytes_out = len(body)
        x.http_status = answer.status
        if x.cache in ("hit", "semantic"):
            x.status = "cache_hit"
        watch.end()
        self.end.record(x, body)
        return body

    async def _send_whole(self, x: Exchange, answer: Answer, send: Send, body: bytes) -> None:
        headers = answer_headers(x, answer)
        if x.cost_lines and not x.cost_unknown:
            headers.append((b"x-stockyard-cost-usd", b"%.9f" % (x.cost_nano / 1e9)))
        if answer.content_type:
            await send_bytes(send, answer.status, [(b"content-type", answer.content_type), *headers], body)
            return
        await send_json(send, answer.status, headers, body)
