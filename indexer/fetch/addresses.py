"""Which network addresses may be connected to."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import TypeAlias

from saferank.errors import ErrorCode, ImageError
from saferank.settings import FetchSettings

Address: TypeAlias = IPv4Address | IPv6Address

_GLOBAL_UNICAST = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
# Set aside by IANA, and not all of it (yet) in what Python calls not global: protocol
# assignments (a metadata service lives there), 6to4 relays, documentation.
_SET_ASIDE = (
    IPv4Network("192.0.0.0/24"),
    IPv4Network("192.88.99.0/24"),
    IPv6Network("2001::/23"),
    IPv6Network("3fff::/20"),
)
_PRIVATE = (
    IPv4Network("10.0.0.0/8"),
    IPv4Network("127.0.0.0/8"),
    IPv4Network("172.16.0.0/12"),
    IPv4Network("192.168.0.0/16"),
    IPv6Network("::1/128"),
    IPv6Network("fc00::/7"),
)
# Cloud metadata services inside otherwise private space: only ``allowed_networks`` opens them.
_METADATA = frozenset({IPv6Address("fd00:ec2::254"), IPv6Address("fd20:ce::254")})


def check_address(address: str, settings: FetchSettings) -> None:
    """Refuse an address that is not on the public internet, unless the settings allow it.

    Args:
        address: an IP address as the resolver gave it.
        settings: ``allow_private_addresses`` and ``allowed_networks`` widen what is allowed.

    Raises:
        ImageError: ``forbidden_address``.
    """
    if not _allowed(ip_address(address.partition("%")[0]), settings):
        raise ImageError(
            ErrorCode.FORBIDDEN_ADDRESS,
            f"{address} is not a public address; add its network to fetch.allowed_networks to "
            "fetch from it",
        )


def _allowed(address: Address, settings: FetchSettings) -> bool:
    address = _reached(address)
    if any(address in network for network in settings.allowed_networks):
        return True
    if settings.allow_private_addresses and any(address in network for network in _PRIVATE):
        return address not in _METADATA
    return _public(address)


def _reached(address: Address) -> Address:
    """The IPv4 host behind an IPv6 address that only wraps one (mapped, NAT64, 6to4)."""
    if isinstance(address, IPv4Address):
        return address
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or address


def _public(address: Address) -> bool:
    if address.is_multicast or address.is_reserved or not address.is_global:
        return False
    if any(address in network for network in _SET_ASIDE):
        return False
    return isinstance(address, IPv4Address) or address in _GLOBAL_UNICAST
