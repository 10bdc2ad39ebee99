"""Predictions at Replicate, as one call makes them: created, waited for, and canceled when nobody waits."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from instance.chute.answer import JSON
from instance.chute.attempt import ANSWER_MAX_BYTES, ERROR_BODY_MAX_BYTES
from instance.chute.dialects.replicate.input_schema import InputSchema
from instance.chute.dialects.replicate.prediction import ENDED, ModelName, followed, why_failed
from instance.chute.failures import CallFailed
from instance.chute.first_token import allow_more_time
from instance.chute.shim import say_upstream_id
from instance.chute.upstream import UpstreamError, UpstreamUrl
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.attempt import Attempt
    from instance.chute.mock_response import MockResponse
    from instance.chute.upstream import UpstreamResponse
    from instance.core.clock import Clock

FIRST_GAP_S = 0.3
GAP_GROWTH = 1.6
WAIT_MAX_S = 60
"""Longest time that Replicate holds a request open."""
CANCEL_TIMEOUT_S = 10.0
EVENT_STREAM = ((b"accept", b"text/event-stream"), (b"cache-control", b"no-store"))


class ModelInfo:
    """What is known of a model: its inputs, and the version to run where it cannot be run by name."""

    __slots__ = ("by_version", "latest", "schema")

    def __init__(self, schema: InputSchema, latest: str = "") -> None:
        self.schema = schema
        self.latest = latest
        self.by_version = False
        """The model cannot be run by its name: a community model."""


class Predictions:
    """The predictions of one attempt. `background` takes what goes on after the call (cancelling)."""

    def __init__(
        self,
        attempt: Attempt,
        clock: Clock,
        *,
        poll_max_s: float,
        cold_start_s: float,
        hosts: Sequence[str],
        background: Callable[[asyncio.Task[Any]], None],
    ) -> None:
        self._attempt = attempt
        self._clock = clock
        self._poll_max_s = poll_max_s
        self._cold_start_s = cold_start_s
        self._hosts = hosts
        self._background = background
        base = attempt.target.url or attempt.base_url or attempt.provider.url
        if base is None:
            raise StockyardError("no_provider", f"The provider {attempt.provider.name!r} has no usable base URL.")
        self._base: UpstreamUrl = base

    async def request(
        self,
        method: bytes,
        path: bytes,
        body: JSON | None = None,
        *,
        url: UpstreamUrl | None = None,
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> UpstreamResponse | MockResponse:
        """The head of an answer. Raises `UpstreamError`."""
        x = self._attempt.x
        response = await self._attempt.provider.send(
            path,
            orjson.dumps(body) if body is not None else b"",
            body or {},
            stream=False,
            headers=[*headers, *x.upstream_headers],
            connect_timeout_s=x.connect_timeout_s,
            key=x.provider_key,
            url=url or self._base,
            method=method,
        )
        self._attempt.row["status"] = response.status
        return response

    async def read(self, response: UpstreamResponse | MockResponse) -> JSON:
        """The object in an answer. Raises `CallFailed` for an error status and for what is no object, `UpstreamError`."""
        target = self._attempt.target
        try:
            if not 200 <= response.status < 300:
                raw = await response.read(ERROR_BODY_MAX_BYTES)
                raise CallFailed("http", target, status=response.status, headers=response.headers, body=raw)
            raw = await response.read(ANSWER_MAX_BYTES)
        finally:
            response.close()
        try:
            obj = orjson.loads(raw)
        except orjson.JSONDecodeError as error:
            raise self._attempt.broken(error, response.headers, raw) from error
        if not isinstance(obj, dict):
            raise self._attempt.broken(ValueError("the answer is no JSON object"), response.headers, raw)
        return obj

    async def describe(self, name: ModelName) -> ModelInfo:
        """The model's inputs; unknown ones while Replicate cannot say them. Raises `CallFailed`, `UpstreamError`."""
        if name.deployment:
            found = await self.read(await self.request(b"GET", f"/deployments/{name.path}".encode()))
            release = found.get("current_release") or {}
            try:
                name = ModelName.read(f"{release.get('model')}:{release.get('version')}")
            except ValueError:
                return ModelInfo(InputSchema(None))
        path = name.described()
        if not path:
            return ModelInfo(InputSchema(None))
        found = await self.read(await self.request(b"GET", path))
        version = found if name.version else found.get("latest_version") or {}
        return ModelInfo(InputSchema(version.get("openapi_schema")), str(version.get("id") or ""))

    async def create(self, name: ModelName, info: ModelInfo, given: JSON, *, wait_s: int, stream: bool = False) -> JSON:
        """A new prediction, as far as it got within `wait_s`. One that is created although the caller has gone is canceled.

        Raises `CallFailed`, `UpstreamError`.
        """
        task = asyncio.ensure_future(self._create(name, info, given, wait_s, stream))
        try:
            prediction = await asyncio.shield(task)
        except asyncio.CancelledError:
            self._background(asyncio.ensure_future(self._cancel_created(task)))
            raise
        say_upstream_id(self._attempt.x, prediction.get("id"))
        if prediction.get("status") == "starting":
            allow_more_time(self._attempt.x, self._cold_start_s)
        return prediction

    async def _create(self, name: ModelName, info: ModelInfo, given: JSON, wait_s: int, stream: bool) -> JSON:
        path, body = name.create(info.latest if info.by_version else "")
        body["input"] = given
        if stream:
            body["stream"] = True
        held = ((b"prefer", b"wait=%d" % min(wait_s, WAIT_MAX_S)),) if wait_s > 0 and not stream else ()
        response = await self.request(b"POST", path, body, headers=held)
        if response.status == 404 and info.latest and not info.by_version and not name.version and not name.deployment:
            response.close()
            info.by_version = True
            return await self._create(name, info, given, wait_s, stream)
        prediction = await self.read(response)
        if not isinstance(prediction.get("id"), str) or not isinstance(prediction.get("status"), str):
            raise self._attempt.broken(ValueError("the answer is no prediction"), response.headers)
        return prediction

    async def _cancel_created(self, created: asyncio.Task[JSON]) -> None:
        try:
            prediction = await created
        except (CallFailed, StockyardError, UpstreamError):
            return  # there is no prediction to be canceled
        await self._cancel(prediction)

    async def finished(self, prediction: JSON) -> JSON:
        """The prediction once it has succeeded. Raises `CallFailed` when it failed or was canceled, `UpstreamError`."""
        gap_s = FIRST_GAP_S
        try:
            while prediction.get("status") not in ENDED:
                gap_s = await self.wait(gap_s)
                prediction = await self.poll(prediction)
        except asyncio.CancelledError:
            self.cancel(prediction)
            raise
        status = prediction["status"]
        if status == "succeeded":
            return prediction
        target = self._attempt.target
        if status == "failed":
            raise CallFailed(
                "http",
                target,
                status=502,
                body=orjson.dumps({"error": {"message": why_failed(prediction)}}),
                code="provider_error",
                message=f"The prediction at Replicate failed: {why_failed(prediction)}",
            )
        raise CallFailed(
            "http", target, status=499, code="client_closed", message="The prediction was canceled at Replicate."
        )

    async def wait(self, gap_s: float) -> float:
        """Wait that long; gives the next gap, which is longer."""
        await self._clock.sleep(gap_s)
        return min(self._poll_max_s, gap_s * GAP_GROWTH)

    async def poll(self, prediction: JSON) -> JSON:
        """The prediction as it is now. Raises `CallFailed`, `UpstreamError`."""
        origin, path = self._place(prediction, "get", "")
        return await self.read(await self.request(b"GET", path, url=origin))

    async def listen(self, prediction: JSON) -> UpstreamResponse | MockResponse | None:
        """The stream of a prediction's output; `None` when the model has none, or it is where our key must not go."""
        found = followed((prediction.get("urls") or {}).get("stream"), self._base, self._hosts)
        if found is None:
            return None
        response = await self.request(b"GET", found[1], url=found[0], headers=EVENT_STREAM)
        if response.status == 200:
            return response
        response.close()
        return None

    def cancel(self, prediction: JSON) -> None:
        """Have the prediction canceled, without waiting for it."""
        if prediction.get("status") not in ENDED:
            self._background(asyncio.ensure_future(self._cancel(prediction)))

    async def _cancel(self, prediction: JSON) -> None:
        if prediction.get("status") in ENDED:
            return
        origin, path = self._place(prediction, "cancel", "/cancel")
        try:
            async with asyncio.timeout(CANCEL_TIMEOUT_S):
                response = await self.request(b"POST", path, {}, url=origin)
                await response.read(ERROR_BODY_MAX_BYTES)
        except (UpstreamError, TimeoutError):
            return  # nobody is left to be told; the prediction then ends by itself

    def _place(self, prediction: JSON, name: str, tail: str) -> tuple[UpstreamUrl, bytes]:
        found = followed((prediction.get("urls") or {}).get(name), self._base, self._hosts)
        if found is not None:
            return found
        return self._base, f"/predictions/{prediction.get('id')}{tail}".encode("ascii", "replace")
