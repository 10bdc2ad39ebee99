"""A picture made fit for any provider: turned upright, without what it tells of place and device, small enough, in a usual format.

Needs Pillow, and for HEIC pillow-heif (the extra `images`); both are imported at the first picture. For worker threads.
"""

from __future__ import annotations

import io
from importlib.util import find_spec
from typing import TYPE_CHECKING, NamedTuple

from instance.core.errors import StockyardError

if TYPE_CHECKING:
    from PIL.Image import Image

INSTALL = "pip install 'stockyard[images]'"
NEEDED = ("PIL", "pillow_heif")
PIXELS_MAX = 100_000_000
"""A picture with more is refused before it is unpacked."""
PASSED = {"JPEG": "image/jpeg", "PNG": "image/png", "GIF": "image/gif", "WEBP": "image/webp"}
"""Formats that every provider of vision takes; others are made a JPEG."""
QUALITIES = (90, 80, 70, 55, 40)
SHRINK = 0.75
SHRINKS_MAX = 8
ORIENTATION = 0x0112
PRIVATE_CHUNKS = (b"eXIf", b"tEXt", b"iTXt", b"zTXt", b"tIME")


class Shaped(NamedTuple):
    """The picture as it is sent, and the long sides before and after."""

    data: bytes
    mime_type: str
    in_px: int
    out_px: int
    changed: bool


def missing_packages() -> list[str]:
    """What of the extra is not installed."""
    return [name for name in NEEDED if find_spec(name) is None]


def shaped(data: bytes, *, max_px: int, max_bytes: int, strip: bool, param: str) -> Shaped:
    """The picture within the limits. Raises `image_invalid` for what is none, `image_too_large` for what cannot be made to fit."""
    image = _opened(data, param)
    form = image.format or ""
    long_side = max(image.size)
    oversized = bool(max_px) and long_side > max_px
    needs_pixels = oversized or form not in PASSED or (bool(max_bytes) and len(data) > max_bytes)
    if not needs_pixels and strip and form in ("JPEG", "PNG", "WEBP") and _tells(image):
        lossless = _without_metadata(data, form) if image.getexif().get(ORIENTATION, 1) == 1 else None
        if lossless is not None:
            return Shaped(lossless, PASSED[form], long_side, long_side, True)
        needs_pixels = True
    if not needs_pixels:
        return Shaped(data, PASSED[form], long_side, long_side, False)
    return _written_anew(image, form, max_px=max_px, max_bytes=max_bytes, strip=strip, param=param)


def _opened(data: bytes, param: str) -> Image:
    from PIL import Image, UnidentifiedImageError
    from pillow_heif import register_heif_opener

    register_heif_opener()
    try:
        image = Image.open(io.BytesIO(data))
    except Image.DecompressionBombError:
        raise _too_many_pixels(param) from None
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):
        raise _invalid(param) from None
    if image.width * image.height > PIXELS_MAX:
        raise _too_many_pixels(param)
    return image


def _written_anew(image: Image, form: str, *, max_px: int, max_bytes: int, strip: bool, param: str) -> Shaped:
    from PIL import Image as Images
    from PIL import ImageOps

    long_side = max(image.size)
    try:
        if form == "JPEG" and max_px:
            image.draft("RGB", (max_px, max_px))  # unpacks no more of it than is needed
        image.load()
    except (OSError, ValueError, SyntaxError):
        raise _invalid(param) from None
    exif = None if strip else image.info.get("exif")
    if strip:
        image = ImageOps.exif_transpose(image)
    if max_px and max(image.size) > max_px:
        image.thumbnail((max_px, max_px), Images.Resampling.LANCZOS)
    keeps_png = form in ("PNG", "GIF", "WEBP") and _has_alpha(image)
    for _ in range(SHRINKS_MAX):
        for quality in QUALITIES:
            data = _encoded(image, png=keeps_png, quality=quality, exif=exif)
            if not max_bytes or len(data) <= max_bytes:
                kind = "image/png" if keeps_png else "image/jpeg"
                return Shaped(data, kind, long_side, max(image.size), True)
            if keeps_png:
                break
        image = image.resize((max(1, int(image.width * SHRINK)), max(1, int(image.height * SHRINK))))
    raise StockyardError("image_too_large", f"The image cannot be made smaller than {max_bytes} bytes.", param=param)


def _encoded(image: Image, *, png: bool, quality: int, exif: bytes | None) -> bytes:
    out = io.BytesIO()
    more = {"exif": exif} if exif else {}
    if png:
        image.convert("RGBA").save(out, "PNG", optimize=True, **more)
    else:
        _on_white(image).save(out, "JPEG", quality=quality, optimize=True, **more)
    return out.getvalue()


def _on_white(image: Image) -> Image:
    from PIL import Image as Images

    if not _has_alpha(image):
        return image.convert("RGB")
    layer = image.convert("RGBA")
    ground = Images.new("RGB", layer.size, "white")
    ground.paste(layer, mask=layer.getchannel("A"))
    return ground


def _has_alpha(image: Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info


def _tells(image: Image) -> bool:
    """Whether it carries words about itself: EXIF, XMP, comments."""
    info = image.info
    return bool(
        info.get("exif")
        or info.get("xmp")
        or info.get("XML:com.adobe.xmp")
        or info.get("comment")
        or info.get("photoshop")
        or image.getexif()
        or getattr(image, "text", None)
    )


def _without_metadata(data: bytes, form: str) -> bytes | None:
    """The file without its words and with its pixels as they are; `None` where it must be written anew for that."""
    if form == "JPEG":
        return _jpeg_without_metadata(data)
    return _png_without_metadata(data) if form == "PNG" else None


def _jpeg_without_metadata(data: bytes) -> bytes | None:
    """Without APP1 (EXIF, XMP), APP13 (IPTC) and comments. ITU-T T.81, B.1.1.4: segments up to the start of scan."""
    kept = [data[:2]]
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xDA:
            return b"".join([*kept, data[at:]])
        size = 2 + int.from_bytes(data[at + 2 : at + 4])
        if marker not in (0xE1, 0xED, 0xFE):
            kept.append(data[at : at + size])
        at += size
    return None


def _png_without_metadata(data: bytes) -> bytes | None:
    """Without the chunks for words, time and EXIF. PNG, 5.3: length, type, data, checksum."""
    kept = [data[:8]]
    at = 8
    while at + 12 <= len(data):
        size = 12 + int.from_bytes(data[at : at + 4])
        kind = data[at + 4 : at + 8]
        if kind not in PRIVATE_CHUNKS:
            kept.append(data[at : at + size])
        at += size
        if kind == b"IEND":
            return b"".join(kept)
    return None


def _invalid(param: str) -> StockyardError:
    return StockyardError("image_invalid", "What is sent as an image is none that can be read.", param=param)


def _too_many_pixels(param: str) -> StockyardError:
    return StockyardError("image_too_large", f"The image has more than {PIXELS_MAX:,} pixels.", param=param)
