"""`/v1/*`: the way of a call from the first byte of the request to the last of the answer. Raw ASGI, ahead of any router."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, MutableMapping
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.answer import Answer
from instance.chute.answering import (
    WHOLE_ANSWER,
    ConnectionCut,
    answer_lines,
    discard_and_refuse,
    send_bytes,
    send_error,
    send_json,
    warnings_value,
    whole_body,
)
from instance.chute.beside_calls import BesideCalls
from instance.chute.call_watch import KeepAlive, Receive, Send, Watch, Watches
from instance.chute.caller import authenticate, model_allowed, take_labels
from instance.chute.client_address import client_address
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed, to_error
from instance.chute.operation import Operation
from instance.chute.operations import CHAT, LOADED, operation_of
from instance.chute.outgoing import Outgoing
from instance.chute.own_call import OWN_CALL, OwnCall
from instance.chute.record import estimate_usage, streamed_answer, write_record
from instance.chute.request_body import BodyTooLarge, read_body
from instance.chute.running_streams import ENDED, RunningStreams
from instance.chute.stream import StreamBroken
from instance.core.errors import StockyardError
from instance.core.ids import new_id
from instance.core.journal import JournalUnavailable
from instance.core.log_lines import trace_id

if TYPE_CHECKING:
    from instance.chute.app import Chute

Scope = MutableMapping[str, Any]

MALFORMED = (StreamBroken, AttributeError, TypeError, KeyError, IndexError)
"""What reading a chunk that is no chat chunk raises."""


TOLD_FAILURES = frozenset(
    (
        "all_targets_failed",
        "bad_upstream_response",
        "local_unavailable",
        "ollama_unreachable",
        "provider_auth_failed",
        "provider_error",
    )
)
"""Codes with which a module tells that providers failed: it refused nothing."""

EVENT_STREAM = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


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
        self.running = RunningStreams(core.keys, core.clock)
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
                self._failed(x, refusal)
                self._record(x, b"")
                await discard_and_refuse(receive, send, refusal, x, self._declared(headers))
                return
            except StockyardError as error:
                await self._refuse(x, send, error, watch)
                return
            except CallFailed as failure:
                await self._refuse(x, send, self._shape(x, failure), watch)
                return
            if answer.events is not None:
                await self._send_stream(x, answer, send, watch, direct)
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
            self._gone(x)
            if not x.client_gone:
                raise
            if "caller_stalled" in x.state:
                raise ConnectionCut(at_once=True) from None
        except Exception as error:  # a fault of ours: the caller gets an id, the log the rest
            chute.log_fault(x, error)
            await self._refuse(
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

    def _finish(self, x: Exchange) -> None:
        """Price the call and run `on_finish`; before the record is written."""
        if x.answer is None or x.answer.target is not None:
            estimate_usage(x)
            self.chute.price(x)
        if x.plan is not None:
            x.plan.finish(x)
        self.chute.billing.settle(x)

    def _record(self, x: Exchange, response: bytes) -> None:
        """Finish and record the call; nothing when that was done already."""
        if x.recorded:
            return
        x.recorded = True
        self._finish(x)
        try:
            write_record(self.journal, x, response)
        except JournalUnavailable:
            self.chute.unrecorded += 1

    def _answer_headers(self, x: Exchange, answer: Answer) -> list[tuple[bytes, bytes]]:
        headers = [(b"x-stockyard-trace-id", x.id.encode()), (b"x-request-id", x.request_id.encode())]
        headers.append((b"request-id", headers[1][1]))
        target = answer.target
        if target is not None:
            headers.append((b"x-stockyard-provider", target.provider.name.encode()))
            headers.append((b"x-stockyard-model", target.model.encode()))
        if x.cache != "off":
            headers.append((b"x-stockyard-cache", x.cache.encode()))
        overhead = perf_counter_ns() - x.started_ns - x.upstream_ns - x.waited_ns
        headers.append((b"x-stockyard-overhead-us", b"%d" % (overhead // 1000 if overhead > 0 else 0)))
        if x.warnings:
            headers.append((b"x-stockyard-warnings", warnings_value(x)))
        headers += x.response_headers
        return headers

    def _recorded_whole(self, x: Exchange, answer: Answer, watch: Watch) -> bytes:
        """The bytes of a whole answer, with the call recorded: they may leave now."""
        body = whole_body(x, answer)
        x.bytes_out = len(body)
        x.http_status = answer.status
        if x.cache in ("hit", "semantic"):
            x.status = "cache_hit"
        watch.end()
        self._record(x, body)
        return body

    async def _send_whole(self, x: Exchange, answer: Answer, send: Send, body: bytes) -> None:
        headers = self._answer_headers(x, answer)
        if x.cost_lines and not x.cost_unknown:
            headers.append((b"x-stockyard-cost-usd", b"%.9f" % (x.cost_nano / 1e9)))
        if answer.content_type:
            await send_bytes(send, answer.status, [(b"content-type", answer.content_type), *headers], body)
            return
        await send_json(send, answer.status, headers, body)

    async def _send_stream(self, x: Exchange, answer: Answer, send: Send, watch: Watch, direct: Any) -> None:
        events = answer.events
        assert events is not None
        self.chute.streams += 1
        outgoing = Outgoing(x, answer)
        if answer.content_type:
            keep_alive = None  # a comment would be heard in the middle of speech
            headers = [(b"content-type", answer.content_type), *self._answer_headers(x, answer)]
        else:
            keep_alive = KeepAlive(send)
            headers = [*EVENT_STREAM, *self._answer_headers(x, answer)]
        last = b""
        if x.cache in ("hit", "semantic"):
            x.status = "cache_hit"
        try:
            if direct is None or not direct.begin(headers):
                direct = None
                await send({"type": "http.response.start", "status": 200, "headers": headers})
            try:
                self.running.begin(x)
                async for batch in events:
                    block = outgoing.take(batch)
                    if block:
                        x.bytes_out += len(block)
                        if keep_alive is not None:
                            keep_alive.touched()
                        if direct is None or not direct.put(block):
                            await send({"type": "http.response.body", "body": block, "more_body": True})
                    if outgoing.done:
                        break
                last = outgoing.end()
            except asyncio.CancelledError:
                if x.client_gone or ENDED not in x.state:
                    raise
                last = self._ended(x, answer, outgoing)
            except Exception as failure:
                # Whatever broke the stream, it ends with an error event, and the trace says what it was.
                last = self._ended(x, answer, outgoing) if ENDED in x.state else self._broken(x, failure, outgoing)
            self.running.end(x)
            if keep_alive is not None:
                keep_alive.end()
            watch.end()
            if answer.content_type and x.error_code:
                # Bytes have no place for an error: the connection is cut, which every client takes for one.
                self._record(x, b"")
                raise ConnectionCut
            x.bytes_out += len(last)
            self._record(x, streamed_answer(x))
            if direct is None or not direct.put(last, last=True):
                await send({"type": "http.response.body", "body": last, "more_body": False})
            if outgoing.done and not outgoing.cut:
                # What is left after the last event is read, so that the upstream's connection can be used again.
                async for _ in events:
                    pass
        finally:
            self.running.end(x)
            self.chute.streams -= 1
            if keep_alive is not None:
                keep_alive.end()
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()
            answer.close()

    def _ended(self, x: Exchange, answer: Answer, outgoing: Outgoing) -> bytes:
        """The last bytes of a stream whose key may not go on with it: one error event, and nothing of what was held back."""
        task = asyncio.current_task()
        if task is not None:
            task.uncancel()
        answer.close()
        error: StockyardError = x.state[ENDED]
        x.note("ended", {"code": error.code}, module="core", hook="on_delta")
        self._failed(x, error)
        return outgoing.error(error)

    def _broken(self, x: Exchange, failure: Exception, outgoing: Outgoing) -> bytes:
        """The stream's last bytes when it broke: what was held back, then one error event, and no `[DONE]`."""
        if isinstance(failure, StockyardError):
            error = failure
            held = b""
        else:
            if isinstance(failure, CallFailed):
                error = self._shape(x, failure)
            elif isinstance(failure, MALFORMED):
                error = StockyardError(
                    "bad_upstream_response", "The provider's stream holds something that is no part of an answer."
                )
                x.note("malformed_event", {"error": type(failure).__name__}, module="core", hook="on_delta")
            else:
                self.chute.log_fault(x, failure)
                error = StockyardError("internal_error", f"Something failed here; its trace is {x.id}.")
            try:
                held = outgoing.held()
            except (StockyardError, *MALFORMED):
                held = b""
        self._failed(x, error)
        return held + outgoing.error(error)

    def _shape(self, x: Exchange, failure: CallFailed) -> StockyardError:
        shaped = x.plan.shape(x, failure) if x.plan is not None else None
        if shaped is not None:
            return shaped
        x.note("upstream", {"kind": failure.kind, "status": failure.status}, module="core", hook="around")
        return to_error(failure)

    def _failed(self, x: Exchange, error: StockyardError) -> None:
        x.status = "blocked" if error.module and error.code not in TOLD_FAILURES else "error"
        x.http_status = error.status
        x.error_code = error.code
        x.error_message = error.message
        x.error_module = error.module

    async def _refuse(self, x: Exchange, send: Send, error: StockyardError, watch: Watch) -> None:
        watch.end()
        self._failed(x, error)
        body = orjson.dumps(x.operation.error(error, x.request_id, x.id))
        x.bytes_out = len(body)
        self._record(x, body)
        await send_error(send, error, request_id=x.request_id, trace_id=x.id, extra=x.response_headers, body=body)

    def _gone(self, x: Exchange) -> None:
        """The caller left, or the instance had to stop: what was generated is priced and recorded, and nobody is to blame."""
        x.status = "cancelled"
        x.http_status = 499 if x.client_gone else 503
        x.error_code = "client_closed" if x.client_gone else "draining"
        if x.answer is not None:
            x.answer.close()
        self._record(x, streamed_answer(x))
