"""The one door from a series to what a model's input gets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pydicom

from dicom_node.domain.frames import Images
from dicom_node.inference.pixels.decoding import DecodingLimits
from dicom_node.inference.pixels.frame_sets import read_frame_set
from dicom_node.inference.pixels.geometry import GeometryPolicy
from dicom_node.inference.pixels.volumes import read_volume


@dataclass(frozen=True, slots=True, eq=False)
class ReadImages:
    """What an input of a model gets, and where it came from.

    Attributes:
        instances: The instances used, each once: of a volume in slice order, of a frame set by Instance Number. A multi-frame object is one
            instance; which of its frames a slice is stands in the volume's `source_frame_numbers`.
        warnings: What was done to the images beyond reading them, a sentence each, for the result's warnings.
    """

    images: Images
    instances: list[pydicom.Dataset]
    warnings: tuple[str, ...] = ()


def files_of(instances: Sequence[pydicom.Dataset]) -> tuple[Path, ...]:
    """List the files that instances were read from; empty if one of them came otherwise."""
    names = [getattr(instance, "filename", None) for instance in instances]
    return tuple(Path(str(name)) for name in names) if all(names) else ()


def images_from_instances(
    kind: Literal["volume", "frames"],
    instances: Sequence[pydicom.Dataset],
    policy: GeometryPolicy | None = None,
    limits: DecodingLimits | None = None,
) -> ReadImages:
    """Read the images of one series as an input declares them.

    Args:
        kind: volume: one regular grid; frames: every frame by itself.
        instances: One series, any order, as `read_instances` gives them or in memory.
        policy: What the input declares about geometry; refuses everything irregular if left out.
        limits: How much is decoded at once.

    Raises:
        VolumeError: the series is no such volume; the study is not analysed, and this is the reason.
        PixelError: pixels are missing, damaged or cannot be decoded.
    """
    if kind == "frames":
        frames = read_frame_set(instances, limits or DecodingLimits())
        return ReadImages(frames.frames, frames.instances, frames.warnings)
    volume = read_volume(instances, policy or GeometryPolicy(), limits or DecodingLimits())
    return ReadImages(volume.volume, volume.instances, volume.warnings)
