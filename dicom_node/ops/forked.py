"""A process forked from this one: it starts with all that is loaded here, in hundredths of a second, and shares its memory."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from time import monotonic, sleep
from typing import NoReturn

_HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)
_CRASHED = 1
_LOOK_EVERY_S = 0.01


class ForkedProcess:
    """A child of this process, with the methods of `subprocess.Popen` that a supervisor needs.

    Attributes:
        pid: Process id.
        returncode: None while it runs; the negative signal number if a signal ended it.
    """

    def __init__(self, run: Callable[[], None]) -> None:
        """Fork. This process must have one thread only; others' locks would stay locked in the child for ever.

        Args:
            run: What the child does, with the default handlers of signals; when it returns, the child exits with 0. It must let go of
                whatever descriptor of this process is not its own.
        """
        self.returncode: int | None = None
        sys.stdout.flush()
        sys.stderr.flush()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HANDLED)  # none may reach the child through this process's handlers
        try:
            self.pid = os.fork()
            if self.pid == 0:
                _become(run, before)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def poll(self) -> int | None:
        """Look whether it has ended."""
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for its end.

        Raises:
            subprocess.TimeoutExpired: it runs on.
        """
        deadline = None if timeout_s is None else monotonic() + timeout_s
        while self.poll() is None:
            if deadline is not None and monotonic() >= deadline:
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout_s or 0.0)
            sleep(_LOOK_EVERY_S)
        return self.returncode or 0

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL, unless it has ended."""
        self.send_signal(signal.SIGKILL)


def _become(run: Callable[[], None], mask: set[signal.Signals] | set[int]) -> NoReturn:
    """Leave the parent's handlers behind, run, and never return into the parent's code."""
    code = _CRASHED
    try:
        for number in _HANDLED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        run()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else _CRASHED if end.code else 0
    except BaseException:  # noqa: BLE001 - reported as the interpreter would, and the child ends here
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
