"""OpenAI images: `POST /v1/images/generations`, `/v1/images/edits` and `/v1/images/variations`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from instance.chute.answer import JSON
from instance.chute.dialects.form_operation import FormOperation
from instance.chute.dialects.openai_chat import check_depth, decode, take_model
from instance.chute.dialects.openai_events import EventPasser, PassedEvents
from instance.chute.operation import Operation
from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange
    from instance.core.settings import LimitSettings

IMAGES_MAX = 16
COMPLETED = frozenset(("image_generation.completed", "image_edit.completed"))


class ImageAnswers(Operation):
    """What the three have in common: their answers."""

    name: ClassVar[str] = "image"
    kind: ClassVar[str] = "images"
    dialect: ClassVar[str] = "openai.images"
    answer_max_bytes: ClassVar[int] = 128 << 20
    """Ten large images in base64."""

    def read(self, x: Exchange, raw: bytes) -> JSON:
        answer = super().read(x, raw)
        if not isinstance(answer.get("data"), list):
            raise ValueError("the answer has no images")
        return answer

    def reader(self, x: Exchange) -> PassedEvents:
        return PassedEvents(COMPLETED)

    def encoder(self, x: Exchange) -> EventPasser:
        return EventPasser(self)

    def measure(self, x: Exchange) -> None:
        answer = x.answer
        obj = answer.obj if answer is not None else None
        apart = x.usage.counted()
        if obj is not None:
            apart.images = len(obj["data"])
        elif x.usage.source:  # a stream that was completed; it is charged by tokens
            apart.images = _count(x.req.get("n"))
        if not apart.image_out:
            apart.image_out = x.usage.output
        if not x.usage.source and apart.images is not None:
            x.usage.source = "estimated"


class ImageGeneration(ImageAnswers):
    """Images from a text."""

    path: ClassVar[bytes] = b"/images/generations"

    def take(self, x: Exchange, limits: LimitSettings) -> None:
        req = x.req = decode(x.raw)
        check_depth(x.raw, req, limits.depth)
        x.model_requested = take_model(x, req)
        x.stream = req.get("stream") is True
        x.usage_asked = True
        check_prompt(req)
        check_count(req)


class ImageEdit(ImageAnswers, FormOperation):
    """Images from images and a text; as a form, or as JSON with the images' addresses."""

    path: ClassVar[bytes] = b"/images/edits"
    files: ClassVar[tuple[str, ...]] = ("image",)
    takes_json: ClassVar[bool] = True

    def check(self, x: Exchange) -> None:
        check_prompt(x.req)
        check_count(x.req)


class ImageVariation(ImageAnswers, FormOperation):
    """Images like another."""

    path: ClassVar[bytes] = b"/images/variations"
    files: ClassVar[tuple[str, ...]] = ("image",)

    def check(self, x: Exchange) -> None:
        check_count(x.req)


def check_prompt(req: JSON) -> None:
    """Refuse a request without a text. Raises `bad_request`."""
    prompt = req.get("prompt")
    if not isinstance(prompt, str) or not prompt:
        raise StockyardError("bad_request", "`prompt` says what the image shows.", param="prompt")


def check_count(req: JSON) -> None:
    """Refuse an `n` that cannot be; as text, as forms have it, it becomes a number. Raises `bad_request`."""
    count = req.get("n")
    if isinstance(count, str) and count.isdecimal() and len(count) < 4:
        count = req["n"] = int(count)
    if count is not None and (type(count) is not int or not 1 <= count <= IMAGES_MAX):
        raise StockyardError("bad_request", f"`n` is a whole number from 1 to {IMAGES_MAX}.", param="n")


def _count(value: Any) -> int:
    return value if type(value) is int else 1
