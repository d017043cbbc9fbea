"""Tracebacks in a worker's log: short, and without what the functions hold."""

import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator

import pytest
import stamina

from saferank.indexer.operate.logs import configure_logging


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    said, in_thread = sys.excepthook, threading.excepthook
    yield
    root.handlers, root.level = handlers, level
    sys.excepthook, threading.excepthook = said, in_thread
    logging.captureWarnings(False)


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


def test_whatever_is_said_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(logging.INFO, json=True)
    thread = threading.Thread(target=fail, args=(1,))
    thread.start()
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("it is old", DeprecationWarning, stacklevel=1)
    logging.getLogger("celery.app.trace").info("succeeded")
    uncaught, warned = map(json.loads, capsys.readouterr().err.splitlines())
    assert (uncaught["level"], warned["level"]) == ("critical", "warning")
    assert "ValueError: it failed" in uncaught["exception"]
    assert "it is old" in warned["message"]


def test_at_debug_a_task_has_lines_of_celerys_own(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(logging.DEBUG, json=True)
    logging.getLogger("celery.app.trace").info("succeeded")
    assert json.loads(capsys.readouterr().err)["message"] == "succeeded"


def test_what_is_tried_again_is_said_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(logging.INFO, json=True)
    for attempt in stamina.retry_context(on=ValueError, attempts=2, wait_initial=0, wait_jitter=0):
        with attempt:
            if attempt.num == 1:
                fail(0)
    written = capsys.readouterr()
    assert written.out == ""
    (line,) = [json.loads(line) for line in written.err.splitlines()]
    assert (line["level"], line["logger"]) == ("warning", "stamina")


@pytest.mark.parametrize("json", [True, False])
def test_a_message_stands_once(capsys: pytest.CaptureFixture[str], json: bool) -> None:
    """uvicorn sends another copy of its messages along, with colours for terminals."""
    configure_logging(logging.INFO, json=json)
    extra = {"color_message": "Started \x1b[36m%d\x1b[0m"}
    logging.getLogger("uvicorn.error").info("Started %d", 7, extra=extra)
    line = capsys.readouterr().err
    assert "Started 7" in line
    assert "color" not in line
