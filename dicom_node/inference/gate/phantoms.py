"""Images that a verification case can ask for by name: made by formula in patient coordinates, so that what must come out is known."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicom_node.domain.uids import derive_uid
from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelError

Values = NDArray[np.float32]
Axis = NDArray[np.float64]
Point = tuple[float, float, float]
Length = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1, le=1024)]

# Steps of slice, row and column along x (left), y (posterior) and z (superior); slices run along the normal of rows and columns.
_STEPS: Mapping[str, tuple[tuple[int, int], ...]] = {
    "axial": ((2, 1), (1, 1), (0, 1)),
    "coronal": ((1, 1), (2, -1), (0, 1)),
    "sagittal": ((0, -1), (2, -1), (1, 1)),
}


class Phantom(BaseModel, ABC):
    """A volume whose centre is the origin of the patient's coordinates.

    Attributes:
        size: Slices, rows and columns.
        spacing_mm: Between slices, rows and columns.
        noise_sigma: Standard deviation of the normal noise that is added.
        seed: Of the noise; the same seed gives the same voxels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    size: tuple[Count, Count, Count] = (32, 64, 64)
    spacing_mm: tuple[Length, Length, Length] = (5.0, 5.0, 5.0)
    orientation: Literal["axial", "coronal", "sagittal"] = "axial"
    noise_sigma: float = Field(0.0, ge=0)
    seed: int = 0

    def volume(self) -> Volume:
        """Make the voxels; new memory."""
        x, y, z = self._axes_lps_mm()
        values = np.ascontiguousarray(np.broadcast_to(self.values(x, y, z), self.size), np.float32)
        if self.noise_sigma:
            values = values + np.random.default_rng(self.seed).normal(0.0, self.noise_sigma, self.size).astype(np.float32)
        uids = tuple(derive_uid("phantom", type(self).__name__, self.model_dump_json(), str(n)) for n in range(self.size[0]))
        return Volume(values, self._affine_lps_mm(), derive_uid("phantom-frame", self.model_dump_json()), uids)

    @abstractmethod
    def values(self, x: Axis, y: Axis, z: Axis) -> Values:
        """Give the value at each place.

        Args:
            x: Millimetres to the left, shaped so that it broadcasts with `y` and `z` to the whole volume.
            y: Millimetres to the back.
            z: Millimetres upwards.
        """

    def _affine_lps_mm(self) -> NDArray[np.float64]:
        affine = np.eye(4)
        affine[:3, :3] = 0.0
        for index, (axis, sign) in enumerate(_STEPS[self.orientation]):
            affine[axis, index] = sign * self.spacing_mm[index]
        affine[:3, 3] = -affine[:3, :3] @ (np.array(self.size) - 1) / 2
        return affine

    def _axes_lps_mm(self) -> tuple[Axis, Axis, Axis]:
        by_axis: dict[int, Axis] = {}
        for index, (axis, sign) in enumerate(_STEPS[self.orientation]):
            along: Axis = sign * self.spacing_mm[index] * (np.arange(self.size[index], dtype=np.float64) - (self.size[index] - 1) / 2)
            by_axis[axis] = along.reshape([-1 if n == index else 1 for n in range(3)])
        return by_axis[0], by_axis[1], by_axis[2]


class Gradient(Phantom):
    """A ramp that rises to the left, twice as fast to the back and four times as fast upwards: no flip and no swap leaves it as it is."""

    low: float = 0.0
    high: float = 1.0

    def values(self, x: Axis, y: Axis, z: Axis) -> Values:
        """Rise from `low` in one corner to `high` in the opposite one."""
        shares = [(a - a.min()) / max(float(np.ptp(a)), 1e-9) * weight / 7.0 for a, weight in ((x, 1), (y, 2), (z, 4))]
        return np.asarray(self.low + (self.high - self.low) * (shares[0] + shares[1] + shares[2]), np.float32)


class Noise(Phantom):
    """Nothing but normal noise around a mean."""

    mean: float = 0.0
    noise_sigma: float = Field(1.0, ge=0)

    def values(self, x: Axis, y: Axis, z: Axis) -> Values:  # noqa: ARG002 - the same everywhere
        """Give the mean; the noise comes on top."""
        return np.full((1, 1, 1), self.mean, np.float32)


class WaterDisc(Phantom):
    """A cylinder of water along z, in air: its diameter is known. Values are Hounsfield units."""

    diameter_mm: Length = 200.0
    center_mm: tuple[float, float] = (0.0, 0.0)
    inside: float = 0.0
    outside: float = -1000.0

    def values(self, x: Axis, y: Axis, z: Axis) -> Values:
        """Put water where the distance from the axis is at most half the diameter."""
        within = (x - self.center_mm[0]) ** 2 + (y - self.center_mm[1]) ** 2 <= (self.diameter_mm / 2) ** 2
        return np.asarray(np.where(within, self.inside, self.outside) + 0.0 * z, np.float32)


class Ellipsoid(BaseModel):
    """One body of a phantom.

    Attributes:
        center_mm: To the left, to the back, upwards.
        radii_mm: Along the same axes.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    center_mm: Point = (0.0, 0.0, 0.0)
    radii_mm: tuple[Length, Length, Length]
    value: float


class Ellipsoids(Phantom):
    """Ellipsoids in a background; a later one replaces what it covers."""

    background: float = 0.0
    bodies: tuple[Ellipsoid, ...] = Field(min_length=1)

    def values(self, x: Axis, y: Axis, z: Axis) -> Values:
        """Fill each body with its value."""
        values = np.full(self.size, self.background, np.float32)
        for body in self.bodies:
            values[_in_ellipsoid((x, y, z), body.center_mm, body.radii_mm)] = body.value
        return values


class LungPhantom(Phantom):
    """A chest in Hounsfield units: body, a larger right and a smaller left lung, trachea and main bronchi, and emphysema in the right lung.

    The lungs are two ellipsoids of radii 55 x 85 x 100 mm and 45 x 75 x 90 mm, 1958 mL and 1272 mL; the bronchi take a few mL of them.
    The emphysema is one of 20 x 25 x 30 mm, 63 mL.
    """

    size: tuple[Count, Count, Count] = (48, 64, 64)
    lung: float = -850.0
    emphysema: float = -970.0
    body: float = 40.0
    air: float = -1000.0

    def values(self, x: Axis, y: Axis, z: Axis) -> Values:
        """Put the organs into the body."""
        place = (x, y, z)
        values = np.full(self.size, self.air, np.float32)
        values[np.broadcast_to((x / 150) ** 2 + (y / 130) ** 2 < 1, self.size)] = self.body
        lungs = _in_ellipsoid(place, (-70, 0, 0), (55, 85, 100)) | _in_ellipsoid(place, (70, 0, 0), (45, 75, 90))
        values[lungs] = self.lung
        values[np.broadcast_to((x**2 + (y - 10) ** 2 < 11**2) & (z > 25), self.size)] = self.air
        values[np.broadcast_to(((y - 10) ** 2 + (z - 30) ** 2 < 8**2) & (abs(x) < 35), self.size)] = self.air
        values[lungs & _in_ellipsoid(place, (-80, -20, 25), (20, 25, 30))] = self.emphysema
        return values


GENERATORS: Mapping[str, type[Phantom]] = {
    "gradient": Gradient,
    "noise": Noise,
    "water-disc": WaterDisc,
    "ellipsoids": Ellipsoids,
    "lung-phantom": LungPhantom,
}
"""By the name that a recipe gives."""


def phantom(name: str, parameters: Mapping[str, object]) -> Phantom:
    """Read a recipe.

    Raises:
        ModelError: no such generator, or parameters that it does not take; every one is named.
    """
    kind = GENERATORS.get(name)
    if kind is None:
        raise ModelError(f"generator {name!r} is unknown; known: {', '.join(GENERATORS)}")
    try:
        return kind.model_validate(dict(parameters))
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise ModelError(f"generator {name!r}: {faults}") from error


def _in_ellipsoid(place: tuple[Axis, Axis, Axis], center_mm: Point, radii_mm: Point) -> NDArray[np.bool_]:
    return np.asarray(sum(((a - c) / r) ** 2 for a, c, r in zip(place, center_mm, radii_mm, strict=True)) < 1)
