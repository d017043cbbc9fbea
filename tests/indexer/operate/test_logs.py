"""Tracebacks in a worker's log: short, and without what the functions hold."""

import logging
from collections.abc import Iterator

import pytest

from saferank.indexer.operate.logs import configure_logging


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    root.handlers, root.level = handlers, level


def fail(depth: int, password: str = "planted") -> None:
    if depth:
        fail(depth - 1, password)
    raise ValueError("it failed")


@pytest.mark.parametrize("json", [True, False])
def test_a_traceback_has_no_local_variables_and_few_lines(
    capsys: pytest.CaptureFixture[str], json: bool
) -> None:
    configure_logging(logging.INFO, json=json)
    try:
        fail(100)
    except ValueError:
        logging.getLogger("saferank").exception("an error")
    written = capsys.readouterr().err
    assert "ValueError: it failed" in written
    assert "planted" not in written
    assert len(written.replace("\\n", "\n").splitlines()) < 50
