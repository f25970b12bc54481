"""IP addresses and networks, as they are written in rules, settings and URIs."""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def address_of(host: str) -> Address:
    """Read an IP address; IPv4 within IPv6 is returned as IPv4. IPv6 is written without brackets.

    @raise ValueError: it is not an IP address.
    """
    address = ipaddress.ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def is_address(host: str) -> bool:
    """Whether a host is an IP address and not a name. IPv6 is written without brackets."""
    try:
        address_of(host)
    except ValueError:
        return False
    return True


def is_in(host: str, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of some networks. IPv4 within IPv6 counts as IPv4.

    @raise ValueError: the host is not an IP address.
    """
    address = address_of(host)
    return any(address in network for network in networks)


@lru_cache(4096)
def is_loopback(host: str) -> bool:
    """Whether a client on this machine may have a host as its address: it is a loopback address, or not an IP
    address.
    """
    try:
        return address_of(host).is_loopback
    except ValueError:
        return True
