"""Only addresses of the public internet are public, whatever form they hide in."""

import ipaddress
from ipaddress import IPv4Network, IPv6Network, ip_address

import pytest

from storage.addresses import is_public

PUBLIC = ["1.1.1.1", "8.8.8.8", "93.184.216.34", "100.63.255.255", "100.128.0.0", "168.63.129.15", "168.63.129.17",
          "172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0",
          "223.255.255.255", "2606:4700::1111", "2a00:1450:4001::200e", "2001:4860:4860::8888", "2001:200::1",
          "2003::1", "2400::1"]

NOT_PUBLIC = {
    "this host": ["0.0.0.0", "0.0.0.1", "0.255.255.255", "::"],
    "loopback": ["127.0.0.1", "127.0.0.53", "127.255.255.255", "::1"],
    "private": ["10.0.0.0", "10.255.255.255", "172.16.0.0", "172.31.255.255", "192.168.0.0", "192.168.255.255"],
    "carriers": ["100.64.0.0", "100.100.100.200", "100.127.255.255"],
    "link local and metadata": ["169.254.0.0", "169.254.169.254", "169.254.170.2", "169.254.255.255", "fe80::1",
                                "febf::1", "fd00:ec2::254"],
    "a cloud's own": ["168.63.129.16", "192.0.0.192"],
    "protocol assignments": ["192.0.0.0", "192.0.0.8", "192.0.0.9", "192.0.0.170", "192.0.0.255", "2001:2::1",
                             "2001:20::1", "2001:1ff:ffff::1"],
    "documentation": ["192.0.2.1", "198.51.100.7", "203.0.113.255", "2001:db8::1", "3fff::1", "3fff:fff::1"],
    "benchmarks": ["198.18.0.0", "198.19.255.255"],
    "anycast of services": ["192.31.196.1", "192.52.193.1", "192.88.99.1", "192.175.48.1", "2620:4f:8000::1"],
    "multicast": ["224.0.0.1", "239.255.255.255", "ff02::1", "ff0e::1"],
    "reserved": ["240.0.0.1", "255.255.255.254", "255.255.255.255", "3ffe::1", "4000::1", "5f00::1", "100::1"],
    "unique and site local": ["fc00::1", "fdff::1", "fec0::1", "feff::1"],
    "IPv4 inside, private": ["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1",
                             "64:ff9b:1::a00:1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "2001:0:7f00:1::",
                             "2606:4700::5efe:7f00:1", "2606:4700::200:5efe:a00:1", "::ffff:0:127.0.0.1"],
    "IPv4 inside, even public": ["::ffff:8.8.8.8", "::8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"],
    "one network's": ["fe80::1%1", "2606:4700::1111%1"],
}


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_of_the_public_internet_is_public(address: str) -> None:
    assert is_public(ip_address(address))


@pytest.mark.parametrize("address", [one for kind in NOT_PUBLIC.values() for one in kind])
def test_every_other_address_is_not(address: str) -> None:
    assert not is_public(ip_address(address))


def test_nothing_is_public_here_that_python_knows_to_be_private() -> None:
    private: list[IPv4Network | IPv6Network] = [
        *ipaddress._IPv4Constants._private_networks,  # type: ignore[attr-defined]
        *ipaddress._IPv6Constants._private_networks]  # type: ignore[attr-defined]
    assert len(private) > 20
    assert [network for network in private
            if is_public(network.network_address) or is_public(network.broadcast_address)] == []
