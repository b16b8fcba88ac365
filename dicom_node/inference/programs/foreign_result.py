"""From arrays on the source grid, however made, to a result: declared steps after the network, then what the manifest names."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.results import InferenceResult
from dicom_node.errors import ModelError
from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.model import StepRecorder
from dicom_node.inference.steps.detections import Detections
from dicom_node.inference.steps.grid import GridImage
from dicom_node.inference.steps.outcome import OutcomeMaker
from dicom_node.inference.steps.postprocess import Kind, OutputImage, Outputs, postprocess
from dicom_node.inference.steps.postprocess_schema import Activation, Argmax, Threshold
from dicom_node.inference.steps.recording import chosen_parameters


@dataclass(frozen=True, slots=True, eq=False)
class ForeignOutputs:
    """What a program or a MONAI bundle gave.

    Attributes:
        images: Shape (channel, slice, row, column) on the source grid (of frames: (channel, frame, row, column)), by output.
        lists: Numbers, by output.
        found: Boxes; None if none were looked for.
        boxes_of: Name of the output that they stand for.
    """

    images: Mapping[str, NDArray[np.generic]]
    lists: Mapping[str, NDArray[np.float64]]
    found: Detections | None = None
    boxes_of: str = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run.

    Attributes:
        parameters: As `name=value`, how it was run.
        compute_s: Time that it took, seconds.
    """

    backend: str
    parameters: tuple[str, ...]
    started_at: datetime
    compute_s: float


def result_from_outputs(
    bundle: ModelBundle, outputs: ForeignOutputs, sources: Sequence[GridImage], run: Run, recorder: StepRecorder
) -> InferenceResult:
    """Make the result.

    Args:
        bundle: The model.
        outputs: What it gave.
        sources: The first input's images, as they came.
        run: How.
        recorder: Of the run.

    Raises:
        ModelError: an output is not what the manifest says.
    """
    begin, section = perf_counter(), bundle.manifest.outputs
    kinds = kinds_of(bundle.manifest, tuple(outputs.images))
    images = {name: _placed(values, kinds[name], sources, name) for name, values in outputs.images.items()}
    lists = {name: np.asarray(numbers)[None] for name, numbers in outputs.lists.items()}
    names = [*images, *lists, outputs.boxes_of]
    sorted_out = Outputs(names[0], images, dict(lists), outputs.found, outputs.boxes_of)
    processed = postprocess(sorted_out, bundle.manifest.steps.postprocess, sources[0].shape, recorder)
    with recorder.step("outputs"):
        outcome = OutcomeMaker(section, processed, [s.geometry for s in sources], sources).make()
    return InferenceResult(
        model=bundle.identity(run.backend, "fp32"),
        finding=section.finding.to_code(),
        finding_site=section.finding_site.to_code() if section.finding_site else None,
        measurements=outcome.measurements,
        segments=outcome.segments,
        highlights=(),
        warnings=tuple(outcome.warnings),
        parameters=(*run.parameters, *chosen_parameters(bundle.manifest.steps.postprocess)),
        started_at=run.started_at,
        compute_s=run.compute_s + perf_counter() - begin,
        findings=outcome.findings,
        evaluations=outcome.evaluations,
        maps=outcome.maps,
    )


def kinds_of(manifest: Manifest, names: Sequence[str]) -> dict[str, Kind]:
    """Tell what an image holds: scores where steps come after it or a map shows it, labels where a segment names a value, else masks."""
    first, outputs = (names[0] if names else ""), manifest.outputs
    shown = {entry.output or first for entry in outputs.maps}
    labels = {entry.output or first for entry in outputs.segments if entry.label_value is not None}
    scored = {e.step.of or first for e in manifest.steps.postprocess if isinstance(e.step, Activation | Threshold | Argmax)}
    if both := sorted(shown & labels - scored):
        raise ModelError(f"output {both[0]} is a map and a label map at once")
    return {name: Kind.SCORES if name in shown | scored else Kind.LABELS if name in labels else Kind.MASKS for name in names}


def _placed(values: NDArray[np.generic], kind: Kind, sources: Sequence[GridImage], name: str) -> list[OutputImage]:
    if kind is not Kind.SCORES and values.dtype.kind == "f" and not np.array_equal(values, np.rint(values)):
        raise ModelError(f"output {name} holds fractions, masks and labels are whole numbers", hint="declare threshold or argmax after it")
    if kind is Kind.LABELS and len(values) != 1:
        raise ModelError(f"output {name} has {len(values)} channels, a label map has one")
    typed: NDArray[np.generic] = (
        values.astype(np.float32) if kind is Kind.SCORES else values.astype(np.int32) if kind is Kind.LABELS else values != 0
    )
    if not sources[0].geometry.is_frame:
        return [OutputImage(np.ascontiguousarray(typed), sources[0].geometry, kind)]
    return [OutputImage(typed[:, n : n + 1], source.geometry, kind) for n, source in enumerate(sources)]
