"""replicateshim: speaks Replicate's predictions API to providers of type `replicate`."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from pydantic import Field

from instance.chute.answer import JSON, Answer
from instance.chute.attempt import MALFORMED, Attempt
from instance.chute.dialects.data_url import is_data_url, read_data_url
from instance.chute.dialects.replicate.chat import text_of, write_chat
from instance.chute.dialects.replicate.images import image_urls, write_images
from instance.chute.dialects.replicate.input_schema import InputSchema
from instance.chute.dialects.replicate.prediction import ModelName, own_fields, read_chat
from instance.chute.dialects.replicate.stream import ReplicateReader
from instance.chute.dialects.replicate.templates import Template
from instance.chute.exchange import Exchange
from instance.chute.failures import CallFailed
from instance.chute.module import Module, ModuleSettings
from instance.chute.modules.shims.replicate_body import PredictionBody
from instance.chute.modules.shims.replicate_predictions import ModelInfo, Predictions
from instance.chute.remote_media import RemoteMedia
from instance.chute.shim import Shim, ShimSettings, answer_head
from instance.core.clock import Clock
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.core.core import Core

MODELS_MAX = 256
"""Models whose inputs are remembered."""
REMEMBERED_S = 3600.0
IMAGES_MAX = 10
IMAGE_MAX_BYTES = 32 << 20
STOP_WAIT_S = 5.0


class ReplicateShim(Shim):
    """Chat and images as predictions.

    A model gets the inputs that it publishes and no others. A prediction that nobody waits for any more is canceled.
    """

    name = "replicateshim"
    summary = "Speaks Replicate's predictions API"
    rejects = ("not_supported", "model_not_found", "bad_request", "no_provider", "provider_error", "client_closed")
    dialect = "replicate"
    wire_dialect = "replicate.predictions"
    serves = frozenset(("chat", "images"))

    class Settings(ShimSettings):
        wait_s: int = Field(
            default=55, ge=0, le=60, description="Seconds that Replicate may hold a call open before it is asked again."
        )
        poll_max_s: float = Field(default=3, ge=0.3, le=60, description="Longest gap between two looks, in seconds.")
        templates: dict[str, Template] = Field(
            default={},
            max_length=100,
            description="Glob of a model's name -> how its chats are written: llama3, llama2, mistral, chatml, gemma or plain.",
        )
        cold_start_s: float = Field(
            default=300,
            ge=0,
            le=86_400,
            description="Seconds added to the time for the first token while a model starts.",
        )
        hosts: list[str] = Field(
            default=["*.replicate.com"],
            max_length=20,
            description="Globs of hosts, beside the provider's own, that a prediction's addresses may lead to with the key.",
        )

    settings: Settings

    def __init__(self, settings: ModuleSettings) -> None:
        super().__init__(settings)
        self._media = RemoteMedia(allow_private_networks=False)
        self._clock = Clock()
        self._models: dict[str, tuple[float, ModelInfo]] = {}
        """Provider and model -> second of the clock until when it is believed, and what is known."""
        self._tasks: set[asyncio.Task[Any]] = set()

    async def start(self, core: Core, previous: Module | None) -> None:
        self._media = RemoteMedia.of(core)
        self._clock = core.clock
        if isinstance(previous, ReplicateShim):
            self._models = previous._models

    async def stop(self) -> None:
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=STOP_WAIT_S)
        await self._media.close()

    async def call(self, x: Exchange, attempt: Attempt) -> Answer:
        attempt.base_url = self.base_url
        target = attempt.target
        try:
            name = ModelName.read(target.model)
        except ValueError as error:
            raise StockyardError("model_not_found", f"{error}.", param="model", retryable=False) from None
        own = self.settings
        predictions = Predictions(
            attempt,
            self._clock,
            poll_max_s=own.poll_max_s,
            cold_start_s=own.cold_start_s,
            hosts=own.hosts,
            background=self._keep,
        )
        info = await self._info(f"{target.provider.name}/{target.model}", name, predictions)
        if x.kind == "images":
            return await self._images(x, attempt, predictions, name, info)
        given, dropped = write_chat(self.request(x), target.model, info.schema, own.templates)
        self.dropped(x, dropped)
        prediction = await predictions.create(name, info, given, wait_s=own.wait_s, stream=x.stream)
        if x.stream:
            return await self._streamed(x, attempt, predictions, prediction)
        prediction = await predictions.finished(prediction)
        said = text_of(prediction.get("output")).encode()
        return attempt.whole(read_chat(prediction, target.model, *answer_head(x)), said, {}, native="")

    async def _streamed(self, x: Exchange, attempt: Attempt, predictions: Predictions, prediction: JSON) -> Answer:
        body = PredictionBody(predictions, prediction, None)
        try:
            body = PredictionBody(predictions, prediction, await predictions.listen(prediction))
            reader = ReplicateReader(attempt.target.model, *answer_head(x))
            return await attempt.streamed(body, reader, native="openai.chat")  # type: ignore[arg-type]
        except BaseException:
            body.close()
            raise

    async def _images(
        self, x: Exchange, attempt: Attempt, predictions: Predictions, name: ModelName, info: ModelInfo
    ) -> Answer:
        if x.operation.path != b"/images/generations":
            raise StockyardError(
                "not_supported", "Models at Replicate only make new images here.", param="model", retryable=False
            )
        given, times, dropped = write_images(x.req, info.schema)
        if times > IMAGES_MAX:
            raise StockyardError("bad_request", f"At most {IMAGES_MAX} images of this model.", param="n")
        self.dropped(x, dropped)

        async def one() -> JSON:
            created = await predictions.create(name, info, given, wait_s=self.settings.wait_s)
            return await predictions.finished(created)

        tasks = [asyncio.ensure_future(one()) for _ in range(times)]
        try:
            made = await asyncio.gather(*tasks)
        except BaseException:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=STOP_WAIT_S)
            raise
        try:
            urls = [url for prediction in made for url in image_urls(prediction.get("output"))]
        except MALFORMED as error:
            raise attempt.broken(error) from error
        try:
            data = [await self._image(url, x.req.get("response_format")) for url in urls]
        except StockyardError as error:  # not the caller's fault: the address is the provider's
            raise attempt.broken(error) from error
        obj: JSON = {
            "created": answer_head(x)[0],
            "data": data,
            "replicate": {"predictions": [own_fields(prediction) for prediction in made]},
        }
        return attempt.whole(obj, None, {}, native="")

    async def _image(self, url: str, form: Any) -> JSON:
        if form != "b64_json":
            return {"url": url}
        if is_data_url(url):
            return {"b64_json": read_data_url(url, "response_format").base64}
        return {"b64_json": (await self._media.fetch(url, "response_format", IMAGE_MAX_BYTES)).base64}

    async def _info(self, key: str, name: ModelName, predictions: Predictions) -> ModelInfo:
        now = self._clock.mono_ns() / 1e9
        known = self._models.get(key)
        if known is not None and known[0] > now:
            return known[1]
        try:
            info = await predictions.describe(name)
        except CallFailed as failure:
            if failure.kind == "http" and failure.status < 500:
                raise
            return known[1] if known is not None else ModelInfo(InputSchema(None))
        if key not in self._models and len(self._models) >= MODELS_MAX:
            self._models.pop(next(iter(self._models)))
        self._models[key] = (now + REMEMBERED_S, info)
        return info

    def _keep(self, task: asyncio.Task[Any]) -> None:
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
