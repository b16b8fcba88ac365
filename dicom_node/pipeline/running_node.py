"""What an outside command sees of a running node: whether it runs, its rules, and how to make it read them again."""

from __future__ import annotations

import fcntl
import os
import signal
from pathlib import Path

from dicom_node.config import Configuration, load_snapshot
from dicom_node.config.rules_schema import RulesFile
from dicom_node.errors import StorageError

SNAPSHOT = "configuration.json"
"""The checked configuration that the node's processes run on, below `run/`."""
LOCK = "node.lock"
"""Held by the running supervisor, below `run/`."""
SUPERVISOR = "supervisor.pid"
"""Its process id, of meaning while the lock is held."""


def supervisor_pid(data_dir: Path) -> int | None:
    """Return the process id of the supervisor that serves a data_dir; None if none runs.

    Raises:
        StorageError: it cannot be told.
    """
    run = data_dir / "run"
    try:
        with (run / LOCK).open("rb") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return int((run / SUPERVISOR).read_text("ascii"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot tell whether a node runs on {data_dir}", hint="run this as the node's user or as root") from error
    return None


def ask_for_reload(pid: int) -> None:
    """Make a supervisor read its configuration again.

    Raises:
        StorageError: this user may not.
    """
    try:
        os.kill(pid, signal.SIGHUP)
    except OSError as error:
        hint = "run this as the node's user or as root, or `systemctl reload dicom-node`"
        raise StorageError(f"cannot reload the node (process {pid}): {error.strerror}", hint=hint) from error


def active_rules_digest(data_dir: Path) -> str:
    """Return the digest of the rules that the node runs on, or last ran on; empty if it never ran or cannot be read."""
    snapshot = _snapshot(data_dir)
    return snapshot.rules_digest if snapshot else ""


def active_rules(data_dir: Path) -> RulesFile | None:
    """Return the rules that the node runs on, or last ran on; None if it never ran or cannot be read."""
    snapshot = _snapshot(data_dir)
    return snapshot.rules_file if snapshot else None


def _snapshot(data_dir: Path) -> Configuration | None:
    try:
        return load_snapshot((data_dir / "run" / SNAPSHOT).read_text("utf-8"))
    except (OSError, ValueError):
        return None
