"""Whose address a call comes from: the peer's, or the one that trusted proxies report."""

from __future__ import annotations

from collections.abc import Iterable

from instance.chute.address_set import AddressSet, read_address

CACHED_PEERS = 4096
HOPS_MAX = 32


class TrustedProxies:
    """The proxies whose word about the client's address is believed. A Unix socket's peer always is one."""

    __slots__ = ("_known", "_networks", "entries")

    def __init__(self, networks: Iterable[str] = ()) -> None:
        self.entries = tuple(networks)
        self._networks = AddressSet(self.entries)
        self._known: dict[str, tuple[str, bool]] = {}

    def look_up(self, text: str) -> tuple[str, bool]:
        """The address in its plain form, and whether it is trusted; `("", False)` when `text` is no address."""
        known = self._known.get(text)
        if known is None:
            address = read_address(text)
            known = ("", False) if address is None else (str(address), self._networks.match(address) is not None)
            if len(self._known) >= CACHED_PEERS:
                self._known.clear()
            self._known[text] = known
        return known


def client_address(peer: tuple[str, int] | None, headers: dict[bytes, bytes], trusted: TrustedProxies) -> str:
    """The caller's address, `""` when it is not known.

    The peer's own, unless it is a trusted proxy (`peer` is `None` on a Unix socket, which is one): then the right-most
    address of `X-Forwarded-For`, else `Forwarded` (RFC 7239), else `X-Real-IP`, that is not a trusted proxy itself.
    An entry that is no address ends the search at the hop that wrote it.
    """
    if peer is None:
        address, believed = "", True
    else:
        address, believed = trusted.look_up(peer[0])
    if not believed:
        return address
    for hop in _hops(headers):
        seen, believed = trusted.look_up(hop)
        if not seen:
            break
        address = seen
        if not believed:
            break
    return address


def _hops(headers: dict[bytes, bytes]) -> list[str]:
    """The reported addresses, nearest proxy first."""
    value = headers.get(b"x-forwarded-for")
    if value:
        return [hop.strip() for hop in reversed(value.decode("latin-1").rsplit(",", HOPS_MAX)[-HOPS_MAX:])]
    value = headers.get(b"forwarded")
    if value:
        return [_forwarded_for(hop) for hop in reversed(value.decode("latin-1").rsplit(",", HOPS_MAX)[-HOPS_MAX:])]
    value = headers.get(b"x-real-ip")
    return [value.decode("latin-1").strip()] if value else []


def _forwarded_for(element: str) -> str:
    for pair in element.split(";"):
        name, _, value = pair.partition("=")
        if name.strip().lower() == "for":
            return value.strip().strip('"')
    return ""
