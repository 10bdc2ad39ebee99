"""imageproxy: images both ways: those that are made, and those that are shown to a model."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import orjson
from pydantic import Field

from instance.chute.answer import JSON, Answer
from instance.chute.dialects.form_operation import FORM
from instance.chute.exact_bytes import exact
from instance.chute.exchange import Exchange
from instance.chute.module import Call, Module, ModuleSettings
from instance.chute.modules.caching.cache_request import asked_mode
from instance.chute.modules.other.image_answers import ImageAnswerKeeper
from instance.chute.modules.other.image_cache import ImageCache, Kept, cache_key
from instance.chute.modules.other.image_families import evened, one_at_a_time
from instance.chute.modules.other.image_shaping import INSTALL, Shaped, missing_packages, shaped
from instance.chute.modules.other.image_store import ImageStore
from instance.chute.modules.other.vision_inputs import VisionInputs
from instance.chute.remote_media import RemoteMedia
from instance.core.clock import Clock
from instance.core.errors import StockyardError
from instance.core.instance_file import may_call_private_networks

if TYPE_CHECKING:
    from instance.core.core import Core

NS = 1_000_000_000
DAY_S = 86_400
EXPIRE_S = 600.0


class ImageProxy(Module):
    """Made images: one request fits every family of models, the results are kept here under links that live for days, and the
    same request again costs nothing with `cache`. Shown images: fetched, checked by content, stripped of what they tell about
    place and device, scaled down, and turned into a format that every provider takes.
    """

    name: ClassVar[str] = "imageproxy"
    category: ClassVar[str] = "other"
    group: ClassVar[int] = 9
    summary: ClassVar[str] = "Makes images fit for every provider, keeps and caches those that are generated"
    rejects: ClassVar[tuple[str, ...]] = (
        "image_invalid",
        "image_too_large",
        "image_url_forbidden",
        "size_not_allowed",
        "cache_miss",
        "bad_request",
    )
    kinds: ClassVar[frozenset[str]] = frozenset(("chat", "images"))
    tick_s: ClassVar[float] = EXPIRE_S

    class Settings(ModuleSettings):
        cache: bool = Field(default=False, description="Answer the same image request again without a call.")
        cache_ttl_s: int = Field(default=DAY_S, ge=1, le=365 * DAY_S, description="Seconds that an answer is kept.")
        store_days: int = Field(
            default=7, ge=0, le=365, description="Days that generated images are kept here; 0: not at all."
        )
        max_n: int = Field(default=4, ge=0, le=16, description="Images of one request; 0: no limit of its own.")
        sizes: list[Annotated[str, Field(min_length=1, max_length=64)]] = Field(
            default=["*"], max_length=50, description="Globs of the sizes that may be asked for."
        )
        fetch_remote: bool = Field(
            default=True, description="Fetch images that are named by address; off: the provider is left to do it."
        )
        private_urls: bool = Field(
            default=False,
            description="Fetch from http and private addresses too, where the instance may reach them; for one's own servers.",
        )
        max_px: int = Field(
            default=2048,
            ge=0,
            le=16_384,
            description="Long side in pixels that shown images are scaled down to; 0: as is.",
        )
        max_mb: float = Field(default=5.0, ge=0, le=100, description="Megabytes that a shown image may have; 0: as is.")
        strip_exif: bool = Field(default=True, description="Take EXIF, XMP and comments out of shown images.")

    settings: Settings

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._clock = Clock()
        self._cache = ImageCache()
        self.store: ImageStore | None = None

    async def start(self, core: Core, previous: Module | None) -> None:
        missing = missing_packages()
        if missing:
            raise StockyardError(
                "not_supported", f"imageproxy needs packages that are not installed ({', '.join(missing)}): {INSTALL}"
            )
        own = self.settings
        self._clock = core.clock
        if isinstance(previous, ImageProxy):
            self._cache = previous._cache
        private = may_call_private_networks(core.hosted)
        self._vision_fetcher = RemoteMedia(
            allow_private_networks=own.private_urls and private, https_only=not own.private_urls
        )
        self._answer_fetcher = RemoteMedia(allow_private_networks=private)
        self._vision = VisionInputs(self._shape, self._vision_fetcher if own.fetch_remote else None)
        # Links outlive the setting that no more images are kept: those that are there can be opened until they are deleted.
        self.store = ImageStore(core, own.store_days * DAY_S)
        self._answers = ImageAnswerKeeper(self.store if own.store_days else None, self._answer_fetcher, core.clock)

    async def stop(self) -> None:
        await self._vision_fetcher.close()
        await self._answer_fetcher.close()

    async def tick(self) -> None:
        if self.store is not None:
            await asyncio.to_thread(self.store.expire)

    def report(self) -> dict[str, Any]:
        """How many answers are cached, and how often one was given."""
        return {"cached": len(self._cache), "cached_bytes": self._cache.size_bytes, "hits": self._cache.hits}

    def passes(self, x: Exchange) -> bool:
        return x.kind != "images"

    def _check_size(self, x: Exchange) -> None:
        own, req = self.settings, x.req
        count = req.get("n")
        if own.max_n and type(count) is int and count > own.max_n:
            raise StockyardError("size_not_allowed", f"At most {own.max_n} images a request.", param="n")
        size = req.get("size") or "auto"
        if not any(fnmatchcase(str(size), glob) for glob in own.sizes):
            raise StockyardError(
                "size_not_allowed", f"The size {size!r} may not be asked for; use {', '.join(own.sizes)}.", param="size"
            )

    def prepare(self, x: Exchange) -> Coroutine[Any, Any, Answer | None] | None:
        if x.kind == "images":
            self._check_size(x)
            return None
        messages: Any = x.req.get("messages")
        if type(messages) is list and not x.dry:
            for message in messages:
                if type(message) is dict and type(message.get("content")) is list:
                    wanted = self._vision.wanted(messages)
                    return self._fit(x, messages, wanted) if wanted else None
        return None

    async def _fit(self, x: Exchange, messages: list[JSON], wanted: list[tuple[int, int, str]]) -> None:
        """Put the images that are shown in a form that fits."""
        began = self._clock.mono_ns()
        try:
            fitted, images = await self._vision.fit(messages, wanted)
        finally:
            x.waited_ns += self._clock.mono_ns() - began
        for image, (_, _, url) in zip(images, wanted, strict=True):
            if image.changed or not url.startswith("data:"):
                x.note("image", {"in_px": image.in_px, "out_px": image.out_px, "bytes": len(image.data)})
                x.req = {**x.req, "messages": fitted}
                x.change()

    def _shape(self, data: bytes, param: str) -> Shaped:
        own = self.settings
        return shaped(
            data, max_px=own.max_px, max_bytes=round(own.max_mb * (1 << 20)), strip=own.strip_exif, param=param
        )

    async def around(self, x: Exchange, call: Call) -> Answer:
        mode = asked_mode(x)
        key = cache_key(x) if self.settings.cache and not x.stream and mode != "skip" else b""
        if key:
            kept = self._cache.get(key, self._clock.wall_ns()) if mode != "refresh" else None
            if kept is not None:
                x.cache = "hit"
                x.saved_nano = kept.cost_nano
                x.note("cache hit", {"bytes": len(kept.body)})
                return Answer(obj=orjson.loads(kept.body))
            if mode == "only":
                raise StockyardError("cache_miss", "The cache has no such image, and only it was asked.")
            x.cache = "miss"
        wanted = str(x.req.get("response_format") or "")
        self._even_out(x)
        answer = await self._made(x, call)
        if answer.events is not None:
            answer.events = self._answers.events(x, answer.events)
            return answer
        obj = answer.obj
        if answer.status != 200 or obj is None or type(obj.get("data")) is not list:
            return answer
        answer.obj = await self._answers.kept(x, obj, wanted)
        answer.changed = True
        x.measure(images=len(answer.obj["data"]))
        if key:
            x.state["imageproxy"] = (key, answer.obj)
        return answer

    def hooks(self) -> tuple[str, ...]:
        return ("prepare", "around", *(("on_finish",) if self.settings.cache else ()))

    def on_finish(self, x: Exchange) -> None:
        key, obj = x.state.pop("imageproxy", (b"", None))
        if not key or x.status != "ok":
            return
        ttl_s = self.settings.cache_ttl_s
        if self.settings.store_days and any("url" in image for image in obj["data"]):
            ttl_s = min(ttl_s, self.settings.store_days * DAY_S)  # an answer holds no longer than its links
        self._cache.put(key, Kept(exact(orjson.dumps(obj)), x.cost_nano, self._clock.wall_ns() + ttl_s * NS))

    def _even_out(self, x: Exchange) -> None:
        model = x.targets[0].model if x.targets else x.model_requested
        before = x.req
        x.req = evened(before, model)
        if x.req is before:
            return
        x.change()
        form = x.state.get(FORM)
        if form is not None:
            form.parts = [part for part in form.parts if part.is_file or part.name in x.req]
        changed = sorted(name for name in {*before, *x.req} if before.get(name) != x.req.get(name))
        x.note("evened", {"model": model, "fields": changed})

    async def _made(self, x: Exchange, call: Call) -> Answer:
        """The answer; of a model that makes one image a call, as many calls as images are wanted, joined."""
        model = x.targets[0].model if x.targets else ""
        count = x.req.get("n")
        if type(count) is not int or count < 2 or x.stream or not one_at_a_time(model):
            return await call(x)
        whole = x.req
        x.req = {**whole, "n": 1}
        x.change()
        data: list[JSON] = []
        answer = await call(x)
        while answer.obj is not None and answer.status == 200:
            data += answer.obj.get("data") or []
            if len(data) >= count:
                break
            answer = await call(x)
        if answer.obj is not None:
            answer.obj = {**answer.obj, "data": data}
            answer.changed = True
        return answer
