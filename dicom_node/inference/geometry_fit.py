"""Where the geometry of images lies outside of limits."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from dicom_node.domain.frames import FrameSet, Images
from dicom_node.domain.volume import Volume
from dicom_node.inference.bundle.scope_schema import Counts, Geometry, Lengths, Plane
from dicom_node.inference.misfit import Misfit, alternatives, shown

_SLACK_MM = 0.001
"""Positions and spacings are written with so many digits, and read as binary numbers."""
_PLANES = (Plane.SAGITTAL, Plane.CORONAL, Plane.AXIAL)


def geometry_misfits(images: Images, wanted: Geometry) -> Iterator[Misfit]:
    """Find limits that images do not keep; those for the other kind of images say nothing about these.

    Args:
        images: Not modified.
        wanted: Limits.
    """
    if isinstance(images, Volume):
        yield from _volume(images, wanted)
        sizes: Sequence[tuple[int, int]] = [(images.values.shape[1], images.values.shape[2])]
    else:
        yield from _frames(images, wanted)
        sizes = [(frame.values.shape[0], frame.values.shape[1]) for frame in images.frames]
    yield from _counts("rows", [rows for rows, _ in sizes], wanted.rows, "image with", "pixel rows")
    yield from _counts("columns", [columns for _, columns in sizes], wanted.columns, "image with", "pixel columns")


def plane_of(volume: Volume, tolerance_deg: float) -> tuple[Plane, float]:
    """Name the plane of the slices.

    Args:
        volume: Not modified.
        tolerance_deg: Slices turned by more from the nearest of the three planes are oblique.

    Returns:
        The plane, and how far the slices are turned from the nearest one, degrees.
    """
    normal = np.abs(_normal(volume))
    nearest = int(np.argmax(normal))
    turned_deg = math.degrees(math.acos(min(1.0, float(normal[nearest]))))
    return (_PLANES[nearest] if turned_deg <= tolerance_deg + 1e-9 else Plane.OBLIQUE), turned_deg


def _volume(volume: Volume, wanted: Geometry) -> Iterator[Misfit]:
    spacing_mm = abs(float(volume.affine_lps_mm[:3, 0] @ _normal(volume)))  # of the planes, also where slices are sheared
    slices = len(volume.values)
    yield from _counts("slices", [slices], wanted.slices, "series with", "slices")
    yield from _lengths("slice_spacing_mm", "the distance between slices", spacing_mm, wanted.slice_spacing_mm)
    yield from _pixel_spacing([volume.spacing_mm[1:]], wanted.pixel_spacing_mm)
    yield from _lengths("coverage_mm", "the length that the slices cover", spacing_mm * slices, wanted.coverage_mm)
    if wanted.orientation:
        plane, turned_deg = plane_of(volume, wanted.orientation_tolerance_deg)
        if plane not in wanted.orientation:
            turned = f" (turned by {turned_deg:.0f} degrees)" if plane is Plane.OBLIQUE else ""
            yield Misfit("orientation", f"The slices are {plane}{turned}", f"{alternatives(wanted.orientation)} slices")


def _frames(frames: FrameSet, wanted: Geometry) -> Iterator[Misfit]:
    yield from _counts("frames", [len(frames.frames)], wanted.frames, "series with", "images")
    if wanted.pixel_spacing_mm is None:
        return
    unknown = sum(frame.pixel_spacing_mm is None for frame in frames.frames)
    if unknown:
        some = f" of {unknown} of {len(frames.frames)} images" if unknown < len(frames.frames) else ""
        yield Misfit("pixel_spacing_mm", f"The distance between pixels{some} is not stated", range_words(wanted.pixel_spacing_mm, " mm"))
    yield from _pixel_spacing([f.pixel_spacing_mm for f in frames.frames if f.pixel_spacing_mm is not None], wanted.pixel_spacing_mm)


def _pixel_spacing(spacings_mm: Sequence[tuple[float, float]], wanted: Lengths | None) -> Iterator[Misfit]:
    """Judge the worst one: the one sentence stands for all."""
    every = sorted({length for spacing in spacings_mm for length in spacing})
    bad = [length for length in every if wanted is not None and not _within(length, wanted)]
    if bad and wanted is not None:
        worst = bad[-1] if wanted.max is not None and bad[-1] > wanted.max else bad[0]
        yield from _lengths("pixel_spacing_mm", "the distance between pixels", worst, wanted)


def _lengths(subject: str, what: str, seen_mm: float, wanted: Lengths | None) -> Iterator[Misfit]:
    if wanted is not None and not _within(seen_mm, wanted):
        yield Misfit(subject, f"{what[0].upper()}{what[1:]} is {shown(seen_mm)} mm", range_words(wanted, " mm"))


def _within(length_mm: float, wanted: Lengths) -> bool:
    above = wanted.min is None or length_mm >= wanted.min - _SLACK_MM
    return above and (wanted.max is None or length_mm <= wanted.max + _SLACK_MM)


def _counts(subject: str, seen: Sequence[int], wanted: Counts | None, whose: str, what: str) -> Iterator[Misfit]:
    bad = [n for n in seen if wanted is not None and not (wanted.min or 0) <= n <= (wanted.max or math.inf)]
    if bad and wanted is not None:
        some = f" ({len(bad)} of {len(seen)} images)" if len(seen) > 1 else ""
        noun = whose.split(maxsplit=1)[0]
        yield Misfit(subject, f"The {noun} has {bad[0]} {what}{some}", f"{range_words(wanted, '')} {what}")


def range_words(wanted: Lengths | Counts, unit: str) -> str:
    """Say what a limit allows, for example `1 to 3 mm`."""
    more, less = (" or more", " or less") if unit else (" or more", " or fewer")
    if wanted.min is not None and wanted.max is not None:
        return f"{shown(wanted.min)} to {shown(wanted.max)}{unit}"
    if wanted.min is not None:
        return f"{shown(wanted.min)}{unit}{more}"
    return f"{shown(wanted.max or 0)}{unit}{less}"


def _normal(volume: Volume) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Unit normal of the slices."""
    across = np.cross(volume.affine_lps_mm[:3, 1], volume.affine_lps_mm[:3, 2])
    return np.asarray(across / np.linalg.norm(across))
