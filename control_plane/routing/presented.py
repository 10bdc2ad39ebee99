"""Which keys a request carries, wherever the SDKs put them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

KEY_MAX_BYTES = 512
_HEADERS = frozenset([b"x-api-key", b"api-key", b"x-admin-key", b"x-stockyard-key"])


def presented_keys(headers: Iterable[tuple[bytes, bytes]]) -> Iterator[str]:
    """Every key text of the request: bearer token, `x-api-key`, `api-key`, `X-Admin-Key`, `X-Stockyard-Key`.

    Which of them counts on which path is the instance's to say; one that is good is enough to wake it.
    """
    for name, value in headers:
        text = value.strip()
        if name == b"authorization":
            kind, _, text = text.partition(b" ")
            text = text.strip()
            if kind.lower() != b"bearer":
                continue
        elif name not in _HEADERS:
            continue
        if 0 < len(text) <= KEY_MAX_BYTES:
            yield text.decode("latin-1")
