"""Which destinations report a commitment on the association that asked, and which on one of their own."""

from __future__ import annotations

import threading

from dicom_node.domain.destinations import StorageScp

_Address = tuple[str, int, str]


class ReportWays:
    """What was seen since the sender started; a destination that moved is a new one."""

    def __init__(self) -> None:
        """Know nothing."""
        self._lock = threading.Lock()
        self._addresses: dict[str, _Address] = {}
        self._at_once: dict[str, bool] = {}

    def may_report_at_once(self, destination: StorageScp) -> bool:
        """Say whether it is worth to hold the association open: not known, or the last report came so."""
        address = (destination.host, destination.port, destination.ae_title)
        with self._lock:
            if self._addresses.get(destination.name) != address:
                self._addresses[destination.name] = address
                self._at_once.pop(destination.name, None)
            return self._at_once.get(destination.name, True)

    def reported(self, name: str, *, at_once: bool) -> None:
        """Note how a destination reported."""
        with self._lock:
            self._at_once[name] = at_once
