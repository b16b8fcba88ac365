"""A turn of a thread's main loop."""

from __future__ import annotations

from collections.abc import Callable

from dicom_node.errors import DicomNodeError, place_of
from dicom_node.ops.logs import get_logger

AFTER_FAULT_S = 1.0
"""How long a loop waits after a turn that failed."""


def take_turn(turn: Callable[[], float]) -> float:
    """Take a turn, which says how long to wait for the next, seconds. Whatever it raises costs one turn, and never the thread."""
    try:
        return turn()
    except DicomNodeError as error:
        get_logger().error("turn_failed", code=error.code, reason=str(error))
    except Exception as error:  # noqa: BLE001 - a main loop: the thread must not end while its process lives
        get_logger().error("turn_failed", error=type(error).__name__, place=place_of(error))
    return AFTER_FAULT_S
