"""Whether the compiled part of the receive path is there and wanted."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dicom_node.scp._pump import Pump

SWITCH: Final = "DICOM_NODE_ACCELERATOR"
"""Environment variable; `off` leaves the Python path alone in charge."""
try:
    from dicom_node.scp import _pump
except ImportError:
    _pump = None  # type: ignore[assignment]  # built where there was a compiler


@dataclass(frozen=True, slots=True)
class Accelerator:
    """The compiled part, or why it is not used.

    Attributes:
        pump: Its class; None: the Python path serves alone, as correctly and at about half the speed for small instances.
        words: For the log and `doctor`.
        hint: What to do about it; empty where nothing is to be done.
    """

    pump: type[Pump] | None
    words: str
    hint: str = ""


def accelerator() -> Accelerator:
    """Look whether the compiled part is to be used now."""
    if os.environ.get(SWITCH, "").lower() in ("off", "0", "no"):
        return Accelerator(None, f"switched off by {SWITCH}")
    if _pump is None:
        hint = "install a C compiler and Python's headers (Debian: gcc python3-dev) and install the node again; all works without"
        return Accelerator(None, "not built", hint)
    return Accelerator(_pump.Pump, "in use")
