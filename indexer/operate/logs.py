"""Log lines that a person or a machine can read, each with the task, job and index it is about."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from contextlib import AbstractContextManager, suppress
from typing import Any, TextIO

import structlog
from structlog.stdlib import ProcessorFormatter

log = logging.getLogger(__name__)


def _without_colours(
    _logger: Any, _method: str, line: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Take out uvicorn's second copy of its message, which is for terminals."""
    line.pop("color_message", None)
    return line


_SHARED: list[structlog.types.Processor] = [
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_log_level,
    structlog.stdlib.add_logger_name,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.stdlib.ExtraAdder(),
    _without_colours,
]


# Of each exception in a chain; what is above them is Celery's way to the task.
_FRAMES = 12


def configure_logging(level: int | str, *, json: bool) -> None:
    """Send all log records to standard error in one format, warnings and last words included.

    Args:
        level: the lowest level to show.
        json: one JSON object a line; else text.
    """
    last: list[structlog.types.Processor] = [ProcessorFormatter.remove_processors_meta]
    if json:
        last += [
            structlog.processors.ExceptionRenderer(_traceback),
            structlog.processors.EventRenamer("message"),
            structlog.processors.JSONRenderer(ensure_ascii=False),
        ]
    else:
        last += [structlog.dev.ConsoleRenderer(colors=False, exception_formatter=_print_traceback)]
    handler = logging.StreamHandler()
    handler.name = "saferank"  # By this the command line knows that a command logs.
    handler.setFormatter(ProcessorFormatter(foreign_pre_chain=_SHARED, processors=last))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    # One line a request would drown the worker's own, and so would two a task, of a kB each.
    logging.getLogger("elastic_transport").setLevel(logging.WARNING)
    for name in ("celery.worker.strategy", "celery.app.trace"):
        logging.getLogger(name).setLevel(
            logging.NOTSET if root.level <= logging.DEBUG else logging.WARNING
        )
    with suppress(ImportError):  # Nothing is tried again where that is not installed.
        from stamina.instrumentation import LoggingOnRetryHook, set_on_retry_hooks

        set_on_retry_hooks([LoggingOnRetryHook])
    logging.captureWarnings(True)
    sys.excepthook = _log_last_words
    threading.excepthook = lambda said: _log_last_words(
        said.exc_type, said.exc_value, said.exc_traceback
    )


def _traceback(exc_info: structlog.typing.ExcInfo) -> str:
    """A short traceback without local variables: they hold passwords and whole images."""
    return "".join(traceback.format_exception(*exc_info, limit=-_FRAMES)).rstrip()


def _print_traceback(to: TextIO, exc_info: structlog.typing.ExcInfo) -> None:
    to.write(f"\n{_traceback(exc_info)}")


def _log_last_words(kind: Any, error: Any, trace: Any) -> None:
    """Log what nobody caught."""
    log.critical("an error that nobody caught", exc_info=(kind, error, trace))


def about(**context: Any) -> AbstractContextManager[None]:
    """Add to every line that is logged inside what it is about; absent values are left out."""
    known = {name: value for name, value in context.items() if value is not None}
    return structlog.contextvars.bound_contextvars(**known)
