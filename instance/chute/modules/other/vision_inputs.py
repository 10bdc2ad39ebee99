"""The images in the messages of a chat: found, fetched, made fit, and put back as data URLs."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

from instance.chute.answer import JSON
from instance.chute.dialects.data_url import is_data_url, read_data_url
from instance.chute.modules.other.image_shaping import Shaped
from instance.chute.remote_media import RemoteMedia
from instance.core.errors import StockyardError

FETCH_MAX_BYTES = 32 << 20
IMAGES_MAX = 64
"""Images of one call."""
AT_ONCE = 2
"""Images that are unpacked at the same time, of all calls: each may take hundreds of megabytes."""

Shape = Callable[[bytes, str], Shaped]
"""`(data, param)`; runs on a thread."""


class VisionInputs:
    """Makes images fit. `fetcher` is `None` where addresses are left to the provider."""

    def __init__(self, shape: Shape, fetcher: RemoteMedia | None) -> None:
        self._shape = shape
        self._fetcher = fetcher
        self._gate = asyncio.Semaphore(AT_ONCE)

    def wanted(self, messages: Any) -> list[tuple[int, int, str]]:
        """Message, part and address of each image that is to be looked at."""
        found: list[tuple[int, int, str]] = []
        for number, message in enumerate(messages if type(messages) is list else ()):
            content = message.get("content") if type(message) is dict else None
            if type(content) is not list:
                continue
            for place, part in enumerate(content):
                if type(part) is not dict or part.get("type") != "image_url":
                    continue
                image = part.get("image_url")
                url = image.get("url") if type(image) is dict else image
                if type(url) is str and (self._fetcher is not None or is_data_url(url)):
                    found.append((number, place, url))
        return found

    async def fit(self, messages: list[JSON], wanted: list[tuple[int, int, str]]) -> tuple[list[JSON], list[Shaped]]:
        """The messages with their images made fit, and what became of each; the given list stays.

        Raises `image_invalid`, `image_too_large`, `image_url_forbidden`, each naming the part.
        """
        if len(wanted) > IMAGES_MAX:
            raise StockyardError("image_too_large", f"A call may hold at most {IMAGES_MAX} images.", param="messages")
        images = await _together([self._one(url, f"messages[{n}].content[{p}]") for n, p, url in wanted])
        fitted = list(messages)
        for (number, place, url), image in zip(wanted, images, strict=True):
            if not image.changed and is_data_url(url):
                continue
            message = dict(fitted[number])
            content = list(message["content"])
            part = dict(content[place])
            data_url = f"data:{image.mime_type};base64,{b64encode(image.data).decode()}"
            old = part["image_url"]
            part["image_url"] = {**old, "url": data_url} if type(old) is dict else {"url": data_url}
            content[place] = part
            message["content"] = content
            fitted[number] = message
        return fitted, images

    async def _one(self, url: str, param: str) -> Shaped:
        if is_data_url(url):
            try:
                media = read_data_url(url, param)
            except StockyardError as error:
                raise StockyardError("image_invalid", error.message, param=param) from None
        else:
            media = await self._fetched(url, param)
        async with self._gate:
            return await asyncio.to_thread(lambda: self._shape(b64decode(media.base64), param))

    async def _fetched(self, url: str, param: str) -> Any:
        assert self._fetcher is not None
        try:
            return await self._fetcher.fetch(url, param, FETCH_MAX_BYTES)
        except StockyardError as error:
            if error.code == "blocked_address":
                raise StockyardError(
                    "image_url_forbidden",
                    "Images are fetched from public https addresses only; send this one as a data URL.",
                    param=param,
                ) from error
            code = "image_too_large" if error.code == "body_too_large" else "image_invalid"
            raise StockyardError(code, error.message, param=param) from error


async def _together(work: list[Any]) -> list[Shaped]:
    """All of it; when one fails the others are given up."""
    tasks = [asyncio.ensure_future(each) for each in work]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
