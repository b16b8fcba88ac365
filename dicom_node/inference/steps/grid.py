"""Images on their way to the network: values, and where each of them came from.

Every step that changes the grid changes `to_source` with it, so that the way back is one resampling, not a chain of them, and is
exact where the steps only turned, cut or padded.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.frames import Frame, Images
from dicom_node.domain.volume import Volume

Array = NDArray[np.float32]
Matrix = NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """The grid that results refer to: a volume, or one frame, which counts as a volume of one slice.

    Attributes:
        shape: (slice, row, column).
        affine_mm: 4x4, maps (slice, row, column, 1) to millimetres: for a volume to patient coordinates LPS, for a frame to a plane of its
            own; None for a frame without Pixel Spacing.
        volume: None for a frame.
        frame: None for a volume.
    """

    shape: tuple[int, int, int]
    affine_mm: Matrix | None
    volume: Volume | None = None
    frame: Frame | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Geometry:
    """A grid and its way back.

    Attributes:
        to_source: 4x4 float64; maps an index (axis 0, 1, 2, 1) of the grid to an index of the source; whole numbers are pixel centres.
            Its upper left 3x3 part has one value in each row and column: a permutation with scales and flips.
    """

    source: Source
    to_source: Matrix

    @property
    def affine_mm(self) -> Matrix | None:
        """From an index of the grid to millimetres; None without a spacing."""
        return None if self.source.affine_mm is None else self.source.affine_mm @ self.to_source

    @property
    def spacing_mm(self) -> tuple[float, float, float] | None:
        """Distance between neighbours along axis 0, 1 and 2, millimetres."""
        if (affine := self.affine_mm) is None:
            return None
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        return float(lengths[0]), float(lengths[1]), float(lengths[2])

    @property
    def is_frame(self) -> bool:
        """Whether axis 0 is no real axis."""
        return self.source.volume is None

    def after(self, to_old: Matrix) -> Geometry:
        """Give the geometry of a grid whose indices `to_old` maps to this one's."""
        return replace(self, to_source=self.to_source @ to_old)

    def coarser(self, old_shape: tuple[int, ...], new_shape: tuple[int, ...]) -> Geometry:
        """Give the geometry of an output with another number of pixels over the same extent, as of a network with strides."""
        if old_shape == new_shape:
            return self
        factors = np.array([old / new for old, new in zip(old_shape, new_shape, strict=True)])
        return self.after(scaling(factors, 0.5 * factors - 0.5))


@dataclass(frozen=True, slots=True, eq=False)
class GridImage:
    """Values on a grid.

    Attributes:
        values: Shape (channel, axis 0, axis 1, axis 2), float32; a frame has one slice. Not to be modified.
    """

    values: Array
    geometry: Geometry

    @property
    def shape(self) -> tuple[int, int, int]:
        """Lengths of axis 0, 1 and 2."""
        _, slices, rows, columns = self.values.shape
        return slices, rows, columns


def images_from_input(images: Images) -> list[GridImage]:
    """Start the way: a volume gives one image, a frame set one for each frame; values of any type become float32."""
    if isinstance(images, Volume):
        slices, rows, columns = images.values.shape
        source = Source((slices, rows, columns), images.affine_lps_mm, volume=images)
        return [GridImage(np.asarray(images.values, np.float32)[None], Geometry(source, np.eye(4)))]
    return [_image_from_frame(frame) for frame in images.frames]


def scaling(factors: Matrix, offsets: Matrix) -> Matrix:
    """Make the matrix that maps index i of axis k to `factors[k] * i + offsets[k]`."""
    matrix = np.diag([*factors, 1.0])
    matrix[:3, 3] = offsets
    return matrix


def _image_from_frame(frame: Frame) -> GridImage:
    values = np.asarray(frame.values, np.float32)
    channels = values[None] if values.ndim == 2 else np.moveaxis(values, -1, 0)
    affine = None if frame.pixel_spacing_mm is None else np.diag([1.0, *frame.pixel_spacing_mm, 1.0])
    source = Source((1, int(values.shape[0]), int(values.shape[1])), affine, frame=frame)
    return GridImage(channels[:, None], Geometry(source, np.eye(4)))
