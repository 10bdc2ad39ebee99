"""`/v1/*`: the way of a call from the first byte of the request to the last of the answer. Raw ASGI, ahead of any router."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, MutableMapping
from time import perf_counter_ns, time_ns
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.answer import DONE, Answer
from instance.chute.caller import authenticate, model_allowed, take_labels
from instance.chute.chat_request import take_chat
from instance.chute.client_address import client_address
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed, to_error
from instance.chute.outgoing import Outgoing
from instance.chute.record import estimate_usage, streamed_answer, write_record
from instance.chute.stream import StreamBroken, encode_event
from instance.core.errors import StockyardError, error_body
from instance.core.ids import new_id
from instance.core.journal import JournalUnavailable

if TYPE_CHECKING:
    from instance.chute.app import Chute

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

WATCH_AFTER_S = 0.02
"""A caller's hang-up is looked for once a call lasts this long: shorter calls are over before it would matter."""
KEEP_ALIVE_S = 15.0
KEEP_ALIVE = b": keep-alive\n\n"
DISCARD_MAX_BYTES = 128 << 20
DISCARD_S = 5.0

JSON_TYPE = (b"content-type", b"application/json")
EVENT_STREAM = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)
NOT_SERVED = ("/v1/files", "/v1/batches", "/v1/fine_tuning", "/v1/assistants", "/v1/realtime", "/v1/threads")


class BodyTooLarge(Exception):
    """The request's body is over the limit; what follows of it is discarded."""


class Endpoint:
    """The ASGI application for everything under `/v1`."""

    def __init__(self, chute: Chute) -> None:
        self.chute = chute
        core = chute.core
        limits = core.settings.limits
        self.body_max_bytes = limits.body_bytes
        self.messages_max = limits.messages
        self.tools_max = limits.tools
        self.depth_max = limits.depth
        self.max_concurrent = limits.max_concurrent
        self.journal = core.journal
        self.keys = core.keys
        self.trusted = chute.trusted_proxies
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path: str = scope["path"]
        if path.startswith("/v1/v1/"):
            path = path[3:]
        if path == "/v1/chat/completions":
            if scope["method"] == "POST":
                await self.chat(scope, receive, send, path)
                return
            error = StockyardError("method_not_allowed", "Use POST.", headers={"Allow": "POST"})
        elif path == "/v1/models" or path.startswith("/v1/models/"):
            if scope["method"] in ("GET", "HEAD"):
                await self.models(scope, send, path)
                return
            error = StockyardError("method_not_allowed", "Use GET.", headers={"Allow": "GET, HEAD"})
        elif path.startswith(NOT_SERVED):
            error = StockyardError("not_supported", f"{path} is not served here.")
        else:
            error = StockyardError("not_found", f"There is no {path} here.")
        await _send_error(send, error, request_id=new_id("req_"))

    async def models(self, scope: Scope, send: Send, path: str) -> None:
        """`GET /v1/models` and `/v1/models/{id}`: what the caller's key may use."""
        headers = dict(scope["headers"])
        try:
            address = client_address(scope.get("client"), headers, self.trusted)
            principal = authenticate(headers, self.keys, time_ns(), address)
            body = self.chute.models(principal, path[len("/v1/models/") :])
        except StockyardError as error:
            await _send_error(send, error, request_id=new_id("req_"))
            return
        await _send_json(send, 200, [], b"" if scope["method"] == "HEAD" else orjson.dumps(body))

    async def chat(self, scope: Scope, receive: Receive, send: Send, path: str) -> None:
        """One chat call: admitted, taken through the chain, answered, recorded."""
        chute = self.chute
        started = perf_counter_ns()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        x = Exchange(new_id("tr_"), started, time_ns(), path, headers)
        x.request_id = "req_" + x.id[3:]
        x.client_ip = client_address(scope.get("client"), headers, self.trusted)
        try:
            x.principal = authenticate(headers, self.keys, x.started_wall_ns, x.client_ip)
        except StockyardError as error:
            refusal = chute.refused_key(x, error)
            await _discard_and_refuse(receive, send, refusal, x, self._declared(headers))
            return
        if chute.in_flight >= self.max_concurrent or self.draining or not self.journal.available:
            await _discard_and_refuse(receive, send, self._unavailable(), x, self._declared(headers))
            return
        plan = chute.registry.plan(x.kind)
        x.plan = plan
        plan.in_flight += 1
        chute.in_flight += 1
        watch = Watch(x, receive)
        try:
            try:
                await self._read(x, receive)
                watch.begin()
                answer = await self._answer(x)
            except BodyTooLarge:
                refusal = StockyardError(
                    "body_too_large", f"The body is over the limit of {self.body_max_bytes} bytes."
                )
                self._failed(x, refusal)
                self._record(x, b"")
                await _discard_and_refuse(receive, send, refusal, x, self._declared(headers))
                return
            except StockyardError as error:
                await self._refuse(x, send, error, watch)
                return
            except CallFailed as failure:
                await self._refuse(x, send, self._shape(x, failure), watch)
                return
            if answer.events is not None:
                await self._send_stream(x, answer, send, watch)
            else:
                await self._send_whole(x, answer, send, watch)
        except asyncio.CancelledError:
            if not x.client_gone:
                raise
            self._gone(x)
        except Exception as error:  # a fault of ours: the caller gets an id, the log the rest
            chute.log_fault(x, error)
            await self._refuse(
                x, send, StockyardError("internal_error", f"Something failed here; its trace is {x.id}."), watch
            )
        finally:
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

    async def _read(self, x: Exchange, receive: Receive) -> None:
        limit = self.body_max_bytes
        declared = x.headers.get(b"content-length")
        if declared is not None and declared.isdigit() and int(declared) > limit:
            raise BodyTooLarge
        message = await receive()
        if message["type"] == "http.disconnect":
            x.client_gone = True
            raise asyncio.CancelledError
        body: bytes = message.get("body", b"")
        if message.get("more_body"):
            chunks = [body]
            size = len(body)
            while True:
                message = await receive()
                if message["type"] == "http.disconnect":
                    x.client_gone = True
                    raise asyncio.CancelledError
                chunk = message.get("body", b"")
                size += len(chunk)
                if size > limit:
                    raise BodyTooLarge
                chunks.append(chunk)
                if not message.get("more_body"):
                    break
            body = b"".join(chunks)
        elif len(body) > limit:
            raise BodyTooLarge
        x.raw = body

    async def _answer(self, x: Exchange) -> Answer:
        """The call's answer after the chain. Raises `StockyardError`, `CallFailed`."""
        chute = self.chute
        principal = x.principal
        assert principal is not None and x.plan is not None
        take_labels(x)
        take_chat(x, self.messages_max, self.tools_max, self.depth_max)
        model_allowed(principal, x.model_requested)
        if principal.rpm:
            self.keys.check_rate(principal, x.started_ns)
        try:
            x.targets = chute.providers.resolve(
                x.model_requested, x.headers.get(b"x-stockyard-provider", b"").decode("latin-1")
            )
        except StockyardError as error:
            x.state["no_target"] = error
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
            headers.append((b"x-stockyard-warnings", "; ".join(x.warnings)[:1024].encode("latin-1", "replace")))
        headers += x.response_headers
        return headers

    async def _send_whole(self, x: Exchange, answer: Answer, send: Send, watch: Watch) -> None:
        if answer.changed or answer.body is None:
            answer.body = orjson.dumps(answer.obj)
        body = answer.body
        x.bytes_out = len(body)
        x.http_status = answer.status
        if x.cache in ("hit", "semantic"):
            x.status = "cache_hit"
        watch.end()
        self._record(x, body)
        headers = self._answer_headers(x, answer)
        if x.cost_lines:
            headers.append((b"x-stockyard-cost-usd", b"%.9f" % (x.cost_nano / 1e9)))
        await _send_json(send, answer.status, headers, body)

    async def _send_stream(self, x: Exchange, answer: Answer, send: Send, watch: Watch) -> None:
        events = answer.events
        assert events is not None
        self.chute.streams += 1
        outgoing = Outgoing(x)
        keep_alive = KeepAlive(send)
        headers = [*EVENT_STREAM, *self._answer_headers(x, answer)]
        last = DONE
        if x.cache in ("hit", "semantic"):
            x.status = "cache_hit"
        try:
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            try:
                async for batch in events:
                    block = outgoing.take(batch)
                    if block:
                        x.bytes_out += len(block)
                        keep_alive.touched()
                        await send({"type": "http.response.body", "body": block, "more_body": True})
                    if outgoing.done:
                        break
                last = outgoing.end() + (DONE if outgoing.done else b"")
            except (StockyardError, CallFailed, StreamBroken, AttributeError, TypeError, KeyError) as failure:
                last = self._broken(x, failure, outgoing)
            keep_alive.end()
            watch.end()
            x.bytes_out += len(last)
            self._record(x, streamed_answer(x))
            await send({"type": "http.response.body", "body": last, "more_body": False})
            if outgoing.done:
                async for (
                    _
                ) in events:  # reads what is left after the last event, so that the connection can be used again
                    pass
        finally:
            self.chute.streams -= 1
            keep_alive.end()
            close = getattr(events, "aclose", None)
            if close is not None:
                await close()
            answer.close()

    def _broken(self, x: Exchange, failure: Exception, outgoing: Outgoing) -> bytes:
        """The stream's last bytes when it broke: what was held back, then one error event, and no `[DONE]`."""
        if isinstance(failure, StockyardError):
            error = failure
            held = b""
        else:
            if isinstance(failure, CallFailed):
                error = self._shape(x, failure)
            else:
                error = StockyardError(
                    "bad_upstream_response", "The provider's stream holds something that is no chat chunk."
                )
                x.note("malformed_event", {"error": type(failure).__name__}, module="core", hook="on_delta")
            try:
                held = outgoing.end()
            except (StockyardError, AttributeError, TypeError, KeyError):
                held = b""
        self._failed(x, error)
        return held + encode_event(error_body(error, x.request_id, x.id))

    def _shape(self, x: Exchange, failure: CallFailed) -> StockyardError:
        shape = x.state.get("shape_failure")
        if shape is not None:
            shaped: StockyardError = shape(x, failure)
            return shaped
        x.note("upstream", {"kind": failure.kind, "status": failure.status}, module="core", hook="around")
        return to_error(failure)

    def _failed(self, x: Exchange, error: StockyardError) -> None:
        x.status = "blocked" if error.module else "error"
        x.http_status = error.status
        x.error_code = error.code
        x.error_message = error.message
        x.error_module = error.module

    async def _refuse(self, x: Exchange, send: Send, error: StockyardError, watch: Watch) -> None:
        watch.end()
        self._failed(x, error)
        body = orjson.dumps(error_body(error, x.request_id, x.id))
        x.bytes_out = len(body)
        self._record(x, body)
        await _send_error(send, error, request_id=x.request_id, trace_id=x.id, extra=x.response_headers)

    def _gone(self, x: Exchange) -> None:
        """The caller left: what was generated is priced and recorded, and nobody is to blame."""
        x.status = "cancelled"
        x.http_status = 499
        x.error_code = "client_closed"
        if x.answer is not None:
            x.answer.close()
        self._record(x, streamed_answer(x))


class Watch:
    """Looks for the caller's hang-up while the call runs, and cancels the call then."""

    __slots__ = ("_handle", "_receive", "_task", "_watcher", "_x")

    def __init__(self, x: Exchange, receive: Receive) -> None:
        self._x = x
        self._receive = receive
        self._handle: asyncio.TimerHandle | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._task: asyncio.Task[Any] | None = None

    def begin(self) -> None:
        self._task = asyncio.current_task()
        self._handle = asyncio.get_running_loop().call_later(WATCH_AFTER_S, self._start)

    def _start(self) -> None:
        self._handle = None
        self._watcher = asyncio.ensure_future(self._look())

    async def _look(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._x.client_gone = True
        if self._task is not None:
            self._task.cancel()

    def end(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None
        if self._watcher is not None:
            self._watcher.cancel()
            self._watcher = None


class KeepAlive:
    """Sends a comment on a stream after each `KEEP_ALIVE_S` of silence, so that nothing between cuts it."""

    __slots__ = ("_handle", "_last", "_loop", "_send", "_task")

    def __init__(self, send: Send) -> None:
        self._send = send
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._task: asyncio.Task[None] | None = None
        self._handle: asyncio.TimerHandle | None = self._loop.call_later(KEEP_ALIVE_S, self._check)

    def touched(self) -> None:
        self._last = self._loop.time()

    def _check(self) -> None:
        silent = self._loop.time() - self._last
        if silent >= KEEP_ALIVE_S:
            self._last = self._loop.time()
            silent = 0.0
            self._task = self._loop.create_task(self._comment())
        self._handle = self._loop.call_later(KEEP_ALIVE_S - silent, self._check)

    async def _comment(self) -> None:
        await self._send({"type": "http.response.body", "body": KEEP_ALIVE, "more_body": True})

    def end(self) -> None:
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


async def _send_json(send: Send, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [JSON_TYPE, (b"content-length", b"%d" % len(body)), *headers],
        }
    )
    await send({"type": "http.response.body", "body": body})


def _error_headers(error: StockyardError, request_id: str, trace_id: str) -> list[tuple[bytes, bytes]]:
    headers = [(b"x-request-id", request_id.encode()), (b"request-id", request_id.encode())]
    if trace_id:
        headers.append((b"x-stockyard-trace-id", trace_id.encode()))
    if error.module:
        headers.append((b"x-stockyard-module", error.module.encode()))
    if error.retryable is not None:
        headers.append((b"x-should-retry", b"true" if error.retryable else b"false"))
    headers += [
        (name.lower().encode("latin-1"), value.encode("latin-1", "replace")) for name, value in error.headers.items()
    ]
    return headers


async def _send_error(
    send: Send,
    error: StockyardError,
    *,
    request_id: str,
    trace_id: str = "",
    extra: list[tuple[bytes, bytes]] | None = None,
) -> None:
    body = orjson.dumps(error_body(error, request_id, trace_id))
    await _send_json(send, error.status, _error_headers(error, request_id, trace_id) + (extra or []), body)


async def _discard_and_refuse(receive: Receive, send: Send, error: StockyardError, x: Exchange, has_body: bool) -> None:
    """Refuse before the body was read: answer at once, then discard what the caller still sends, bounded in bytes and time.

    A caller that writes its whole body before it reads would else see a reset instead of the answer.
    """
    trace_id = x.id if error.code == "body_too_large" else ""
    body = orjson.dumps(error_body(error, x.request_id, trace_id))
    headers = [JSON_TYPE, (b"content-length", b"%d" % len(body)), *_error_headers(error, x.request_id, trace_id)]
    if error.code == "body_too_large":
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": error.status, "headers": headers})
    if has_body:
        await send({"type": "http.response.body", "body": body, "more_body": True})
        body = b""
        seen = 0
        try:
            async with asyncio.timeout(DISCARD_S):
                while seen < DISCARD_MAX_BYTES:
                    message = await receive()
                    seen += len(message.get("body", b""))
                    if message["type"] == "http.disconnect" or not message.get("more_body"):
                        break
        except TimeoutError:
            pass
    await send({"type": "http.response.body", "body": body, "more_body": False})
