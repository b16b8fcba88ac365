"""Peers that wait for our acknowledgements, and how they are recognised.

A sender that leaves Nagle's algorithm on holds back the end of each message until TCP has acknowledged what went before; a receiver that
delays its acknowledgements, as all do, then costs 40 ms a message, whatever the size. Asking the kernel for an immediate
acknowledgement before each wait cures it and costs a packet, which other senders need not pay for.
"""

from __future__ import annotations

_STALLED_S = 0.015


class Haste:
    """Whether one peer needs immediate acknowledgements; shared by its associations in this process."""

    __slots__ = ("needed",)

    def __init__(self) -> None:
        """Begin without."""
        self.needed = False

    def waited(self, seconds: float) -> None:
        """Learn from a wait in the middle of a message."""
        if seconds > _STALLED_S:
            self.needed = True
