"""Every bound of the upstream client, in one place."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds per response, per connection and per origin."""

    head_bytes: int = 64 * 1024
    """Status line and headers of one response, interim (1xx) responses included."""
    header_count: int = 200
    """Headers and trailers of one response."""
    response_bytes: int = 1024 * 1024 * 1024
    """Encoded body of one response, streams included."""
    buffered_bytes: int = 256 * 1024
    """Body bytes held for a slow reader before reading from the socket is paused."""
    decoded_block_bytes: int = 64 * 1024
    """The most that one step of decompression may put out."""
    joined_body_bytes: int = 64 * 1024
    """Requests up to this size leave in one write with their head."""
    connections_per_origin: int = 1024
    """Open connections to one origin; callers beyond it wait within their connect timeout."""
    idle_per_origin: int = 128
    """Kept-alive connections to one origin."""
    idle_s: float = 45.0
    """Age at which an unused connection is closed (a shorter `Keep-Alive: timeout` of the server wins)."""
    resolve_ttl_s: float = 30.0
    """How long the addresses of a name are believed."""
    resolve_entries: int = 256
    """Names whose addresses are kept."""
