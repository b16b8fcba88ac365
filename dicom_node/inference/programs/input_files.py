"""What a program finds in its input folder."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np

from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelError, ModelInputError
from dicom_node.inference.bundle.inputs_schema import InputFiles
from dicom_node.inference.model import Inputs, ModelInput
from dicom_node.inference.programs.placing import ras_affine


def write_inputs(inputs: Inputs, form: InputFiles, folder: Path) -> None:
    """Write every input: `NAME.nii.gz` (frames: `NAME.npz` with `frame_0`, ...), or the received DICOM files in a folder `NAME`.

    With one input DICOM files lie in the folder itself, as applications that were made for one series expect it.

    Raises:
        ModelInputError: DICOM files are wanted of images that did not come as such.
        ModelError: the disk does not take them.
    """
    try:
        for name, given in inputs.items():
            if form is InputFiles.DICOM:
                place = folder if len(inputs) == 1 else folder / name
                _copy_files(name, given, place)
            elif isinstance(given.images, Volume):
                image = nibabel.Nifti1Image(  # type: ignore[no-untyped-call]  # nibabel leaves it untyped
                    given.images.values.transpose(), ras_affine(given.images)
                )
                image.header.set_xyzt_units("mm")  # type: ignore[no-untyped-call]  # as above
                nibabel.save(image, folder / f"{name}.nii.gz")
            else:
                frames: dict[str, Any] = {f"frame_{n}": frame.values for n, frame in enumerate(given.images.frames)}
                np.savez(folder / f"{name}.npz", **frames)
    except OSError as error:
        raise ModelError(f"the input folder of the program cannot be written: {error.strerror}", hint="look at free space") from error


def _copy_files(name: str, given: ModelInput, place: Path) -> None:
    if not given.files:
        raise ModelInputError(f"input {name} did not come as DICOM files, which the program wants")
    place.mkdir(exist_ok=True)
    for number, file in enumerate(given.files):
        shutil.copyfile(file, place / f"{number:05}.dcm")
