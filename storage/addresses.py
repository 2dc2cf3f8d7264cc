"""Which IP addresses a document may make us talk to: those of the public internet, by a list of all that are not.

The lists are the IANA special-purpose address registries (RFC 6890 and its updates) and what they do not hold.
`ipaddress.is_global` is not enough: on Python 3.11 it is true for multicast, 6to4, NAT64, IPv4-compatible addresses
and 192.0.0.8 (spec/reliability.md 0.10, 3.2).
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address

_NOT_PUBLIC_4 = tuple(IPv4Network(network) for network in (
    "0.0.0.0/8",           # this network, RFC 791; connecting to 0.0.0.0 reaches this host
    "10.0.0.0/8",          # private, RFC 1918
    "100.64.0.0/10",       # shared by carriers, RFC 6598; some clouds' metadata
    "127.0.0.0/8",         # loopback, RFC 1122
    "169.254.0.0/16",      # link local, RFC 3927; most clouds' metadata
    "172.16.0.0/12",       # private, RFC 1918
    "192.0.0.0/24",        # protocol assignments, RFC 6890; a cloud's metadata
    "192.0.2.0/24",        # documentation, RFC 5737
    "192.31.196.0/24",     # AS112, RFC 7535
    "192.52.193.0/24",     # multicast tunnels, RFC 7450
    "192.88.99.0/24",      # 6to4 relays, RFC 7526
    "192.168.0.0/16",      # private, RFC 1918
    "192.175.48.0/24",     # AS112, RFC 7534
    "198.18.0.0/15",       # benchmarks, RFC 2544
    "198.51.100.0/24",     # documentation, RFC 5737
    "203.0.113.0/24",      # documentation, RFC 5737
    "224.0.0.0/4",         # multicast, RFC 5771
    "240.0.0.0/4",         # reserved and broadcast, RFC 1112, RFC 919
    "168.63.129.16/32",    # Azure's services on each host, in no registry: learn.microsoft.com "What is 168.63.129.16"
))
_GLOBAL_UNICAST = IPv6Network("2000::/3")
"""All that RFC 4291 and IANA give to hosts. Outside of it lie loopback, link local, site local (RFC 3879), unique local
(RFC 4193), multicast, and the forms that carry an IPv4 address: mapped, compatible, NAT64 (RFC 6052, RFC 8215)."""
_NOT_PUBLIC_6 = tuple(IPv6Network(network) for network in (
    "2001::/23",           # protocol assignments, RFC 2928: Teredo, benchmarks, ORCHID, …
    "2001:db8::/32",       # documentation, RFC 3849
    "2002::/16",           # 6to4, RFC 3056: carries an IPv4 address
    "2620:4f:8000::/48",   # AS112, RFC 7534
    "3ffe::/16",           # the 6bone's, given back, RFC 3701
    "3fff::/20",           # documentation, RFC 9637
))
_ISATAP = (0x00005EFE, 0x02005EFE)  # upper half of an interface identifier that carries an IPv4 address, RFC 5214


def is_public(address: Address) -> bool:
    """Whether `address` belongs to the public internet. What carries another address in it does not, whatever that is.

    Not to be told from the number: a NAT64 with a prefix of its own, and public addresses that answer differently from
    inside a network. For those the firewall stands.
    """
    if isinstance(address, IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    return (address in _GLOBAL_UNICAST and address.scope_id is None
            and not any(address in network for network in _NOT_PUBLIC_6)
            and (int(address) >> 32) & 0xFFFFFFFF not in _ISATAP)
