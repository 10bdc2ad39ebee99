"""One attempt at one target: what is sent and received, its row in the trace, and its failures in one form."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from instance.chute.answer import JSON, Answer, Delta
from instance.chute.failures import CallFailed
from instance.chute.streaming import streamed
from instance.chute.upstream import UpstreamError
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.chute.mock_response import MockResponse
    from instance.chute.operation import StreamReader
    from instance.chute.targets import Target
    from instance.chute.upstream import UpstreamResponse, UpstreamUrl

ANSWER_MAX_BYTES = 32 << 20
ERROR_BODY_MAX_BYTES = 64 << 10
REQUEST_ID_HEADERS = (b"x-request-id", b"request-id", b"x-amzn-requestid", b"apim-request-id")
MALFORMED = (ValueError, AttributeError, TypeError, KeyError, IndexError)
"""What reading an answer that is none of the dialect raises."""


class Outbound(NamedTuple):
    """One HTTP request to a provider: `path` is appended to its base URL, `headers` to its own (its key among them)."""

    path: bytes
    body: bytes
    obj: JSON
    """The body decoded, for the built-in mock model; `{}` where it is no JSON."""
    headers: tuple[tuple[bytes, bytes], ...] = ()
    method: bytes = b"POST"
    content_type: bytes = b"application/json"


class Attempt:
    """One attempt at `x.targets[0]`. Its row in `x.attempts` is kept up to date; times are nanoseconds of the exchange's clock."""

    __slots__ = ("_open", "base_url", "provider", "row", "started_ns", "target", "x")

    def __init__(self, x: Exchange, target: Target) -> None:
        self.x = x
        self.target = target
        self.provider = target.provider
        self.base_url: UpstreamUrl | None = None
        """Used in place of the provider's own, where the target has none."""
        self.started_ns = perf_counter_ns()
        self._open: UpstreamResponse | MockResponse | None = None
        key = x.provider_key
        self.row: dict[str, Any] = {
            "n": len(x.attempts) + 1,
            "provider": target.provider.name,
            "model": target.model,
            "key_name": key.name if key is not None else target.provider.key_name,
            "started_ms": (self.started_ns - x.started_ns) / 1e6,
            "duration_ms": None,
            "status": 0,
            "error": None,
        }
        x.attempts.append(self.row)

    async def send(self, out: Outbound, *, url: UpstreamUrl | None = None) -> UpstreamResponse | MockResponse:
        """The head of the provider's answer. `url` replaces its base URL. Raises `UpstreamError`."""
        x = self.x
        if self._open is not None:
            self._open.close()
        if x.lens is not None:
            x.lens.sent(self.row, out.method, out.path, out.headers, out.body)
        response = self._open = await self.provider.send(
            out.path,
            out.body,
            out.obj,
            stream=x.stream,
            headers=[*out.headers, *x.upstream_headers],
            connect_timeout_s=x.connect_timeout_s,
            key=x.provider_key,
            url=url or self.target.url or self.base_url,
            method=out.method,
            content_type=out.content_type,
        )
        self.row["status"] = response.status
        for name in REQUEST_ID_HEADERS:
            value = response.headers.get(name)
            if value:
                self.row["upstream_id"] = value.decode("latin-1")[:200]
                break
        return response

    async def read(self, response: UpstreamResponse | MockResponse, limit: int = ANSWER_MAX_BYTES) -> bytes:
        """The whole body; raises `UpstreamError`."""
        body = await response.read(limit)
        if self.x.lens is not None:
            self.x.lens.answered(self.row, body)
        return body

    async def refused(self, response: UpstreamResponse | MockResponse) -> CallFailed:
        """The failure for an answer whose status is not 200, with what the provider said."""
        body = await self.read(response, ERROR_BODY_MAX_BYTES)
        return CallFailed("http", self.target, status=response.status, headers=response.headers, body=body)

    def broken(self, error: Exception, headers: dict[bytes, bytes] | None = None, body: bytes = b"") -> CallFailed:
        """The failure for an answer that is none of the dialect."""
        return CallFailed(
            "bad_response",
            self.target,
            status=self.row["status"],
            headers=headers,
            body=body[:ERROR_BODY_MAX_BYTES],
            reason=str(error),
        )

    def whole(
        self, obj: JSON | None, raw: bytes | None, headers: dict[bytes, bytes], *, native: str = "openai.chat"
    ) -> Answer:
        """A whole answer that is complete: `obj` canonical, `raw` what arrived in the dialect `native`."""
        self._answered()
        self.row["duration_ms"] = (perf_counter_ns() - self.started_ns) / 1e6
        usage = obj.get("usage") if obj else None
        if usage:
            self.x.usage.take(usage)
        return Answer(headers=headers, body=raw, obj=obj, target=self.target, native=native)

    async def streamed(
        self, response: UpstreamResponse | MockResponse, reader: StreamReader, *, native: str = "openai.chat"
    ) -> Answer:
        """A streamed answer, once its first content is there. Raises `CallFailed` for a stream that ends or fails before it."""
        answer = await streamed(self.x, self.target, response, self.row, self.started_ns, reader)
        self._open = None
        answer.native = native
        answer.reader = reader
        return answer

    async def bytes_streamed(self, response: UpstreamResponse, content_type: bytes) -> Answer:
        """An answer that is no text (speech), passed on as it arrives. Raises `UpstreamError` before its first bytes."""
        first = await response.next_block()
        self._answered()
        self._open = None
        return Answer(
            headers=response.headers,
            events=self._blocks(response, first),
            target=self.target,
            release=response.close,
            native=self.x.operation.dialect,
            content_type=content_type,
        )

    async def _blocks(self, response: UpstreamResponse, block: bytes) -> AsyncIterator[list[Delta]]:
        self.row["error"] = "cancelled"
        try:
            while block:
                yield [Delta(block, None)]
                before = perf_counter_ns()
                try:
                    block = await response.next_block()
                finally:
                    self.x.upstream_ns += perf_counter_ns() - before
            self.row["error"] = None
        except UpstreamError as error:
            self.row["error"] = error.kind
            raise CallFailed(error.kind, self.target, status=200, reason=str(error)) from error
        finally:
            self.row["duration_ms"] = (perf_counter_ns() - self.started_ns) / 1e6
            response.close()

    def _answered(self) -> None:
        x = self.x
        now = x.mark_ns = perf_counter_ns()
        x.upstream_ns += now - self.started_ns
        x.first_token_ns = now
        self.provider.health.observe(True, (now - self.started_ns) // 1000)

    async def run(self, call: Callable[[Attempt], Any]) -> Answer:
        """`await call(self)` with every failure in one form: `CallFailed`, or `StockyardError` for what our own code refuses."""
        try:
            answer: Answer = await call(self)
            return answer
        except CallFailed as failure:
            self._ended(failure.kind, failure.status)
            raise
        except UpstreamError as error:
            self._ended(error.kind)
            raise CallFailed(error.kind, self.target, reason=str(error)) from error
        except StockyardError:
            if self.row["status"]:
                self._ended("cancelled")
            else:
                self.x.attempts.remove(self.row)  # refused here before anything was sent: nobody was asked
            raise
        except BaseException:
            self._ended("cancelled")
            raise

    def _ended(self, error: str, status: int = 0) -> None:
        if self._open is not None:
            self._open.close()
        self.x.mark_ns = perf_counter_ns()
        took = self.x.mark_ns - self.started_ns
        self.x.upstream_ns += took
        self.row["duration_ms"] = took / 1e6
        self.row["error"] = error
        if error != "cancelled":
            self.provider.health.observe((self.row["status"] or status) == 400, took // 1000, error)
