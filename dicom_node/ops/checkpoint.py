"""Where pynetdicom pauses an association's second thread, with a second reason to pause it."""

from __future__ import annotations

import threading


class Checkpoint(threading.Event):
    """Open while nobody closes it: `clear` and `set` are pynetdicom's, `park` and `unpark` the socket's.

    pynetdicom pauses that thread while another one waits for a response, and looks at a flag to see whether it has paused. The flag
    can be stale: the thread then takes the response itself, drops it, and the other waits for its time-out. A parked thread cannot,
    and waking it does not wake it while pynetdicom waits.
    """

    def __init__(self) -> None:
        """Begin open."""
        super().__init__()
        self._guard = threading.Lock()
        self._held = False
        self.parked = False
        super().set()

    def clear(self) -> None:
        """Close it for pynetdicom."""
        with self._guard:
            self._held = True
            super().clear()

    def set(self) -> None:
        """Open it for pynetdicom; a parked thread waits on."""
        with self._guard:
            self._held = False
            if not self.parked:
                super().set()

    def park(self) -> None:
        """Close it because there is nothing to do."""
        with self._guard:
            self.parked = True
            super().clear()

    def unpark(self) -> None:
        """Open it unless pynetdicom holds it."""
        with self._guard:
            self.parked = False
            if not self._held:
                super().set()
