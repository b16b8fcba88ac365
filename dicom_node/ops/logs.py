"""Structured logs on standard error: one line an event, key=value or JSON, no patient data."""

from __future__ import annotations

import logging
import sys
import threading
import traceback
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any, cast

import structlog
from structlog.typing import FilteringBoundLogger, Processor

Logger = FilteringBoundLogger


def configure_logs(process: str, *, level: str = "INFO", json: bool = False) -> None:
    """Set up this process's log.

    Other libraries' warnings and errors come through the standard library as `library_logged`, without their INFO and DEBUG
    lines: pynetdicom's hold data set contents.

    Args:
        process: Name that every line carries, for example `receiver-0`.
        level: DEBUG, INFO, WARNING or ERROR.
        json: JSON lines in place of key=value.
    """
    renderer: Processor = (
        structlog.processors.JSONRenderer()
        if json
        else structlog.processors.LogfmtRenderer(key_order=["timestamp", "level", "process", "event"], bool_as_flag=False)
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            _named(process),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(capture=True)
    logging.basicConfig(handlers=[_LibraryHandler()], level=logging.WARNING, force=True)


def log_crashes() -> None:
    """Log what ends a process or a thread by its type and place; the interpreter would print the message, which may quote a data set."""

    def report(kind: type[BaseException], error: BaseException | None) -> None:
        frames = traceback.extract_tb(error.__traceback__ if error else None)
        place = " < ".join(f"{Path(f.filename).name}:{f.lineno}" for f in reversed(frames[-5:]))
        get_logger().critical("process_crashed", error=kind.__name__, place=place)

    sys.excepthook = lambda kind, error, _trace: report(kind, error)
    threading.excepthook = lambda arguments: report(arguments.exc_type, arguments.exc_value)


def get_logger() -> Logger:
    """Return the logger of this process."""
    return cast(Logger, structlog.get_logger())


def _named(process: str) -> Processor:
    def add_process(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event["process"] = process
        return event

    return add_process


class _LibraryHandler(logging.Handler):
    """Names the library and the place, never the message: a foreign message may quote a data set."""

    def emit(self, record: logging.LogRecord) -> None:
        get_logger().warning(
            "library_logged", library=record.name, library_level=record.levelname, place=f"{record.filename}:{record.lineno}"
        )
