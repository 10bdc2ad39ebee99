"""A streamed answer on its way to the caller: its head, its events as they come, and an end that says what happened."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from instance.chute.answer import Answer
from instance.chute.answering import ConnectionCut, answer_headers
from instance.chute.call_end import CallEnd
from instance.chute.call_watch import KeepAlive, Send, Watch
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.outgoing import Outgoing
from instance.chute.record import streamed_answer
from instance.chute.running_streams import ENDED, RunningStreams
from instance.chute.stream import StreamBroken
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.app import Chute

MALFORMED = (StreamBroken, AttributeError, TypeError, KeyError, IndexError)
"""What reading a chunk that is no chat chunk raises."""

EVENT_STREAM = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
)


class StreamSending:
    """Sends the streams of the endpoint; `running` can end them."""

    def __init__(self, chute: Chute, end: CallEnd) -> None:
        self._chute = chute
        self._end = end
        self.running = RunningStreams(chute.core.keys, chute.core.clock)

    async def send(self, x: Exchange, answer: Answer, send: Send, watch: Watch, direct: Any) -> None:
        """`direct`: the server's way for answers past ASGI, where it has one. Raises `ConnectionCut`."""
        events = answer.events
        assert events is not None
        self._chute.streams += 1
        outgoing = Outgoing(x, answer)
        if answer.content_type:
            keep_alive = None  # a comment would be heard in the middle of speech
            headers = [(b"content-type", answer.content_type), *answer_headers(x, answer)]
        else:
            keep_alive = KeepAlive(send)
            headers = [*EVENT_STREAM, *answer_headers(x, answer)]
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
                self._end.record(x, b"")
                raise ConnectionCut
            x.bytes_out += len(last)
            self._end.record(x, streamed_answer(x))
            if direct is None or not direct.put(last, last=True):
                await send({"type": "http.response.body", "body": last, "more_body": False})
            if outgoing.done and not outgoing.cut:
                # What is left after the last event is read, so that the upstream's connection can be used again. What fails
                # there fails too late: the answer is whole and was recorded.
                with suppress(CallFailed, StockyardError):
                    async for _ in events:
                        pass
        finally:
            self.running.end(x)
            self._chute.streams -= 1
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
        self._end.fail(x, error)
        return outgoing.error(error)

    def _broken(self, x: Exchange, failure: Exception, outgoing: Outgoing) -> bytes:
        """The stream's last bytes when it broke: what was held back, then one error event, and no `[DONE]`."""
        if isinstance(failure, StockyardError):
            error = failure
            held = b""
        else:
            if isinstance(failure, CallFailed):
                error = self._end.shape(x, failure)
            elif isinstance(failure, MALFORMED):
                error = StockyardError(
                    "bad_upstream_response", "The provider's stream holds something that is no part of an answer."
                )
                x.note("malformed_event", {"error": type(failure).__name__}, module="core", hook="on_delta")
            else:
                self._chute.log_fault(x, failure)
                error = StockyardError("internal_error", f"Something failed here; its trace is {x.id}.")
            try:
                held = outgoing.held()
            except (StockyardError, *MALFORMED):
                held = b""
        self._end.fail(x, error)
        return held + outgoing.error(error)
