"""Images without a common grid: radiographs, ultrasound, photographs, captures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.volume import Volume


@dataclass(frozen=True, slots=True, eq=False)
class Frame:
    """One frame as it is meant to be seen or measured.

    Attributes:
        values: Shape (row, column), float32: after the modality transform, MONOCHROME1 turned so that high is bright; or shape
            (row, column, 3), uint8 RGB: palettes and YBR resolved. Not to be modified.
        sop_instance_uid: Instance that holds the frame.
        frame_number: From 1, as Referenced Frame Number counts.
        pixel_spacing_mm: Between rows and between columns, millimetres; None if the source gives none.
        window: Center and width of the source's first VOI window, in `values`' units; None if it has none.
    Source: PS3.3 C.7.6.3.1.2, C.11.1, C.11.2.
    """

    values: NDArray[np.float32] | NDArray[np.uint8]
    sop_instance_uid: str
    frame_number: int
    pixel_spacing_mm: tuple[float, float] | None
    window: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrameSet:
    """The frames of one series, in the order of the instances and of their frames; sizes may differ."""

    frames: tuple[Frame, ...]


Images = Volume | FrameSet
"""What an input of a model holds."""
