"""Only addresses on the public internet are connected to, in whatever form they come."""

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saferank.errors import ErrorCode, ImageError
from saferank.indexer.fetch.addresses import check_address
from saferank.settings import FetchSettings

STRICT = FetchSettings()
PRIVATE = FetchSettings(allow_private_addresses=True)


def allowed(address, settings=STRICT):
    try:
        check_address(address, settings)
    except ImageError as error:
        return error.code is not ErrorCode.FORBIDDEN_ADDRESS
    return True


@pytest.mark.parametrize(
    "address",
    ["8.8.8.8", "93.184.216.34", "172.32.0.1", "100.128.0.1", "2606:4700::1111", "2a00:1450::1"],
)
def test_public_addresses(address):
    assert allowed(address)
    assert allowed(address, PRIVATE)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1",
        "127.255.255.254",
        "10.0.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.1.1",
        "::1",
        "fd12:3456::1",
    ],
)
def test_private_addresses_need_a_setting(address):
    assert not allowed(address)
    assert allowed(address, PRIVATE)


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "0.1.2.3",
        "169.254.169.254",
        "169.254.0.1",
        "100.64.0.1",
        "100.100.100.200",
        "100.127.255.255",
        "192.0.0.192",
        "192.0.2.1",
        "192.88.99.1",
        "198.18.0.1",
        "198.51.100.7",
        "203.0.113.7",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
        "ff0e::1",
        "2001:db8::1",
        "2001::1",
        "100::1",
        "64:ff9b:1::1",
        "fd00:ec2::254",
        "fd20:ce::254",
        "4000::1",
        "::8.8.8.8",
    ],
)
def test_link_local_metadata_and_reserved_addresses_are_never_opened_by_the_private_setting(
    address,
):
    assert not allowed(address)
    assert not allowed(address, PRIVATE)


def wrapped(address):
    """The IPv6 addresses that lead to an IPv4 one: mapped, NAT64, 6to4."""
    number = int(ipaddress.IPv4Address(address))
    return [
        str(ipaddress.IPv6Address(prefix | number << shift))
        for prefix, shift in ((0xFFFF << 32, 0), (0x64FF9B << 96, 0), (0x2002 << 112, 80))
    ]


@given(st.ip_addresses(v=4).map(str))
def test_an_address_inside_another_counts_as_itself(address):
    for settings in (STRICT, PRIVATE):
        assert {allowed(outer, settings) for outer in wrapped(address)} == {
            allowed(address, settings)
        }


@given(st.ip_addresses(v=4))
def test_nothing_but_global_unicast_is_public(address):
    if allowed(str(address)):
        assert address.is_global
        assert not address.is_multicast


def test_allowed_networks_open_what_they_name_and_no_more():
    settings = FetchSettings(allowed_networks=("10.1.0.0/16", "169.254.169.254/32", "fd00::/8"))
    assert allowed("10.1.2.3", settings)
    assert allowed("::ffff:10.1.2.3", settings)
    assert allowed("169.254.169.254", settings)
    assert allowed("fd00:ec2::254", settings)
    assert not allowed("10.2.0.1", settings)
    assert not allowed("127.0.0.1", settings)
