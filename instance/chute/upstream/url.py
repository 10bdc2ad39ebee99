"""A provider's base URL, taken apart once and kept ready for the wire."""

from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}
REMEMBERED = 256  # base URLs that are kept taken apart; the bundled providers have a hundred


@dataclass(frozen=True, slots=True)
class UpstreamUrl:
    """Where requests go: an origin and the path that every request path is appended to."""

    text: str
    scheme: str
    host: str
    port: int
    base_path: bytes
    origin: str
    fixed_headers: bytes
    """`host` and `accept-encoding` lines: part of every request to this URL."""

    @classmethod
    @lru_cache(maxsize=REMEMBERED)
    def parse(cls, text: str) -> "UpstreamUrl":
        """The parts of `text`, like `https://api.openai.com/v1`.

        Raises ValueError, in words for the person who typed it, for another scheme, user names, queries, fragments,
        and hosts or ports that cannot be.
        """
        if any(character <= " " or character == "\x7f" for character in text):
            raise ValueError("a base URL has no spaces or control characters")
        parts = urlsplit(text)
        if parts.scheme not in _PORTS:
            raise ValueError("a base URL starts with http:// or https://")
        if parts.username is not None or parts.password is not None:
            raise ValueError("a base URL holds no user name or password; give the key as api_key")
        if parts.query or parts.fragment:
            raise ValueError("a base URL has no query or fragment")
        host = _ascii_host(parts.hostname)
        port = parts.port or _PORTS[parts.scheme]
        shown = f"[{host}]" if ":" in host else host
        host_header = shown if port == _PORTS[parts.scheme] else f"{shown}:{port}"
        base_path = parts.path.rstrip("/")
        return cls(
            text=f"{parts.scheme}://{host_header}{base_path}",
            scheme=parts.scheme,
            host=host,
            port=port,
            base_path=base_path.encode("ascii", "strict") if base_path.isascii() else _refuse_path(),
            origin=f"{parts.scheme}://{shown}:{port}",
            fixed_headers=f"host: {host_header}\r\naccept-encoding: identity\r\n".encode("ascii"),
        )


def _ascii_host(host: str | None) -> str:
    if not host:
        raise ValueError("a base URL names a host")
    try:
        return host if ":" in host else host.encode("idna").decode("ascii")
    except UnicodeError as error:
        raise ValueError(f"{host!r} is not a host name") from error


def _refuse_path() -> bytes:
    raise ValueError("the path of a base URL is percent-encoded ASCII")
