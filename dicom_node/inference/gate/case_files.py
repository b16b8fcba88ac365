"""Images of a verification case from a file or folder inside the bundle."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.frames import Images
from dicom_node.domain.uids import derive_uid
from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelError

_SAME_PLACE_MM = 0.01
_LPS_FROM_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def inside(folder: Path, name: str) -> Path:
    """Resolve a name in a bundle.

    Raises:
        ModelError: it leads out of the bundle, or there is nothing of that name.
    """
    path = (folder / name).resolve()
    if not path.is_relative_to(folder.resolve()):
        raise ModelError(f"{folder}: {name} leads out of the bundle")
    if not path.exists():
        raise ModelError(f"{folder}: {name} is missing", hint="A case's files have to lie in the bundle.")
    return path


def read_volume(path: Path) -> Volume:
    """Read a volume.

    Args:
        path: `.npz` with `values`, shape (slice, row, column), and `affine_lps_mm` 4x4; or NIfTI, `.nii` or `.nii.gz`.

    Raises:
        ModelError: it cannot be read, or is no volume.
    """
    try:
        values, affine = _npz(path) if path.suffix == ".npz" else _nifti(path)
    except (OSError, ValueError, KeyError, EOFError, nibabel.filebasedimages.ImageFileError) as error:
        raise ModelError(f"{path}: no volume can be read: {type(error).__name__}: {error}") from error
    if values.ndim != 3 or affine.shape != (4, 4) or not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        raise ModelError(
            f"{path}: values have {values.ndim} axes and the affine shape {affine.shape}; 3 axes and an invertible 4x4 are wanted"
        )
    if np.linalg.det(affine[:3, :3]) > 0:  # the slices run against the normal of rows and columns: from the other end they run along it
        values, affine = values[::-1], affine @ _from_the_end(len(values))
    uids = tuple(derive_uid("case-slice", path.name, str(n)) for n in range(len(values)))
    return Volume(np.ascontiguousarray(values, np.float32), affine, derive_uid("case-frame", path.name), uids)


def read_mask(path: Path, images: Images) -> NDArray[np.bool_]:
    """Read a mask on the grid of a case's images: `.npz` with `mask`, or NIfTI; whatever is not 0 belongs to it.

    Raises:
        ModelError: it cannot be read, or says that it lies in another place than the images.
    """
    try:
        if path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as stored:
                return np.asarray(stored["mask"] != 0, np.bool_)
        volume = read_volume(path)
    except (OSError, ValueError, KeyError, EOFError) as error:
        raise ModelError(f"{path}: no mask can be read: {type(error).__name__}: {error}") from error
    if isinstance(images, Volume) and not np.allclose(volume.affine_lps_mm, images.affine_lps_mm, atol=_SAME_PLACE_MM):
        raise ModelError(f"{path}: the mask lies in another place than the case's images, more than {_SAME_PLACE_MM:g} mm off")
    return np.asarray(volume.values != 0, np.bool_)


def _npz(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    with np.load(path, allow_pickle=False) as stored:
        return stored["values"], np.asarray(stored["affine_lps_mm"], np.float64)


def _nifti(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    image = nibabel.load(path)
    if not isinstance(image, nibabel.spatialimages.SpatialImage):
        raise ValueError(f"it is {type(image).__name__}")
    values = np.asarray(image.dataobj, np.float32)
    affine = _LPS_FROM_RAS @ np.asarray(image.affine, np.float64)
    return values.transpose(), affine[:, [2, 1, 0, 3]]


def _from_the_end(slices: int) -> NDArray[np.float64]:
    turned = np.eye(4)
    turned[0, 0], turned[0, 3] = -1.0, slices - 1.0
    return turned
