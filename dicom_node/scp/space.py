"""Whether there is room for instances, and one log line when that changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic
from typing import Final

from dicom_node.errors import DiskFullError, OutOfResourcesError
from dicom_node.ops.logs import Logger, get_logger

_KNOWN_FOR_S: Final = 0.05
_CALM_AFTER_S: Final = 1.0


class SpaceWatch:
    """Refuses instances below the watermark. Safe to use from many threads.

    Entered around what writes, it notices a disk that is full above the watermark, as with a quota or `min_free: 0B`; instances are
    then still tried, and the first that can be kept ends the alert, unless one failed a moment ago: small ones may still fit.
    """

    def __init__(self, free_bytes: Callable[[], int], min_free_bytes: int) -> None:
        """Take how to ask for free space and the watermark."""
        self._free_bytes = free_bytes
        self._min_free_bytes = min_free_bytes
        self._look_at = self._failed_at = 0.0
        self._short = self._full = self._alerted = False
        self._guard = threading.Lock()
        self._log: Logger = get_logger()

    def check(self) -> None:
        """Refuse what would not leave the watermark free.

        Raises:
            OutOfResourcesError: free space is below the watermark.
        """
        now = monotonic()
        if now >= self._look_at:
            free = self._free_bytes()
            self._look_at = now + _KNOWN_FOR_S
            self._short = free < self._min_free_bytes
            if self._short != self._alerted:
                self._tell(free)
        if self._short:
            raise OutOfResourcesError("free space below watermark")

    @property
    def known_until(self) -> float:
        """Until when the last look counts, on the monotonic clock, seconds."""
        return self._look_at

    def __enter__(self) -> None:
        """Begin to write."""

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        """Notice why writing failed."""
        if isinstance(error, DiskFullError):
            self._full = True
            self._failed_at = monotonic()
            if not self._alerted:
                self._tell(0)

    def kept(self) -> None:
        """Tell that an instance was kept."""
        if self._full and monotonic() - self._failed_at > _CALM_AFTER_S:
            self._full = False
            self._tell(self._free_bytes())

    def _tell(self, free_bytes: int) -> None:
        with self._guard:
            bad = self._short or self._full
            if bad == self._alerted:
                return
            self._alerted = bad
        if bad:
            self._log.error("disk_nearly_full", free_bytes=free_bytes, refused_below_bytes=self._min_free_bytes, answer="A700")
        else:
            self._log.info("disk_has_space", free_bytes=free_bytes)
