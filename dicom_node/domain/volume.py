"""A regular stack of slices with its place in the patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class Volume:
    """Voxels of one series, slices ordered along the slice normal.

    Attributes:
        values: Shape (slice, row, column), float32; Hounsfield units for CT. Not to be modified.
        affine_lps_mm: 4x4 float64; maps (slice, row, column, 1) to patient coordinates in millimetres, +x left, +y posterior, +z superior.
        frame_of_reference_uid: Frame of Reference UID (0020,0052), empty if the source has none.
        source_sop_instance_uids: One per slice, in slice order; of a resampled volume the nearest source slice's.
        source_frame_numbers: One per slice, from 1, where the source is multi-frame; empty where each slice is an instance.
    Source: PS3.3 C.7.6.2.1.1.
    """

    values: NDArray[np.float32]
    affine_lps_mm: NDArray[np.float64]
    frame_of_reference_uid: str
    source_sop_instance_uids: tuple[str, ...]
    source_frame_numbers: tuple[int, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between neighbours along slice, row and column index, millimetres."""
        lengths = np.linalg.norm(self.affine_lps_mm[:3, :3], axis=0)
        return float(lengths[0]), float(lengths[1]), float(lengths[2])

    @property
    def voxel_ml(self) -> float:
        """Volume of one voxel, millilitres."""
        return float(abs(np.linalg.det(self.affine_lps_mm[:3, :3]))) / 1000.0
