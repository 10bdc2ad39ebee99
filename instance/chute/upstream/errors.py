"""What can go wrong between us and a provider, before its answer means anything."""

from typing import Literal

Kind = Literal[
    "blocked_address", "connect", "tls", "connect_timeout", "reset", "bad_response", "too_large", "truncated"
]


class UpstreamError(Exception):
    """A call that got no usable answer.

    `kind` says where it broke. *blocked_address*, *connect*, *tls*, *connect_timeout*: no connection; *reset*: closed
    before the first byte of an answer; *bad_response*: what came is not HTTP; *too_large*: head or body beyond its
    limit; *truncated*: the answer began and was cut short. `sent` is true when the request may have reached the
    provider, so that repeating it may repeat its effect and its cost.
    """

    def __init__(self, kind: Kind, message: str, *, sent: bool = False) -> None:
        super().__init__(message)
        self.kind: Kind = kind
        self.message = message
        self.sent = sent


class BlockedAddress(UpstreamError):
    """The name led to an address that this instance refuses to call. Nothing was sent."""

    def __init__(self, address: str) -> None:
        super().__init__(
            "blocked_address", f"address {address} is refused: private and special networks are not allowed here"
        )
        self.address = address
