"""The images of a verification case, as the model's inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dicom_node.domain.frames import Frame, FrameSet, Images
from dicom_node.domain.instances import Attributes
from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelError, StudyError
from dicom_node.inference.bundle.inputs_schema import Color, InputKind, InputSlot
from dicom_node.inference.bundle.verification_schema import Case, Recipe
from dicom_node.inference.gate.case_files import inside, read_volume
from dicom_node.inference.gate.phantoms import phantom
from dicom_node.inference.gate.subject import Subject
from dicom_node.inference.model import Inputs, ModelInput

FolderReader = Callable[[Path, InputSlot], ModelInput]
"""Reads the DICOM files of one series, as the node reads what it receives."""


@dataclass(frozen=True, slots=True)
class CaseInputs:
    """Makes or reads them.

    Attributes:
        read_folder: For cases that are DICOM files.
    """

    read_folder: FolderReader

    def load(self, subject: Subject, case: Case) -> Inputs:
        """Make the inputs of a case, in the order of the model's inputs.

        Raises:
            ModelError: an input that is not optional has no recipe, or a recipe cannot be followed.
        """
        slots = {slot.name: slot for slot in subject.bundle.manifest.inputs}
        missing = [name for name, slot in slots.items() if name not in case.inputs and not slot.optional]
        if missing or set(case.inputs) - set(slots):
            raise ModelError(f"{subject.name}, case {case.name}: inputs are {', '.join(case.inputs)}, the model has {', '.join(slots)}")
        return {name: self._load(subject.bundle.folder, slots[name], case.inputs[name]) for name in slots if name in case.inputs}

    def _load(self, folder: Path, slot: InputSlot, recipe: Recipe) -> ModelInput:
        own = _attributes(recipe)
        if recipe.generator:
            return ModelInput(_as(slot, phantom(recipe.generator, recipe.parameters).volume()), own)
        path = inside(folder, recipe.file)
        if path.is_dir():
            read = self._series(path, slot)
            return replace(read, attributes={**read.attributes, **own})
        return ModelInput(_as(slot, read_volume(path)), own)

    def _series(self, path: Path, slot: InputSlot) -> ModelInput:
        try:
            return self.read_folder(path, slot)
        except StudyError as error:
            raise ModelError(f"{path}: a case's images cannot be read: {error}") from error


def _attributes(recipe: Recipe) -> Attributes:
    return {keyword: (value,) if isinstance(value, str) else tuple(value) for keyword, value in recipe.attributes.items()}


def _as(slot: InputSlot, volume: Volume) -> Images:
    """A volume as it is, or each of its slices as a frame: of an instance of its own, gray or with the same value in every colour."""
    if slot.kind is InputKind.VOLUME:
        return volume
    spacing = volume.spacing_mm[1:]
    return FrameSet(
        tuple(
            Frame(_rgb(values) if slot.color is Color.RGB else values, uid, 1, (spacing[0], spacing[1]))
            for values, uid in zip(volume.values, volume.source_sop_instance_uids, strict=True)
        )
    )


def _rgb(values: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """0 to 255 in every colour; what lies outside is cut off."""
    return np.repeat(np.clip(np.rint(values), 0, 255).astype(np.uint8)[..., None], 3, axis=-1)


def first_images(inputs: Mapping[str, ModelInput]) -> Images:
    """The images that results refer to."""
    return next(iter(inputs.values())).images
