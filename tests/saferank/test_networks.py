"""Whether a request comes from a named network."""

import ipaddress

from saferank.networks import comes_from


def test_an_address_is_in_a_network_however_it_is_written() -> None:
    networks = [ipaddress.ip_network("10.0.0.0/8")]
    assert comes_from("10.1.2.3", networks)
    assert comes_from("::ffff:10.1.2.3", networks)
    assert not comes_from("11.1.2.3", networks)
    assert not comes_from(None, networks)
    assert not comes_from("testclient", networks)
