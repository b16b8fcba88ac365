"""A MONAI bundle as a model: volumes go in as NIfTI in RAS, predictions come back onto the source grid."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from dicom_node.domain.results import InferenceResult
from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelError, ModelInputError
from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.bundle.inputs_schema import InputFiles
from dicom_node.inference.model import Inputs, Model, ModelInput, Prepared, StepRecorder
from dicom_node.inference.programs.foreign_result import ForeignOutputs, Run, result_from_outputs
from dicom_node.inference.programs.input_files import write_inputs
from dicom_node.inference.programs.monai_runtime import MonaiRuntime
from dicom_node.inference.programs.placing import ras_affine
from dicom_node.inference.session import Tensors
from dicom_node.inference.steps.grid import GridImage, images_from_input

_PREDICTION = "pred"


@dataclass(frozen=True, slots=True, eq=False)
class _Memo:
    data: dict[str, Any]
    volume: Volume
    sources: list[GridImage]
    began: float


class MonaiModel(Model):
    """Preprocessing, inferer and postprocessing are the bundle's own."""

    def __init__(self, bundle: ModelBundle) -> None:
        """Load the bundle.

        Raises:
            EngineUnavailableError: MONAI is not installed.
            ModelError: MONAI refuses the bundle, or model.yaml does not say which input it gets.
        """
        inputs = bundle.manifest.network.inputs
        if not inputs:
            raise ModelError(f"{bundle.folder}: network.inputs names no input of the MONAI bundle", hint="such as image: images")
        self._bundle = bundle
        self._key = next(iter(inputs))
        self._runtime = MonaiRuntime(bundle.network_path)

    def close(self) -> None:
        """Nothing is held but memory."""

    def prepare(self, inputs: Inputs, recorder: StepRecorder) -> Prepared:
        """Run the bundle's preprocessing.

        Raises:
            ModelInputError: an input is missing, or no volume.
            ModelError: a transform fails.
        """
        begin, slots = perf_counter(), self._bundle.manifest.network.inputs
        given: dict[str, ModelInput] = {}
        for key, slot in slots.items():
            if slot not in inputs or not isinstance(inputs[slot].images, Volume):
                raise ModelInputError(f"input {slot} is {'no volume' if slot in inputs else 'missing'}")
            given[key] = inputs[slot]
        first = given[self._key].images
        if not isinstance(first, Volume):
            raise TypeError("checked above")
        with tempfile.TemporaryDirectory(prefix="dicom-node-monai-") as folder, recorder.step("monai.preprocessing"):
            write_inputs(given, InputFiles.NIFTI, Path(folder))
            data = self._runtime.prepare({key: Path(folder) / f"{key}.nii.gz" for key in given})
        return Prepared(inputs, {}, _Memo(data, first, images_from_input(first), begin), recorder)

    def infer(self, prepared: Prepared) -> Tensors:
        """Run the bundle's inferer.

        Raises:
            ModelError: it fails.
        """
        with prepared.recorder.step("monai.inferer"):
            return {_PREDICTION: self._runtime.infer(_memo_of(prepared).data, self._key)}

    def conclude(self, prepared: Prepared, outputs: Tensors, now: datetime) -> InferenceResult:
        """Run the bundle's postprocessing, and bring its answer onto the source grid.

        Raises:
            ModelError: it fails, or gives what model.yaml does not name.
        """
        memo = _memo_of(prepared)
        grid = (ras_affine(memo.volume), memo.volume.values.shape[::-1])
        with prepared.recorder.step("monai.postprocessing"):
            made = self._runtime.conclude(memo.data, (self._key, _PREDICTION), outputs[_PREDICTION], grid)
        values = np.ascontiguousarray(made.transpose(0, 3, 2, 1))
        run = Run("monai", ("transforms=monai",), now, perf_counter() - memo.began)
        return result_from_outputs(self._bundle, ForeignOutputs({_PREDICTION: values}, {}), memo.sources, run, prepared.recorder)


def _memo_of(prepared: Prepared) -> _Memo:
    if not isinstance(prepared.memo, _Memo):
        raise TypeError("prepared by another model")
    return prepared.memo
