"""IP addresses and networks: read from text, and found again fast."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

Address = IPv4Address | IPv6Address

CACHED_ADDRESSES = 8192


@lru_cache(CACHED_ADDRESSES)
def read_address(text: str) -> Address | None:
    """The address in `text`, `None` when there is none. IPv4-mapped IPv6 counts as IPv4; zone, port and brackets are dropped."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class AddressSet:
    """Addresses and CIDR networks with a lookup whose cost does not grow with their number.

    Networks are kept by prefix length: one probe for each length that occurs, longest first. Raises ValueError, naming
    the entry, for what is neither an address nor a network.
    """

    __slots__ = ("_by_length", "_entries")

    def __init__(self, entries: Iterable[str]) -> None:
        by_length: dict[tuple[int, int], dict[int, str]] = {}
        self._entries = 0
        for entry in entries:
            try:
                network = ip_network(entry.strip(), strict=False)
            except ValueError:
                raise ValueError(f"{entry!r} is neither an IP address nor a network like 10.0.0.0/8") from None
            version, length, number = network.version, network.prefixlen, int(network.network_address)
            if version == 6 and length >= 96 and number >> 32 == 0xFFFF:
                version, length, number = 4, length - 96, number & 0xFFFF_FFFF
            size = 32 if version == 4 else 128
            by_length.setdefault((version, length), {})[number >> (size - length)] = entry
            self._entries += 1
        self._by_length = [
            (version, (32 if version == 4 else 128) - length, networks)
            for (version, length), networks in sorted(by_length.items(), reverse=True)
        ]

    def __len__(self) -> int:
        return self._entries

    def match(self, address: Address) -> str | None:
        """The narrowest entry that holds the address, as it was written; `None` when none does."""
        version, number = address.version, int(address)
        for of_version, host_bits, networks in self._by_length:
            if of_version == version:
                entry = networks.get(number >> host_bits)
                if entry is not None:
                    return entry
        return None
