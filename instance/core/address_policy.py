"""Which addresses an instance may call.

A hosted instance must not be a way into the host's or the operator's networks: only public addresses are allowed. A
self-hosted one calls what its owner names, such as Ollama on the same machine.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

_REFUSED_V4 = (
    IPv4Network("168.63.129.16/32"),  # Azure's host agent: a public number that is not on the public internet
    IPv4Network("192.0.0.0/24"),  # IETF protocol assignments (RFC 6890); a metadata service lives there too
    IPv4Network("192.88.99.0/24"),  # 6to4 relays (RFC 7526)
)
_UNICAST_V6 = IPv6Network("2000::/3")  # all that is given out to networks of the internet (RFC 4291)
_REFUSED_V6 = (
    IPv6Network("2001::/23"),  # IETF protocol assignments (RFC 2928), Teredo among them
    IPv6Network("2002::/16"),  # 6to4: a tunnel to the IPv4 address written inside (RFC 3056)
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
)
_NAT64 = IPv6Network("64:ff9b::/96")


def is_public(address: str) -> bool:
    """Whether an address, as text, is reached through the public internet.

    False for private, shared (CGNAT), loopback, link-local (metadata services), multicast, documentation, benchmark
    and reserved ranges, for IPv6 forms that carry such an IPv4 address, and for what is not an address.
    """
    try:
        parsed = ip_address(address)
    except ValueError:
        return False
    return _public_v4(parsed) if isinstance(parsed, IPv4Address) else _public_v6(parsed)


def _public_v4(address: IPv4Address) -> bool:
    return address.is_global and not address.is_multicast and not any(address in network for network in _REFUSED_V4)


def _public_v6(address: IPv6Address) -> bool:
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return _public_v4(address.ipv4_mapped)
    if address in _NAT64:
        return _public_v4(IPv4Address(int(address) & 0xFFFFFFFF))
    return address in _UNICAST_V6 and address.is_global and not any(address in network for network in _REFUSED_V6)


class AddressPolicy:
    """Judges the address that is about to be connected to."""

    __slots__ = ("_allow_private",)

    def __init__(self, *, allow_private: bool) -> None:
        self._allow_private = allow_private

    def allows(self, address: str) -> bool:
        return self._allow_private or is_public(address)
