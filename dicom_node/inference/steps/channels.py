"""Steps that make channels: copies of a gray one, luma of colours, several inputs on one grid."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import ndimage

from dicom_node.errors import ModelInputError
from dicom_node.inference.steps.grid import Array, GridImage
from dicom_node.inference.steps.preprocess_schema import Channels

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)
_SAME_PLACE_MM = 1e-3


def channels(image: GridImage, step: Channels) -> GridImage:
    """Repeat the only channel, or make one of three.

    Raises:
        ModelInputError: the image has another number of channels.
    Source: luma weights of ITU-R BT.601-7, 2.5.1.
    """
    count = len(image.values)
    if step.gray:
        if count != len(_LUMA):
            raise ModelInputError(f"the image has {count} channels, red, green and blue were expected")
        return GridImage(np.tensordot(_LUMA, image.values, axes=1)[None].astype(np.float32), image.geometry)
    if count != 1:
        raise ModelInputError(f"the image has {count} channels, the model repeats a single one")
    return GridImage(np.repeat(image.values, step.repeat or 1, axis=0), image.geometry)


def stack(inputs: Mapping[str, Sequence[GridImage]], names: Sequence[str]) -> list[GridImage]:
    """Make the inputs named, volumes all, the channels of the first one.

    Raises:
        ModelInputError: they do not lie in one frame of reference.
    """
    [image] = inputs[names[0]]
    parts = [image.values, *(_on_grid_of(image, inputs[name][0], name) for name in names[1:])]
    return [GridImage(np.concatenate(parts), image.geometry)]


def _on_grid_of(image: GridImage, other: GridImage, name: str) -> Array:
    target, source = image.geometry, other.geometry
    volumes = target.source.volume, source.source.volume
    uids = {volume.frame_of_reference_uid for volume in volumes if volume is not None}
    if len(uids) != 1 or "" in uids:
        raise ModelInputError(
            f"input {name} lies in another frame of reference than the first one, so that its place on the first one's grid is not known",
            hint="send series of one examination, or registered ones",
        )
    if target.affine_mm is None or source.affine_mm is None:
        raise TypeError("a volume without affine")
    if image.shape == other.shape and np.allclose(target.affine_mm, source.affine_mm, rtol=0, atol=_SAME_PLACE_MM):
        return other.values
    to_other = np.linalg.inv(source.affine_mm) @ target.affine_mm
    moved = [ndimage.affine_transform(c, to_other[:3, :3], to_other[:3, 3], image.shape, order=1, output=np.float32) for c in other.values]
    return np.stack(moved)
