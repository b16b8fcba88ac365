"""From outputs to what a result holds: segments, measurements, findings, evaluations, maps, all on the source grid."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.results import BoxRegion, Evaluation, Finding, ImageRegion, Measurement, ParametricMap, Segment
from dicom_node.errors import ModelError, ModelInputError
from dicom_node.inference.bundle.outputs_schema import (
    EvaluationEntry,
    FindingEntry,
    MapEntry,
    MeasurementEntry,
    OutputsSection,
    SegmentEntry,
)
from dicom_node.inference.steps.grid import Geometry, GridImage
from dicom_node.inference.steps.masks import Mask
from dicom_node.inference.steps.measures import measure
from dicom_node.inference.steps.postprocess import Kind, OutputImage, Outputs, brought_back
from dicom_node.inference.steps.regions import region_from_box, source_box
from dicom_node.inference.steps.schema import is_segment_quantity
from dicom_node.inference.steps.tensors import AnyArray

_Pixel = TypeVar("_Pixel", np.bool_, np.float32)
_ROUNDING = 1e-3
_YES = 0.5


@dataclass(slots=True)
class Outcome:
    """What a result holds.

    Attributes:
        warnings: What could not be said, a sentence each.
        boxes_outside: Boxes that lay wholly outside the source, as in a padded border; they are no findings.
    """

    segments: tuple[Segment, ...] = ()
    measurements: tuple[Measurement, ...] = ()
    findings: tuple[Finding, ...] = ()
    evaluations: tuple[Evaluation, ...] = ()
    maps: tuple[ParametricMap, ...] = ()
    warnings: list[str] = field(default_factory=list)
    boxes_outside: int = 0


class OutcomeMaker:
    """Reads one run's outputs by the `outputs` section of a manifest."""

    def __init__(self, section: OutputsSection, outputs: Outputs, seen: Sequence[Geometry], sources: Sequence[GridImage]) -> None:
        """Take what `postprocess` gave.

        Args:
            section: Of the manifest.
            outputs: Postprocessed.
            seen: Places of the images that the network saw.
            sources: The same images as they came, on their own grid.
        """
        self._section = section
        self._outputs = outputs
        self._seen = seen
        self._sources = sources
        self._at_source: dict[str, list[OutputImage]] = {}
        self._outcome = Outcome()

    def make(self) -> Outcome:
        """Read everything that the manifest names.

        Raises:
            ModelError: an output is not what the manifest says, or holds no number.
            ModelInputError: frames differ in size, or give a number each where one is wanted.
        """
        made, section = self._outcome, self._section
        made.segments = tuple(self._segment(entry) for entry in section.segments)
        made.measurements = tuple(m for m in (self._measurement(entry) for entry in section.measurements) if m is not None)
        made.findings = tuple(finding for entry in section.findings for finding in self._findings(entry))
        made.evaluations = tuple(self._evaluation(entry) for entry in section.evaluations)
        made.maps = tuple(self._map(entry) for entry in section.maps)
        return made

    @cached_property
    def _is_frame_set(self) -> bool:
        return self._sources[0].geometry.is_frame

    def _images(self, output: str) -> list[OutputImage]:
        name = output or self._outputs.first
        if name not in self._outputs.images:
            raise ModelError(f"output {name} is no image; images are {', '.join(self._outputs.images) or 'none'}")
        if name not in self._at_source:
            self._at_source[name] = [brought_back(image) for image in self._outputs.images[name]]
        return self._at_source[name]

    def _masks(self, entry: SegmentEntry) -> list[Mask]:
        return [_mask(image, entry) for image in self._images(entry.output)]

    def _segment(self, entry: SegmentEntry) -> Segment:
        return Segment(
            id=entry.id,
            label=entry.label,
            mask=self._together(self._masks(entry)),
            category=entry.category.to_code(),
            property_type=entry.property_type.to_code(),
            anatomic_site=entry.site.to_code() if entry.site else None,
            color_rgb=entry.color_rgb,
        )

    def _map(self, entry: MapEntry) -> ParametricMap:
        images = self._images(entry.output)
        if any(image.kind is not Kind.SCORES for image in images) or entry.channel >= len(images[0].values):
            raise ModelError(f"map {entry.id}: channel {entry.channel} of output {entry.output or self._outputs.first} holds no numbers")
        values = self._together([np.asarray(image.values[entry.channel], np.float32) for image in images])
        if not np.isfinite(values).all():
            raise ModelError(f"map {entry.id}: the network gave {np.count_nonzero(~np.isfinite(values))} pixels that are no numbers")
        return ParametricMap(entry.id, entry.label, values, entry.quantity.to_code(), entry.unit.to_code())

    def _together(self, parts: Sequence[NDArray[_Pixel]]) -> NDArray[_Pixel]:
        """Make one array of all frames, or take the volume's."""
        if not self._is_frame_set:
            return parts[0]
        sizes = sorted({part.shape[1:] for part in parts})
        if len(sizes) != 1:
            raise ModelInputError(f"the frames have different sizes {sizes}; segments and maps need frames of one size")
        return np.concatenate(parts)

    def _measurement(self, entry: MeasurementEntry) -> Measurement | None:
        value = self._figure(entry) if is_segment_quantity(entry.of) else self._number(entry)
        if value is None:
            return None
        if not math.isfinite(value):
            raise ModelError(f"measurement {entry.id}: output {entry.of} is {value}, a number is wanted")
        return Measurement(
            id=entry.id,
            label=entry.label,
            concept=entry.concept.to_code(),
            value=value,
            unit=entry.unit.to_code(),
            reference_range=entry.reference_range,
            derivation=entry.derivation.to_code() if entry.derivation else None,
            segment=entry.segment,
        )

    def _figure(self, entry: MeasurementEntry) -> float | None:
        [segment] = [s for s in self._section.segments if s.id == entry.segment]
        masks = self._masks(segment)
        geometries = [image.geometry for image in self._sources]
        figure = measure(entry.of, masks, [image.values[0] for image in self._sources], geometries)
        if figure is None:
            unknown = entry.of == "diameter_mm" and any(mask.any() for mask in masks)
            why = "the images have no Pixel Spacing" if unknown else f"nothing was marked as {segment.label}"
            self._outcome.warnings.append(f"{entry.label} was not measured: {why}.")
        return figure

    def _number(self, entry: MeasurementEntry) -> float:
        numbers = self._one_list(entry.of, f"measurement {entry.id}")
        if entry.index is None and len(numbers) != 1:
            raise ModelError(f"measurement {entry.id}: output {entry.of} holds {len(numbers)} numbers; say which one by index")
        if (index := entry.index or 0) >= len(numbers):
            raise ModelError(f"measurement {entry.id}: output {entry.of} holds {len(numbers)} numbers, index is {index}")
        return float(numbers[index])

    def _one_list(self, output: str, what: str) -> NDArray[np.float64]:
        name = output or self._outputs.first
        if name not in self._outputs.lists:
            raise ModelError(f"{what}: output {name} is no list of numbers")
        numbers: AnyArray = self._outputs.lists[name]
        if len(numbers) != 1:
            raise ModelInputError(
                f"{what}: the network gave {len(numbers)} answers, one for each image, the model wants one",
                hint="send a series of one image, or declare class_scores or rescale with pool",
            )
        return np.asarray(numbers, np.float64).reshape(-1)

    def _scores(self, output: str, what: str) -> NDArray[np.float64]:
        scores = self._one_list(output, what)
        if not np.isfinite(scores).all() or scores.min(initial=0) < -_ROUNDING or scores.max(initial=0) > 1 + _ROUNDING:
            raise ModelError(f"{what}: scores are {np.round(scores, 3).tolist()}, 0 to 1 is wanted", hint="declare activation")
        return np.clip(scores, 0.0, 1.0)

    def _evaluation(self, entry: EvaluationEntry) -> Evaluation:
        scores = self._scores(entry.output, f"evaluation {entry.id}")
        if len(scores) == 1 and len(entry.classes) == 2:
            scores = np.array([1.0 - scores[0], scores[0]])  # a single score is that of the second answer
            chosen = int(scores[1] >= _YES)
        elif len(scores) == len(entry.classes):
            chosen = int(scores.argmax())
        else:
            raise ModelError(f"evaluation {entry.id} has {len(entry.classes)} classes, the network gave {len(scores)} scores")
        return Evaluation(entry.id, entry.label, entry.concept.to_code(), entry.classes[chosen].to_code(), float(scores[chosen]))

    def _findings(self, entry: FindingEntry) -> list[Finding]:
        if self._outputs.found is not None and (entry.output or self._outputs.first) == self._outputs.boxes_of:
            return self._detections(entry)
        scores = self._scores(entry.output, f"finding {entry.id}")
        if entry.class_index >= len(scores):
            raise ModelError(f"finding {entry.id} is class {entry.class_index}, the network gave {len(scores)} scores")
        score = float(scores[entry.class_index])
        return [_finding(entry, 1, score)] if score >= entry.threshold else []

    def _detections(self, entry: FindingEntry) -> list[Finding]:
        found = self._outputs.found
        findings: list[Finding] = []
        if found is None:
            return findings
        for index in np.flatnonzero((found.classes == entry.class_index) & (found.scores >= entry.threshold)):
            geometry = self._seen[found.images[index]]
            box = source_box(found.lower[index], found.upper[index], geometry)
            if box is None:
                self._outcome.boxes_outside += 1
                continue
            score = min(1.0, max(0.0, float(found.scores[index])))
            findings.append(_finding(entry, len(findings) + 1, score, region_from_box(*box, geometry)))
        return findings


def _finding(entry: FindingEntry, number: int, score: float, region: ImageRegion | BoxRegion | None = None) -> Finding:
    return Finding(
        id=entry.id,
        number=number,
        label=entry.label,
        concept=entry.concept.to_code(),
        score=score,
        site=entry.site.to_code() if entry.site else None,
        region=region,
    )


def _mask(image: OutputImage, entry: SegmentEntry) -> Mask:
    if image.kind is Kind.LABELS:
        if entry.label_value is None:
            raise ModelError(f"segment {entry.id}: the output is a label map; say label_value")
        return np.asarray(image.values[0] == entry.label_value, np.bool_)
    if image.kind is Kind.SCORES:
        raise ModelError(f"segment {entry.id}: the output holds scores; declare threshold or argmax")
    channel = entry.channel or 0
    if entry.label_value is not None or channel >= len(image.values):
        raise ModelError(f"segment {entry.id}: the output has {len(image.values)} masks; say channel, from 0")
    return np.asarray(image.values[channel], np.bool_)
