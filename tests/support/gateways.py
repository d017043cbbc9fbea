"""A real gateway over HTTP, before an index whose hidden documents have a marker in every field."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import uvicorn
from elasticsearch import Elasticsearch

from saferank.gateway.app import Gateway
from saferank.gateway.callers import Rights, add_key
from saferank.gateway.serve import make_gateway, server_config
from saferank.mappings import add_to_index
from saferank.ranker import PolicyFile, load_policy
from saferank.ranker.policy.policy import Policy
from saferank.settings import GatewaySettings, Settings

POLICY = """\
version: 1
levels:
  off:      {}
  moderate: {demote_from: 0.2, blur_from: 0.4, hide_from: 0.8, unscored: demote}
  strict:   {hide_from: 0.2, unscored: hide}
attributes: {audience: [child, adult], region: }
contexts:
  - {when: {audience: child}, level: strict, locked: true}
  - {when: {region: DE}, level: moderate, at_least: moderate}
  - {level: moderate}
"""
SAFETY: dict[str, dict[str, Any]] = {
    "plain": {"probability": 0.01},
    "plain2": {"probability": 0.02},
    "medium": {"probability": 0.5},
    "high": {"probability": 0.95},
    "blocked": {"probability": 0.0, "override": "block"},
    "unscored": {},
}
SHOWN = {
    "strict": {"plain", "plain2"},
    "moderate": {"plain", "plain2", "medium", "unscored"},
    "off": {"plain", "plain2", "medium", "unscored", "high"},
}


def marker(name: str) -> str:
    """A word that stands in every field of one document and nowhere else."""
    return f"mark{name}x"


def fill(client: Elasticsearch, index: str) -> None:
    """Make the index: a document for each kind, its name as its id."""
    client.indices.create(
        index=index,
        mappings={
            "properties": {
                "title": {"type": "text"},
                "word": {"type": "keyword"},
                "suggest": {"type": "completion"},
                "vector": {"type": "dense_vector", "dims": 2, "similarity": "l2_norm"},
            }
        },
    )
    add_to_index(client, index)
    for position, (name, safety) in enumerate(SAFETY.items()):
        text = f"cat {marker(name)}"
        document = {
            "title": text,
            "word": marker(name),
            "suggest": text,
            "vector": [position, 1],
            "safety": safety,
        }
        client.index(index=index, id=name, document=document)
    client.indices.refresh(index=index)


@dataclass
class Served:
    """A gateway that answers.

    Attributes:
        gateway: the application.
        port: at which it listens.
        keys: what to send behind ``Authorization: ApiKey``, by the name of the caller.
        policy: that it answers under.
        index: the one that ``fill`` made.
    """

    gateway: Gateway
    port: int
    keys: dict[str, str]
    policy: Policy | PolicyFile
    index: str

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def authorization(self, caller: str) -> dict[str, str]:
        return {"Authorization": f"ApiKey {self.keys[caller]}"}


CALLERS = {
    "strict": Rights(context={"audience": "child"}),
    "moderate": Rights(context={"audience": "adult"}),
    "off": Rights(context={"audience": "adult", "requested": "off"}),
    "teller": Rights(says=("audience", "region", "requested"), explained=True),
    "writer": Rights(context={"audience": "adult"}, writes=True),
}


@contextmanager
def served(
    url: str,
    folder: Path,
    index: str,
    callers: str = "",
    policy: Policy | PolicyFile | None = None,
    **settings: Any,
) -> Iterator[Served]:
    """Serve a gateway as the command does, until the block ends.

    Args:
        url: of Elasticsearch.
        folder: for the callers' file.
        index: that is searched.
        callers: more of that file.
        policy: that it answers under; None for ``POLICY``.
        settings: of the gateway.
    """
    file = folder / "callers.toml"
    keys = {name: add_key(file, name, rights) for name, rights in CALLERS.items()}
    with file.open("a") as more:
        more.write(callers)
    policy = load_policy(POLICY) if policy is None else policy
    own = GatewaySettings(callers=file, **settings)
    gateway = make_gateway(Settings(elasticsearch_url=url, gateway=own), policy)
    with listening(gateway, own) as port:
        yield Served(gateway, port, keys, policy, index)


@contextmanager
def listening(
    gateway: Gateway, own: GatewaySettings, at: socket.socket | None = None
) -> Iterator[int]:
    """Listen at a socket, or at a free port, in a thread."""
    with at or socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(server_config(gateway, own))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        try:
            while not server.started:
                thread.join(0.01)
                assert thread.is_alive(), "the gateway ended"
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            with suppress(RuntimeError):
                thread.join(10)
