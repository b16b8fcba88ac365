"""What a program left in its output folder: `result.json` and images; everything is checked, nothing is taken as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import highdicom
import nibabel
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicom_node.domain.frames import Images
from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelError
from dicom_node.inference.programs.placing import lps_from_ras, on_source_grid

RESULT_FILE = "result.json"
_LARGEST_RESULT_BYTES = 16 << 20
_MERCURE = "__"
"""mercure's own keys begin so."""
_Edge = tuple[float, float, float]


class FoundBox(BaseModel):
    """Something that was detected."""

    model_config = ConfigDict(extra="forbid")

    id: str = Field(description="`id` of the finding in model.yaml.")
    score: Annotated[float, Field(ge=0, le=1)] = Field(description="0 to 1.")
    lower_px: _Edge = Field(description="Lower edges along slice, row and column; pixel i reaches from i - 0.5 to i + 0.5.")
    upper_px: _Edge = Field(description="Upper edges.")
    frame: Annotated[int, Field(ge=0)] = Field(0, description="Number of the frame, from 0; of a volume 0.")


class ResultFile(BaseModel):
    """`result.json`."""

    model_config = ConfigDict(extra="forbid")

    measurements: dict[str, float | list[float]] = Field({}, description="Numbers by the name that `of` in model.yaml has.")
    scores: dict[str, list[float]] = Field({}, description="Class scores, 0 to 1, by the name that `output` in model.yaml has.")
    findings: list[FoundBox] | None = Field(None, description="Detections; an empty list says that nothing was found.")


def read_result_file(folder: Path) -> ResultFile:
    """Read `result.json`; a program that gives only images may leave it out.

    Raises:
        ModelError: it is no JSON, or holds what it must not.
    """
    path = folder / RESULT_FILE
    if not path.exists() and not path.is_symlink():
        return ResultFile()
    try:
        content = checked_file(folder, RESULT_FILE, _LARGEST_RESULT_BYTES).read_bytes()
        told = _object_of(content)
        return ResultFile.model_validate({k: v for k, v in told.items() if not k.startswith(_MERCURE)})
    except ValidationError as error:
        places = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False)[:3])
        raise ModelError(f"{RESULT_FILE} of the program: {places}", hint="docs/importing-models.md says what it may hold") from error


def _object_of(content: bytes) -> dict[str, object]:
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{RESULT_FILE} of the program is no JSON") from error
    if not isinstance(told, dict):
        raise ModelError(f"{RESULT_FILE} of the program holds {type(told).__name__}, an object is wanted")
    return told


def read_image(folder: Path, name: str, images: Images) -> NDArray[np.generic]:
    """Read an image that the program wrote.

    Args:
        folder: Output folder.
        name: `.nii`, `.nii.gz`, `.npz` with `values` and `affine_lps_mm`, or `.dcm`, a DICOM SEG; of frames `.npz` with `values`.
        images: What results refer to.

    Returns:
        Shape (channel, slice, row, column) on the source grid, or (channel, frame, row, column).

    Raises:
        ModelError: it is missing, cannot be read, or lies on another grid.
    """
    path = checked_file(folder, name, 8 << 30)
    try:
        if not isinstance(images, Volume):
            return _frames_image(path, images)
        if name.endswith((".nii", ".nii.gz")):
            return on_source_grid(*_nifti(path), images, name)
        if name.endswith(".npz"):
            return on_source_grid(*_npz(path), images, name)
        if name.endswith(".dcm"):
            return _seg(path, images)
    except ModelError:
        raise
    except Exception as error:  # what a foreign file makes its reader raise is not listed anywhere
        raise ModelError(f"{name} of the program cannot be read: {type(error).__name__}") from error
    raise ModelError(f"{name}: outputs are .nii, .nii.gz, .npz or .dcm")


def checked_file(folder: Path, name: str, largest_bytes: int) -> Path:
    """Find a file of the output folder.

    Raises:
        ModelError: it is missing, too large, or leads elsewhere.
    """
    path = folder / name
    if path.is_symlink() or not path.resolve().is_relative_to(folder.resolve()):
        raise ModelError(f"{name} of the program is a link, or leads out of its output folder; it is not read")
    if not path.is_file():
        there = ", ".join(sorted(p.name for p in folder.iterdir())[:8]) or "nothing"
        raise ModelError(f"the program did not write {name}; there is {there}")
    if path.stat().st_size > largest_bytes:
        raise ModelError(f"{name} of the program has {path.stat().st_size} bytes, {largest_bytes} are read at most")
    return path


def _nifti(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    image = nibabel.load(path)
    if not isinstance(image, nibabel.spatialimages.SpatialImage):
        raise ModelError(f"{path.name} of the program is no image")
    values = np.asarray(image.dataobj)
    if values.ndim not in (3, 4):
        raise ModelError(f"{path.name} of the program has {values.ndim} axes, 3 or 4 (the last one channels) are wanted")
    channels = values[None] if values.ndim == 3 else np.moveaxis(values, 3, 0)
    return channels, lps_from_ras(np.asarray(image.affine, np.float64))


def _npz(path: Path) -> tuple[NDArray[np.generic], NDArray[np.float64]]:
    with np.load(path, allow_pickle=False) as stored:
        values, affine = stored["values"], np.asarray(stored["affine_lps_mm"], np.float64)
    if values.ndim not in (3, 4) or affine.shape != (4, 4):
        raise ModelError(f"{path.name} of the program: values have {values.ndim} axes, affine_lps_mm has shape {affine.shape}")
    return (values[None] if values.ndim == 3 else values), affine


def _frames_image(path: Path, images: Images) -> NDArray[np.generic]:
    if isinstance(images, Volume) or path.suffix != ".npz":
        raise ModelError(f"{path.name}: images of frames come as .npz")
    with np.load(path, allow_pickle=False) as stored:
        values = stored["values"]
    wanted = (len(images.frames), *images.frames[0].values.shape[:2])
    if values.shape[-3:] != wanted or values.ndim not in (3, 4):
        raise ModelError(f"{path.name} of the program has shape {values.shape}, the frames have {wanted}")
    return np.asarray(values[None] if values.ndim == 3 else values)


def _seg(path: Path, volume: Volume) -> NDArray[np.generic]:
    """A label map by segment number, each frame placed by the source image that it refers to."""
    seg = highdicom.seg.Segmentation.from_dataset(pydicom.dcmread(path))
    if seg.get("FrameOfReferenceUID") not in (None, volume.frame_of_reference_uid):
        raise ModelError(f"{path.name} of the program: its Frame of Reference is another one than the images'")
    uids = volume.source_sop_instance_uids
    referenced = {str(uid) for _, _, uid in seg.get_source_image_uids()}
    if foreign := referenced - set(uids):
        raise ModelError(f"{path.name} of the program refers to {len(foreign)} images that were not among its inputs")
    options: dict[str, Any] = {"combine_segments": True, "ignore_spatial_locations": True, "assert_missing_frames_are_empty": True}
    if volume.source_frame_numbers:
        labels = seg.get_pixels_by_source_frame(uids[0], list(volume.source_frame_numbers), **options)
    else:
        labels = seg.get_pixels_by_source_instance(list(uids), **options)
    return np.asarray(labels)[None]
