"""A model that is a program: it gets an input folder and an output folder, and nothing else."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from time import perf_counter

import numpy as np

from dicom_node.domain.results import InferenceResult
from dicom_node.errors import ModelError, ModelInputError
from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.model import Inputs, Model, Prepared, StepRecorder
from dicom_node.inference.programs.answers import ResultFile, read_image, read_result_file
from dicom_node.inference.programs.foreign_result import ForeignOutputs, Run, result_from_outputs
from dicom_node.inference.programs.input_files import write_inputs
from dicom_node.inference.programs.sandbox import Program, Ran, run_program
from dicom_node.inference.session import Tensors
from dicom_node.inference.steps.detections import Detections
from dicom_node.inference.steps.grid import GridImage, images_from_input
from dicom_node.inference.steps.schema import is_segment_quantity

FINDINGS = "findings"
"""`output` of findings that are detections; others are class scores and name their list."""


@dataclass(slots=True, eq=False)
class _Memo:
    sources: list[GridImage]
    ran: Ran | None = None
    seconds: float = 0.0
    result: ResultFile | None = None


class CommandModel(Model):
    """Runs the program once for each job; it is not kept between jobs."""

    def __init__(self, bundle: ModelBundle) -> None:
        """Name the program; it is started by `infer`."""
        self._bundle = bundle
        manifest = bundle.manifest
        self._program = Program(
            argv=manifest.network.command,
            image=manifest.network.image,
            bundle=bundle.folder.resolve(),
            name=manifest.name,
            time_limit_s=manifest.resources.time_limit.total_seconds(),
            memory_bytes=manifest.resources.memory,
        )

    def close(self) -> None:
        """Nothing is held."""

    def prepare(self, inputs: Inputs, recorder: StepRecorder) -> Prepared:
        """Look whether the inputs are there.

        Raises:
            ModelInputError: one is missing.
        """
        manifest = self._bundle.manifest
        for slot in manifest.inputs:
            if slot.name not in inputs and not slot.optional:
                raise ModelInputError(f"input {slot.name} is missing")
        return Prepared(inputs, {}, _Memo(images_from_input(inputs[manifest.inputs[0].name].images)), recorder)

    def infer(self, prepared: Prepared) -> Tensors:
        """Run the program in folders of its own, which are gone afterwards.

        Raises:
            ModelError: it fails, or did not write what model.yaml names.
        """
        memo, manifest = _memo_of(prepared), self._bundle.manifest
        begin, first = perf_counter(), prepared.inputs[manifest.inputs[0].name].images
        with tempfile.TemporaryDirectory(prefix="dicom-node-program-") as work:
            given, made = Path(work) / "input", Path(work) / "output"
            given.mkdir()
            made.mkdir()
            with prepared.recorder.step("input_files", f"form={manifest.network.input_files}"):
                write_inputs(prepared.inputs, manifest.network.input_files, given)
            memo.ran = run_program(replace(self._program, output_file=prepared.recorder.output_file), given, made)
            with prepared.recorder.step("program", f"way={memo.ran.way}", f"network={memo.ran.network}"):
                memo.result = read_result_file(made)
                tensors = {name: read_image(made, name, first) for name in self._image_names()}
        memo.seconds = perf_counter() - begin
        return tensors

    def conclude(self, prepared: Prepared, outputs: Tensors, now: datetime) -> InferenceResult:
        """Bring its answers into the form that model.yaml names.

        Raises:
            ModelError: an answer is missing, or is none that model.yaml names.
        """
        memo = _memo_of(prepared)
        if memo.ran is None or memo.result is None:
            raise TypeError("infer comes first")
        self._check_names(memo.result)
        told = {**{name: np.atleast_1d(np.asarray(v, np.float64)) for name, v in memo.result.measurements.items()}}
        told |= {name: np.asarray(scores, np.float64) for name, scores in memo.result.scores.items()}
        found = self._found(memo.result, len(memo.sources)) if self._looks_for_boxes() else None
        run = Run("command", (f"program={memo.ran.way}", f"network={memo.ran.network}"), now, memo.seconds)
        foreign = ForeignOutputs(dict(outputs), told, found, FINDINGS if found is not None else "")
        return result_from_outputs(self._bundle, foreign, memo.sources, run, prepared.recorder)

    def _image_names(self) -> Iterator[str]:
        outputs = self._bundle.manifest.outputs
        for name in dict.fromkeys([*(s.output for s in outputs.segments), *(m.output for m in outputs.maps)]):
            if not name:
                raise ModelError(
                    f"{self._program.name}: an output names no file of the program's output folder", hint="write output: NAME.nii.gz"
                )
            yield name

    def _looks_for_boxes(self) -> bool:
        return any(entry.output == FINDINGS for entry in self._bundle.manifest.outputs.findings)

    def _check_names(self, result: ResultFile) -> None:
        """Whatever the program says is named by model.yaml, and whatever model.yaml names was said."""
        outputs = self._bundle.manifest.outputs
        numbers = {m.of for m in outputs.measurements if not is_segment_quantity(m.of)}
        scores = {*(e.output for e in outputs.evaluations), *(f.output for f in outputs.findings)} - {FINDINGS}
        for what, wanted, told in (("measurements", numbers, set(result.measurements)), ("scores", scores, set(result.scores))):
            if missing := sorted(wanted - told):
                raise ModelError(f"result.json of the program lacks {what} {', '.join(missing)}")
            if unknown := sorted(told - wanted):
                raise ModelError(f"result.json of the program holds {len(unknown)} {what} that model.yaml does not name")
        if self._looks_for_boxes() != (result.findings is not None):
            has = "lacks" if result.findings is None else "holds"
            raise ModelError(f"result.json of the program {has} findings, model.yaml says otherwise")

    def _found(self, result: ResultFile, images: int) -> Detections:
        boxes = sorted(result.findings or (), key=lambda box: -box.score)
        classes = {entry.id: entry.class_index for entry in self._bundle.manifest.outputs.findings if entry.output == FINDINGS}
        for box in boxes:
            if box.id not in classes or box.frame >= images or any(a >= b for a, b in zip(box.lower_px, box.upper_px, strict=True)):
                raise ModelError("result.json of the program: a finding has an id that model.yaml lacks, no such frame, or an empty box")
        return Detections(
            lower=np.array([box.lower_px for box in boxes], np.float64).reshape(-1, 3),
            upper=np.array([box.upper_px for box in boxes], np.float64).reshape(-1, 3),
            scores=np.array([box.score for box in boxes], np.float64),
            classes=np.array([classes[box.id] for box in boxes], np.intp),
            images=np.array([box.frame for box in boxes], np.intp),
            planar=False,
        )


def _memo_of(prepared: Prepared) -> _Memo:
    if not isinstance(prepared.memo, _Memo):
        raise TypeError("prepared by another model")
    return prepared.memo
