"""Which addresses an instance may call."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from instance.chute.upstream import BlockedAddress, Upstream
from instance.core.address_policy import AddressPolicy, is_public
from tests.chute.upstream_calls import post
from tests.mock_upstream import MockUpstream

REFUSED_V4_AND_V6 = """
0.0.0.0 10.1.2.3 100.64.0.1 100.100.100.200 127.0.0.1 127.8.8.8 169.254.169.254 172.16.0.1 172.31.255.255 192.0.0.192
192.168.1.1 192.88.99.1 198.18.0.1 192.0.2.1 203.0.113.9 224.0.0.1 240.0.0.1 255.255.255.255 168.63.129.16
:: ::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 ::ffff:169.254.169.254 ::7f00:1 64:ff9b::a00:1 64:ff9b::7f00:1 64:ff9b:1::1
2002:7f00:1:: 2002:a9fe:a9fe:: 2001::1 fe80::1 fe80::1%eth0 fec0::1 fc00::1 fd00:ec2::254 ff02::1 2001:db8::1
3fff::1 5f00::1 100::1 2001:20::1
2606:4700::1%eth0 localhost example.com 1.1.1 0x7f.1
"""


@pytest.mark.parametrize("address", REFUSED_V4_AND_V6.split())
def test_addresses_off_the_public_internet_are_refused(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "104.18.6.192", "2606:4700::6812:7c0", "::ffff:1.1.1.1", "64:ff9b::101:101"]
)
def test_public_addresses_are_allowed(address):
    assert is_public(address)


@given(st.ip_addresses(v=4))
def test_an_address_inside_ipv6_is_judged_as_itself(address):
    assert is_public(f"::ffff:{address}") == is_public(str(address))


def test_a_self_hosted_instance_calls_what_its_owner_names():
    assert AddressPolicy(allow_private=True).allows("127.0.0.1")
    assert not AddressPolicy(allow_private=False).allows("127.0.0.1")


@pytest.mark.parametrize("answers", [["127.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254", "10.0.0.1"]])
async def test_a_public_name_that_leads_to_a_private_address_is_not_called(answers):
    async with MockUpstream() as server:

        async def resolver(host: str, port: int) -> list[str]:
            return answers

        client = Upstream(allow_private_networks=False, resolver=resolver)
        with pytest.raises(BlockedAddress) as caught:
            await post(client, f"http://api.public.example:{server.port}/v1")
        assert (caught.value.kind, caught.value.sent) == ("blocked_address", False)
        assert server.connections == 0
        await client.close()


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost", "2130706433", "0x7f000001", "127.1"])
async def test_every_spelling_of_loopback_is_refused(host):
    async with MockUpstream() as server:
        client = Upstream(allow_private_networks=False)
        with pytest.raises(BlockedAddress):
            await post(client, f"http://{host}:{server.port}/v1")
        assert server.connections == 0
        await client.close()


async def test_a_name_that_changes_its_address_is_judged_by_what_is_connected_to():
    answers = iter([["127.0.0.1"], ["127.0.0.1"]])

    async def resolver(host: str, port: int) -> list[str]:
        return next(answers)

    client = Upstream(allow_private_networks=False, resolver=resolver)
    for _ in range(2):
        with pytest.raises(BlockedAddress):
            await post(client, "http://rebinding.example/v1")
    await client.close()
