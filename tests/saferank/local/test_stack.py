"""Keeping track of the user's stack; any long-running program will do as a service."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from saferank.errors import ConfigurationError
from saferank.local import stack as local_stack
from saferank.local.processes import Service, base_environment
from saferank.local.stack import Stack, down, status, up
from saferank.settings import Engine


@pytest.fixture(autouse=True)
def _sleeping_services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    def start(folder: Path, *, engine: Engine, **_: object) -> Stack:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "data").touch()
        return Stack(_sleeper("one", folder), _sleeper("two", folder), engine)

    def _sleeper(name: str, folder: Path) -> Service:
        ready = folder / f"{name}.ready"
        ready.unlink(missing_ok=True)
        return Service.start(
            name,
            ["/bin/sh", "-c", f"sleep 600 & touch {ready}; exec sleep 600"],
            folder=folder,
            environment=base_environment(),
            find_url=lambda: f"http://{name}" if ready.exists() else None,
            timeout=60,
        )

    monkeypatch.setattr(local_stack, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(local_stack, "_start", start)
    yield
    down()
    down(name="shop")


def test_it_is_found_again_and_started_once() -> None:
    assert status() is None
    started = up()
    assert status() == started
    assert up() == started
    assert started.environment == {
        "SAFERANK_ENGINE": "elasticsearch",
        "SAFERANK_ELASTICSEARCH_URL": "http://one",
        "SAFERANK_BROKER_URL": "http://two",
    }


def test_down_ends_every_process_and_says_whether_there_was_one(tmp_path: Path) -> None:
    started = up()
    family = [psutil.Process(service.pid) for service in started.services]
    family += [child for process in family for child in process.children()]
    assert len(family) == 4
    assert down()
    ended = [not p.is_running() or p.status() == psutil.STATUS_ZOMBIE for p in family]
    assert ended == [True] * 4
    assert not down()
    assert (tmp_path / "stack" / "data").exists()
    down(erase=True)
    assert not (tmp_path / "stack").exists()


def test_a_stack_has_one_engine_at_a_time() -> None:
    assert up(engine=Engine.OPENSEARCH).environment["SAFERANK_ENGINE"] == "opensearch"
    assert status() == up()
    with pytest.raises(ConfigurationError, match="runs with opensearch; stop it first"):
        up(engine=Engine.ELASTICSEARCH)


def test_stacks_of_other_names_run_and_end_by_themselves(tmp_path: Path) -> None:
    usual, shop = up(), up(name="shop")
    assert {service.pid for service in usual.services}.isdisjoint(
        service.pid for service in shop.services
    )
    assert (status(), status(name="shop"), status(name="other")) == (usual, shop, None)
    down(name="shop", erase=True)
    assert (status(), status(name="shop")) == (usual, None)
    assert (tmp_path / "stack" / "data").exists()
    assert not (tmp_path / "stack-shop").exists()
    up(name="shop")
    down(erase=True)
    assert (tmp_path / "stack-shop" / "data").exists()


@pytest.mark.parametrize("name", ["", "..", "../up", "Shop", "a b", "-a", "a" * 41])
def test_a_name_that_is_no_folder_is_refused(name: str) -> None:
    for call in (up, down, status):
        with pytest.raises(ConfigurationError, match="a stack's name has"):
            call(name=name)


def test_a_half_dead_stack_is_replaced_whole() -> None:
    first = up()
    first.broker.stop()
    assert status() is None
    second = up()
    assert not first.elasticsearch.running
    assert all(service.running for service in second.services)


@pytest.mark.parametrize("content", ["", "{}", '{"elasticsearch": {"pid": 1}}', "[1]"])
def test_a_damaged_record_stops_nothing_and_does_not_hinder(tmp_path: Path, content: str) -> None:
    (tmp_path / "stack.json").write_text(content)
    assert status() is None
    assert not down()
    assert all(service.running for service in up().services)
