"""Addresses of brokers: used, or refused in one sentence."""

import pytest
from kombu.exceptions import OperationalError

from saferank.errors import ConfigurationError, SaferankError, ServiceUnavailable
from saferank.indexer.brokers import broker_app, check_broker, clear_broker_errors
from saferank.settings import Settings


@pytest.mark.parametrize(
    ("url", "error"),
    [
        ("foo://host", ConfigurationError),
        ("redis://host:port/0", ConfigurationError),
        ("sentinel://:planted@127.0.0.1:9;sentinel://127.0.0.1:9", ConfigurationError),
        ("redis://user:planted@127.0.0.1:9/0", ServiceUnavailable),
        ("amqp://user:planted@127.0.0.1:9//", ServiceUnavailable),
        ("amqps://user:planted@127.0.0.1:9//", ServiceUnavailable),
    ],
)
def test_a_broker_that_cannot_be_used_is_one_sentence(url: str, error: type[SaferankError]) -> None:
    with pytest.raises(error) as raised:
        check_broker(broker_app(Settings(broker_url=url)))
    assert "planted" not in str(raised.value)
    assert "SAFERANK_BROKER" in str(raised.value)


def test_a_full_broker_is_not_told_to_be_away() -> None:
    app = broker_app(Settings(broker_url="redis://user:planted@127.0.0.1:9/0"))
    said = (
        "Command # 1 (SADD a b) caused error: command not allowed when used memory > 'maxmemory'."
    )
    with (
        pytest.raises(ServiceUnavailable, match="its memory is full") as raised,
        clear_broker_errors(app),
    ):
        raise OperationalError(said)
    assert "planted" not in str(raised.value)
    assert "SAFERANK_BROKER_URL" not in str(raised.value)


def test_a_login_of_its_own_goes_where_the_address_has_none() -> None:
    settings = Settings(
        broker_url="sentinel://a:1;sentinel://u:p@b:2",
        broker_user="me",
        broker_password="p/w",
        broker_options={"master_name": "main"},
    )
    app = broker_app(settings)
    assert app.conf.broker_url == "sentinel://me:p%2Fw@a:1;sentinel://u:p@b:2"
    assert app.conf.broker_transport_options["master_name"] == "main"
