"""Throttle of one peer: its senders are slowed by not reading, never refused."""

from __future__ import annotations

import threading
from time import monotonic

_BURST_S = 0.25


class RateLimit:
    """Token bucket shared by the associations of one peer in this process."""

    def __init__(self, bytes_per_s: float) -> None:
        """Begin with a full bucket of a quarter second.

        Args:
            bytes_per_s: Mean rate.
        """
        self._bytes_per_s = bytes_per_s
        self._tokens = bytes_per_s * _BURST_S
        self._filled_at = monotonic()
        self._guard = threading.Lock()
        self._never = threading.Event()
        self.holds_back = False

    def may_read(self, longest_wait_s: float) -> bool:
        """Wait until there are tokens, at most so long; False if there are still none."""
        wait_s = self._missing_s()
        self.holds_back = wait_s > 0
        if wait_s > 0:
            self._never.wait(min(wait_s, longest_wait_s))
            return wait_s <= longest_wait_s
        return True

    def spend(self, size_bytes: int) -> None:
        """Take what was read; the bucket may go below empty, the next reads wait for it."""
        with self._guard:
            self._tokens -= size_bytes

    def _missing_s(self) -> float:
        with self._guard:
            now = monotonic()
            self._tokens = min(self._tokens + (now - self._filled_at) * self._bytes_per_s, self._bytes_per_s * _BURST_S)
            self._filled_at = now
            return max(0.0, -self._tokens / self._bytes_per_s)
