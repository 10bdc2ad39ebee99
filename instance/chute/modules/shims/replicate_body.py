"""What a prediction says, read as the body of a streamed answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson

from instance.chute.answer import JSON
from instance.chute.dialects.replicate.chat import text_of
from instance.chute.dialects.replicate.prediction import ENDED
from instance.chute.dialects.replicate.stream import LAST, TextEventSplitter, encode_text_event
from instance.chute.modules.shims.replicate_predictions import FIRST_GAP_S, Predictions
from instance.chute.stream import StreamBroken
from instance.chute.upstream import UpstreamError

if TYPE_CHECKING:
    from instance.chute.mock_response import MockResponse
    from instance.chute.upstream import UpstreamResponse


class PredictionBody:
    """What a prediction says, as the body of a streamed answer: from its stream, or polled as it grows.

    Closed before its end it has the prediction canceled.
    """

    status = 200

    def __init__(
        self, predictions: Predictions, prediction: JSON, listened: UpstreamResponse | MockResponse | None
    ) -> None:
        self.headers: dict[bytes, bytes] = {}
        self._predictions = predictions
        self._prediction = prediction
        self._listened = listened
        self._events = TextEventSplitter()
        self._sent = ""
        self._gap_s = FIRST_GAP_S
        self._polled = False
        self._ended = False

    async def next_block(self) -> bytes:
        """The next events; empty at the end. Raises `UpstreamError`, `CallFailed`, `StreamBroken`."""
        if self._ended:
            return b""
        while True:
            events = await self._heard() if self._listened is not None else await self._grown()
            if events or self._ended:
                return b"".join(encode_text_event(name, data) for name, data in events)

    async def _heard(self) -> list[tuple[str, str]]:
        response = self._listened
        assert response is not None
        try:
            block = await response.next_block()
        except UpstreamError:  # what was missed comes by polling
            block = b""
        events = []
        for event in self._events.feed(block) if block else self._events.close():
            if event.name == "output":
                self._sent += event.data
            if event.name in ("output", "error"):
                events.append((event.name, event.data))
            elif event.name == "done":
                block = b""
        if not block:
            response.close()
            self._listened = None
        return events

    async def _grown(self) -> list[tuple[str, str]]:
        """What is new since the last look; first of what came with the answer to the creation."""
        if self._polled:
            self._gap_s = await self._predictions.wait(self._gap_s)
        if self._polled or self._sent or self._prediction.get("status") not in ENDED:
            self._prediction = await self._predictions.poll(self._prediction)
        self._polled = True
        events = []
        text = text_of(self._prediction.get("output"))
        if len(text) > len(self._sent):
            if not text.startswith(self._sent):
                raise StreamBroken("the prediction's output changed what it had said")
            events.append(("output", text[len(self._sent) :]))
            self._sent = text
            self._gap_s = FIRST_GAP_S
        if self._prediction.get("status") in ENDED:
            self._ended = True
            events.append((LAST, orjson.dumps(self._prediction).decode()))
        return events

    def close(self) -> None:
        """Give the prediction up; nothing happens when it has ended."""
        if self._listened is not None:
            self._listened.close()
            self._listened = None
        if not self._ended:
            self._ended = True
            self._predictions.cancel(self._prediction)
