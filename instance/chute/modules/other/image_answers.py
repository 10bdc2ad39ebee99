"""Images on their way to the caller: kept here, and told of in the form that was asked for."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from typing import TYPE_CHECKING, Any

from instance.chute.answer import JSON
from instance.chute.dialects.openai_images import COMPLETED
from instance.chute.stream import encode_event
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from instance.chute.answer import Delta
    from instance.chute.exchange import Exchange
    from instance.chute.modules.other.image_store import ImageStore
    from instance.chute.remote_media import RemoteMedia
    from instance.core.clock import Clock

IMAGE_MAX_BYTES = 64 << 20
LINK_PATH = "/api/proxy/images/"


class ImageAnswerKeeper:
    """Stores what providers made. `store` is `None` where nothing is kept: then only the form is seen to."""

    def __init__(self, store: ImageStore | None, fetcher: RemoteMedia, clock: Clock) -> None:
        self._store = store
        self._fetcher = fetcher
        self._clock = clock

    async def kept(self, x: Exchange, obj: JSON, wanted: str) -> JSON:
        """The answer with each image stored, as `url` or `b64_json`, whichever is `wanted`; empty: as the provider gave it."""
        data = [await self._one(x, image, wanted) for image in obj.get("data") or ()]
        return {**obj, "data": data}

    async def events(self, x: Exchange, events: AsyncIterator[list[Delta]]) -> AsyncIterator[list[Delta]]:
        """A stream of partial images as it is; the final ones are stored."""
        async for batch in events:
            for delta in batch:
                obj = delta.obj
                if obj is not None and obj.get("type") in COMPLETED and self._store is not None:
                    kept = await self._one(x, {"b64_json": obj.get("b64_json")}, "url")
                    if "url" in kept:
                        obj["url"] = kept["url"]
                        delta.raw = b"event: %b\n%b" % (obj["type"].encode(), encode_event(obj))
            yield batch

    async def _one(self, x: Exchange, image: Any, wanted: str) -> Any:
        if type(image) is not dict:
            return image
        wanted = wanted or ("b64_json" if image.get("b64_json") else "url")
        if self._store is None and image.get(wanted):
            return image
        try:
            data = await self._data(image)
            shown = {name: value for name, value in image.items() if name not in ("url", "b64_json")}
            if wanted == "b64_json":
                shown["b64_json"] = image.get("b64_json") or b64encode(data).decode()
            if self._store is not None:
                name = await asyncio.to_thread(self._store.put, data)
                if wanted == "url":
                    shown["url"] = base_of(x) + LINK_PATH + self._store.link(name, self._clock.wall_ns() / 1e9)
                x.note("image", {"stored": name, "bytes": len(data)}, module="imageproxy", hook="around")
            if wanted == "url" and "url" not in shown:
                return image
            return shown
        except (StockyardError, OSError, ValueError, BadBase64) as problem:
            # The caller still has what the provider gave; only the copy is missing.
            x.note("not_stored", {"error": str(problem)[:300]}, module="imageproxy", hook="around")
            return image

    async def _data(self, image: JSON) -> bytes:
        encoded = image.get("b64_json")
        if encoded:
            return b64decode(encoded)
        media = await self._fetcher.fetch(str(image.get("url") or ""), "data", IMAGE_MAX_BYTES)
        return b64decode(media.base64)


def base_of(x: Exchange) -> str:
    """Where the caller reached this instance, as its own headers and the edge's say."""
    headers = x.headers
    host = headers.get(b"x-forwarded-host") or headers.get(b"host") or b""
    if not host:
        return ""
    scheme = "https" if headers.get(b"x-forwarded-proto", b"").split(b",")[0].strip() == b"https" else "http"
    prefix = headers.get(b"x-forwarded-prefix", b"").rstrip(b"/").decode("latin-1")
    return f"{scheme}://{host.decode('latin-1')}{prefix}"
