"""Reaching the services through TLS, and what is said when that does not work."""

import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from elasticsearch import Elasticsearch
from tls import behind_tls

from saferank.connection import clear_errors, connect
from saferank.errors import ServiceUnavailable
from saferank.indexer.brokers import broker_app, check_broker, queue_length
from saferank.indexer.queue import queue_documents
from saferank.settings import IndexerSettings, Settings

AUTHORITY = trustme.CA()


@pytest.fixture
def trusted(tmp_path: Path) -> Path:
    file = tmp_path / "authority.pem"
    AUTHORITY.cert_pem.write_to_path(str(file))
    return file


@pytest.fixture
def engine_port(elasticsearch_url: str) -> Iterator[int]:
    with behind_tls(urlsplit(elasticsearch_url).port or 0, AUTHORITY) as port:
        yield port


@pytest.fixture
def broker_port(broker_url: str) -> Iterator[int]:
    with behind_tls(urlsplit(broker_url).port or 0, AUTHORITY) as port:
        yield port


def ask(settings: Settings) -> None:
    with clear_errors(settings.elasticsearch_url), connect(settings) as client:
        client.indices.get_alias(index="*")


def test_elasticsearch_with_a_certificate_of_ones_own_authority(
    engine_port: int, trusted: Path
) -> None:
    url = f"https://user:planted@localhost:{engine_port}"
    ask(Settings(elasticsearch_url=url, elasticsearch_ca_certs=trusted))
    with pytest.raises(ServiceUnavailable, match="CERTIFICATE_VERIFY_FAILED") as raised:
        ask(Settings(elasticsearch_url=url))
    assert "SAFERANK_ELASTICSEARCH_CA_CERTS" in str(raised.value)
    assert "start it" not in str(raised.value)
    assert "planted" not in str(raised.value)
    other_name = f"https://127.0.0.1:{engine_port}"
    with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1"):
        ask(Settings(elasticsearch_url=other_name, elasticsearch_ca_certs=trusted))


def test_a_password_is_never_in_a_message() -> None:
    with pytest.raises(ServiceUnavailable, match=r"http://\*\*@127.0.0.1:9 .*refused") as raised:
        ask(Settings(elasticsearch_url="http://user:planted@127.0.0.1:9"))
    assert "planted" not in str(raised.value)


def test_a_client_that_is_newer_than_the_server(elasticsearch_url: str) -> None:
    newer = "application/vnd.elasticsearch+json; compatible-with=99"
    with (
        Elasticsearch(elasticsearch_url) as client,
        pytest.raises(ServiceUnavailable, match="pip install 'elasticsearch<"),
        clear_errors(elasticsearch_url),
    ):
        client.perform_request("GET", "/_alias", headers={"accept": newer})


def test_a_broker_with_a_certificate_of_ones_own_authority(
    broker_port: int, broker_url: str, trusted: Path
) -> None:
    queue = IndexerSettings(fresh_queue=f"fresh-{uuid.uuid4().hex[:8]}")
    url = f"rediss://localhost:{broker_port}{urlsplit(broker_url).path}"
    settings = Settings(broker_url=url, broker_ca_certs=trusted, indexer=queue)
    app = broker_app(settings)
    queue_documents("images", ["1"], app=app, settings=settings)
    assert queue_length(app, queue.fresh_queue) == 1
    with app.connection_for_write() as connection:
        connection.default_channel.queue_purge(queue.fresh_queue)
    with pytest.raises(ServiceUnavailable, match="SAFERANK_BROKER_CA_CERTS"):
        check_broker(broker_app(Settings(broker_url=url)))


@pytest.mark.parametrize("scheme", ["rediss", "amqps"])
def test_no_broker_is_trusted_without_its_certificate(broker_port: int, scheme: str) -> None:
    settings = Settings(broker_url=f"{scheme}://127.0.0.1:{broker_port}/0")
    with pytest.raises(ServiceUnavailable, match=r"certificate.*SAFERANK_BROKER_CA_CERTS"):
        check_broker(broker_app(settings))
