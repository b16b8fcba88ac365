"""Waking a worker's loop from its threads."""

from __future__ import annotations

import threading
from collections.abc import Callable


class Wake:
    """An event that is also passed on to whoever waits elsewhere; refers to nothing that refers to it."""

    def __init__(self) -> None:
        """Pass on to nobody yet."""
        self._event = threading.Event()
        self._also: Callable[[], None] | None = None

    def pass_on(self, to: Callable[[], None] | None) -> None:
        """Call this too at each wake, from any thread."""
        self._also = to

    def __call__(self, _done: object = None) -> None:
        """Wake; also fits as the callback of a future."""
        self._event.set()
        if self._also is not None:
            self._also()

    def wait(self, timeout_s: float) -> None:
        """Wait for a wake; those that came meanwhile count once."""
        self._event.wait(timeout_s)
        self._event.clear()
