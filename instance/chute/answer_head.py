"""What the request decides of its answer's head, made while the provider is waited for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from instance.chute.exchange import Exchange


def head_lines(x: Exchange) -> bytes:
    """The lines of an answer's head that its request decides."""
    request_id = x.request_id.encode()
    return b"content-type: application/json\r\nx-stockyard-trace-id: %b\r\nx-request-id: %b\r\nrequest-id: %b\r\n" % (
        x.id.encode(),
        request_id,
        request_id,
    )
