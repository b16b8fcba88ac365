"""The one door to TensorRT: the full library where it is installed, else TensorRT-RTX, which has the same Python API.

On a host without a device, objects of some of these libraries end the process: ask the probe before calling `load_tensorrt`
to run anything. TensorRT-RTX's builder alone may be used without one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from dicom_node.errors import EngineUnavailableError


class Flavour(StrEnum):
    """Which TensorRT."""

    FULL = "tensorrt"
    RTX = "tensorrt-rtx"


@dataclass(frozen=True, slots=True)
class TensorRt:
    """A loaded library.

    Attributes:
        module: `tensorrt` or `tensorrt_rtx`.
        version: For example `11.4.0.106`.
    """

    module: Any
    flavour: Flavour
    version: str

    @property
    def major(self) -> int:
        """10 and 11 differ in what has to be asked for."""
        return int(self.version.partition(".")[0])


def load_tensorrt(flavour: Flavour | None = None) -> TensorRt:
    """Import TensorRT.

    Args:
        flavour: Which one; None takes the full library if it is there, else RTX.

    Raises:
        EngineUnavailableError: neither can be imported, with both reasons.
    """
    reasons = []
    for wanted in (flavour,) if flavour else (Flavour.FULL, Flavour.RTX):
        try:
            module = _import_full() if wanted is Flavour.FULL else _import_rtx()
        except (ImportError, OSError) as error:
            reasons.append(f"{wanted}: {error}")
            continue
        return TensorRt(module, wanted, str(module.__version__))
    raise EngineUnavailableError(f"TensorRT cannot be imported: {'; '.join(reasons)}", hint="Install the extra `gpu` or `rtx`.")


def _import_full() -> Any:
    import tensorrt  # noqa: PLC0415

    return tensorrt


def _import_rtx() -> Any:
    import tensorrt_rtx  # noqa: PLC0415

    return tensorrt_rtx
