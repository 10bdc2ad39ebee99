import pytest

from instance.chute.address_set import AddressSet, read_address
from instance.chute.client_address import CACHED_PEERS, TrustedProxies, client_address

NOBODY = TrustedProxies()
TEN = TrustedProxies(["10.0.0.0/8", "::1"])


def forwarded(value: bytes) -> dict[bytes, bytes]:
    return {b"x-forwarded-for": value}


def test_the_peer_is_the_caller() -> None:
    assert client_address(("192.0.2.1", 5), {}, NOBODY) == "192.0.2.1"


def test_a_faked_header_of_an_untrusted_peer_changes_nothing() -> None:
    assert client_address(("192.0.2.1", 5), forwarded(b"1.2.3.4"), TEN) == "192.0.2.1"


def test_the_right_most_address_that_is_no_trusted_proxy_is_the_caller() -> None:
    assert client_address(("10.0.0.9", 5), forwarded(b"6.6.6.6, 1.2.3.4, 10.0.0.1"), TEN) == "1.2.3.4"


def test_when_all_are_trusted_the_furthest_is_the_caller() -> None:
    assert client_address(("10.0.0.9", 5), forwarded(b"10.0.0.7, 10.0.0.8"), TEN) == "10.0.0.7"


def test_a_unix_sockets_peer_is_trusted() -> None:
    assert client_address(None, forwarded(b"1.2.3.4"), NOBODY) == "1.2.3.4"
    assert client_address(None, {}, NOBODY) == ""


def test_ipv4_in_ipv6_counts_as_ipv4() -> None:
    assert client_address(("::ffff:10.0.0.1", 5), forwarded(b"::ffff:1.2.3.4"), TEN) == "1.2.3.4"


@pytest.mark.parametrize("value", [b"nonsense", b"1.2.3.4, nonsense", b"", b",,"])
def test_what_is_no_address_ends_the_search(value: bytes) -> None:
    assert client_address(("10.0.0.1", 5), forwarded(value), TEN) == "10.0.0.1"


@pytest.mark.parametrize(
    ("value", "address"),
    [
        (b"for=1.2.3.4", "1.2.3.4"),
        (b'for="1.2.3.4:4711";proto=https, for=10.0.0.3', "1.2.3.4"),
        (b'For="[2001:db8::17]:4711"', "2001:db8::17"),
        (b"for=unknown", "10.0.0.1"),
    ],
)
def test_the_standard_header_is_read(value: bytes, address: str) -> None:
    assert client_address(("10.0.0.1", 5), {b"forwarded": value}, TEN) == address


def test_x_real_ip_is_read_when_there_is_nothing_else() -> None:
    assert client_address(("10.0.0.1", 5), {b"x-real-ip": b"1.2.3.4"}, TEN) == "1.2.3.4"


def test_a_long_chain_of_hops_is_cut() -> None:
    hops = b", ".join([b"10.0.0.1"] * 100_000)
    assert client_address(("10.0.0.1", 5), forwarded(b"1.2.3.4, " + hops), TEN) == "10.0.0.1"


def test_known_peers_are_bounded() -> None:
    trusted = TrustedProxies()
    for number in range(CACHED_PEERS + 10):
        trusted.look_up(f"10.0.{number >> 8}.{number & 255}")
    assert len(trusted._known) <= CACHED_PEERS


def test_the_narrowest_network_is_named() -> None:
    networks = AddressSet(["10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32", "0.0.0.0/0"])
    for text, entry in [
        ("10.1.2.3", "10.1.0.0/16"),
        ("10.2.0.1", "10.0.0.0/8"),
        ("2001:db8::5", "2001:db8::/32"),
        ("9.9.9.9", "0.0.0.0/0"),
    ]:
        address = read_address(text)
        assert address is not None
        assert networks.match(address) == entry
    other = read_address("2001:db9::1")
    assert other is not None and networks.match(other) is None
