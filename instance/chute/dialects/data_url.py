"""Data URLs, as clients send images in them."""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as BadBase64
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from instance.core.errors import StockyardError


class Media(NamedTuple):
    """Something that is no text: its type (`image/png`) and its bytes in standard base64."""

    mime_type: str
    base64: str


def is_data_url(url: str) -> bool:
    return url[:5].lower() == "data:"


def read_data_url(url: str, param: str) -> Media:
    """What a data URL holds. Raises 400 naming `param` for what is none."""
    head, comma, data = url[5:].partition(",")
    if not comma:
        raise StockyardError("bad_request", "A data URL is `data:<type>;base64,<data>`.", param=param)
    mime_type, _, options = head.partition(";")
    mime_type = mime_type.strip().lower() or "text/plain"
    if "base64" not in options.lower().split(";"):
        return Media(mime_type, b64encode(unquote_to_bytes(data)).decode())
    return Media(mime_type, checked_base64(data, param))


def checked_base64(data: str, param: str) -> str:
    """The data in standard base64 with its padding, whatever alphabet and white space it came with. Raises 400."""
    cleaned = "".join(data.split()).replace("-", "+").replace("_", "/").rstrip("=")
    cleaned += "=" * (-len(cleaned) % 4)
    try:
        b64decode(cleaned, validate=True)
    except (BadBase64, ValueError):
        raise StockyardError("bad_request", "The data is not valid base64.", param=param) from None
    return cleaned
