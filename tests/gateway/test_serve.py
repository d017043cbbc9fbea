"""Several gateways at one address."""

from __future__ import annotations

import http.client
import socket

import pytest
from gateways import POLICY, listening

from saferank.errors import ConfigurationError
from saferank.gateway.app import Gateway
from saferank.gateway.serve import make_gateway, shared_socket
from saferank.ranker import load_policy
from saferank.settings import Settings

SETTINGS = Settings(elasticsearch_url="http://127.0.0.1:9")


def answered(gateway: Gateway) -> int:
    (counted,) = gateway.figures.calls.collect()
    return sum(int(one.value) for one in counted.samples if one.name.endswith("_total"))


def test_the_connections_to_a_shared_port_are_spread_over_those_who_listen() -> None:
    first, second = (make_gateway(SETTINGS, load_policy(POLICY)) for _ in range(2))
    at = shared_socket("127.0.0.1", 0)
    port = at.getsockname()[1]
    own = SETTINGS.gateway
    with listening(first, own, at), listening(second, own, shared_socket("127.0.0.1", port)):
        for _ in range(64):  # All at one has a chance of 2 ** -63.
            asking = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
            asking.request("GET", "/_cat/indices")
            assert asking.getresponse().status == 403
            asking.close()
    counts = answered(first), answered(second)
    assert sum(counts) == 64
    assert min(counts) > 0


def test_a_port_of_one_who_does_not_share_it_is_not_shared() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=r"cannot be shared .*; choose another --port"):
            shared_socket("127.0.0.1", port)
