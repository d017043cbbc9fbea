"""Whether a request comes from networks that somebody named."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def comes_from(address: str | None, networks: Iterable[Network]) -> bool:
    """Whether an address is in one of these networks.

    Args:
        address: of the other end of a connection, if it is known; never one from a header.
        networks: an IPv4 address in the form of IPv6 is taken for the former.
    """
    if address is None:
        return False
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return False
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return any((mapped or parsed) in network for network in networks)
