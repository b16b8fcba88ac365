"""Signals of one process: SIGTERM and SIGINT drain, SIGHUP reloads."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType

_PR_SET_PDEATHSIG = 1


class Lifecycle:
    """Whether this process should stop or reload; a callback wakes its main loop."""

    def __init__(self, wake: Callable[[], None]) -> None:
        """Take over the process's signals.

        Args:
            wake: Called from the signal handler; must be safe there.
        """
        self._wake = wake
        self.stopping = threading.Event()
        self._reload = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._hup)

    def take_reload(self) -> bool:
        """Say once whether a reload was asked for."""
        asked = self._reload.is_set()
        self._reload.clear()
        return asked

    def keep_going(self) -> bool:
        """Say whether work may go on."""
        return not self.stopping.is_set()

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self.stopping.set()
        self._wake()

    def _hup(self, _number: int, _frame: FrameType | None) -> None:
        self._reload.set()
        self._wake()


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its supervisor dies, so that no second generation runs beside the first.

    Args:
        parent: Process id of the supervisor; if it died before the kernel was asked, this process ends at once.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise SystemExit("the supervisor died while this process started")
