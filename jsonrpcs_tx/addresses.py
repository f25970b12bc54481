"""IP addresses and networks, as they are written in rules, settings and URIs."""

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import TypeAlias

Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network


def is_address(host: str) -> bool:
    """Whether a host is an IP address and no name; one of IPv6 stands without brackets."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def is_in(host: str, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of some networks; one of IPv4 within IPv6 counts as IPv4.

    @raise ValueError: it is none.
    """
    address = ipaddress.ip_address(host)
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return any((mapped or address) in network for network in networks)


@lru_cache(4096)
def is_loopback(host: str) -> bool:
    """Whether an address is one of this machine's own, so that anybody on it may have it; also where it is none."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return True
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return (mapped or address).is_loopback
