"""A policy that follows its file: what holds when, whatever is written there."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from itertools import count
from pathlib import Path

import pytest
from elasticsearch import Elasticsearch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from saferank.errors import ContextError, PolicyError
from saferank.ranker import PolicyFile, SafeSearch

TEXT = """version: 1
levels: {{off: {{}}, strict: {{hide_from: {hide_from}, unscored: hide}}}}
contexts: [{{level: strict}}]
"""
BROKEN = "version: 1\nlevels: {off: {}}\ncontexts: [{level: none}]\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "policy.yaml"
    file.write_text(TEXT.format(hide_from=0.5))
    return file


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read a changed file without waiting for it to settle."""
    monkeypatch.setattr("saferank.ranker.policy.file._SETTLED", 0.0)


def hides_from(policies: PolicyFile) -> float | None:
    level = policies.current().resolve({}).categories[0].level
    return None if level.hide_from is None else round(level.hide_from, 6)


def put(path: Path, text: str) -> None:
    """A new file in the place of the old one, as a deployment does it."""
    new = path.with_suffix(".new")
    new.write_text(text)
    new.replace(path)


def test_a_changed_file_holds_and_an_unchanged_one_is_not_read_again(
    path: Path, at_once: None
) -> None:
    policies = PolicyFile(path)
    first = policies.current()
    assert policies.current() is first
    put(path, TEXT.format(hide_from=0.25))
    assert hides_from(policies) == 0.25
    assert policies.fault is None


def test_a_file_that_is_being_written_does_not_hold_before_it_is_whole(path: Path) -> None:
    policies = PolicyFile(path)
    for hide_from in (0.75, 0.25):  # What is there at first is a policy, too, and a looser one.
        path.write_text(TEXT.format(hide_from=hide_from))
        assert hides_from(policies) == 0.5
    deadline = time.monotonic() + 10
    while (seen := hides_from(policies)) == 0.5 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert seen == 0.25


@pytest.mark.parametrize("broken", [BROKEN, "", "levels: [", "[" * 5000, None])
def test_a_file_that_cannot_be_used_leaves_what_was_and_is_told_once(
    broken: str | None, path: Path, at_once: None, caplog: pytest.LogCaptureFixture
) -> None:
    policies = PolicyFile(path)
    if broken is None:
        path.unlink()
    else:
        put(path, broken)
    with caplog.at_level(logging.INFO, "saferank.ranker.policy.file"):
        assert [hides_from(policies) for _ in range(50)] == [0.5] * 50
        (record,) = caplog.records
        assert record.levelno == logging.ERROR
        assert policies.fault is not None
        assert policies.fault in record.getMessage()
        assert str(path) in policies.fault
        put(path, TEXT.format(hide_from=0.25))
        assert hides_from(policies) == 0.25
    assert policies.fault is None


def test_a_health_check_alone_finds_the_fault_and_that_it_is_gone(
    path: Path, at_once: None
) -> None:
    policies = PolicyFile(path)
    put(path, BROKEN)
    assert policies.fault is not None
    put(path, TEXT.format(hide_from=0.25))
    assert policies.fault is None


def test_at_the_start_a_file_that_cannot_be_used_is_an_error(path: Path) -> None:
    path.write_text(BROKEN)
    with pytest.raises(PolicyError, match=r"yaml:3: .*no level 'none'"):
        PolicyFile(path)
    path.unlink()
    with pytest.raises(PolicyError, match="cannot be read"):
        PolicyFile(path)


_sizes = count()


@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from([0.1, 0.3, 0.7, None])))
def test_the_last_file_that_was_a_policy_holds(
    path: Path, at_once: None, written: Sequence[float | None]
) -> None:
    put(path, TEXT.format(hide_from=0.5) + "#" * next(_sizes))
    policies, expected = PolicyFile(path), 0.5
    for hide_from in written:
        text = BROKEN if hide_from is None else TEXT.format(hide_from=hide_from)
        put(path, text + "#" * next(_sizes))
        expected = hide_from or expected
        assert hides_from(policies) == expected
        assert (policies.fault is None) is (hide_from is not None)


def test_many_threads_see_whole_policies_only_and_the_last_in_the_end(
    path: Path, at_once: None
) -> None:
    policies, seen, ended = PolicyFile(path), set[float | None](), threading.Event()

    def look() -> None:
        while not ended.is_set():
            seen.add(hides_from(policies))

    threads = [threading.Thread(target=look) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(60):
        text = BROKEN if number % 3 == 2 else TEXT.format(hide_from=(0.25, 0.75)[number % 3])
        put(path, text + "#" * number)
        time.sleep(0.005)
    put(path, TEXT.format(hide_from=0.125))
    ended.set()
    for thread in threads:
        thread.join()
    assert hides_from(policies) == 0.125
    assert seen <= {0.5, 0.25, 0.75, 0.125}


def test_a_safe_client_and_its_copies_follow_the_file_and_a_pinned_one_does_not(
    path: Path, at_once: None
) -> None:
    with Elasticsearch("http://localhost:1") as client:
        search = SafeSearch(client, PolicyFile(path))
        copies = [search, search.bind({}), search.at_level("strict"), search.options()]
        pinned, before = search.pinned(), search.cache_key()
        assert {copy.cache_key() for copy in copies} == {before}
        put(path, TEXT.format(hide_from=0.25))
        (after,) = {copy.cache_key() for copy in copies}
        assert after != before
        assert pinned.cache_key() == pinned.bind({}).cache_key() == before
        put(path, TEXT.format(hide_from=0.25).replace("strict", "family"))
        assert search.decision().level_name == "family"
        with pytest.raises(ContextError, match="no level 'strict'"):
            copies[2].decision()
