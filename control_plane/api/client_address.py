"""Whose address a request comes from: the peer's, or what trusted proxies in front of the control plane say."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

Address = IPv4Address | IPv6Address
HOPS_MOST = 32
V6_BITS = 64  # of an IPv6 address are its owner's network; the rest is as many addresses as they like


def origin(peer: str, forwarded_for: Sequence[str], trusted: Sequence[str]) -> str:
    """The address, or for IPv6 the network, that limits count by.

    `X-Forwarded-For` is read from its right end for as long as trusted proxies wrote it; anybody else's is ignored.
    """
    address = _read(peer)
    hops = [hop.strip() for each in forwarded_for for hop in each.split(",")][-HOPS_MOST:]
    while hops and address is not None and _is_trusted(address, trusted):
        said = _read(hops.pop())
        if said is None:
            break
        address = said
    if isinstance(address, IPv6Address):
        return str(IPv6Network((address, V6_BITS), strict=False))
    return peer if address is None else str(address)


def _read(text: str) -> Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_trusted(address: Address, trusted: Sequence[str]) -> bool:
    return any(address in ip_network(each, strict=False) for each in trusted)
