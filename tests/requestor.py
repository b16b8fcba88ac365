"""Associations that tests request: pynetdicom's own, whose second thread takes no response that the first waits for."""

from __future__ import annotations

import threading
from typing import Literal

from pynetdicom import evt
from pynetdicom.association import Association


class Attentive(threading.Event):
    """Pauses an association's second thread for sure.

    pynetdicom's own event leaves a gap: set and cleared again before the thread has woken, it lets it run although it counts as paused;
    on a busy machine the thread then drops a response. Here it waits on, and counts as running before it may run.
    """

    def __init__(self, association: Association) -> None:
        super().__init__()
        self._association = association
        self.set()

    def wait(self, timeout: float | None = None) -> Literal[True]:
        with self._cond:  # type: ignore[attr-defined]
            while not self._flag:  # type: ignore[attr-defined]
                self._cond.wait(timeout)  # type: ignore[attr-defined]
            self._association._is_paused = False
        return True


def _attend(event: evt.Event) -> None:
    event.assoc._reactor_checkpoint = Attentive(event.assoc)


ATTENTIVE = (evt.EVT_REQUESTED, _attend)
"""Among the `evt_handlers` of `AE.associate`."""
