"""Chest CT densitometry: lung outline, then the histogram network, then named measurements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter

import numpy as np

from dicom_node.domain.instances import Attributes
from dicom_node.domain.results import Highlight, InferenceResult, Measurement, Segment
from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelError, ModelInputError
from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.model import Inputs, Model, Prepared, StepRecorder
from dicom_node.inference.models.lungs import Mask, segment_lungs
from dicom_node.inference.session import Session, Tensors

_LOW_ATTENUATION_HU = -950.0
_PARAMETERS = ("lung_threshold_hu=-500", "closing_mm=3", "airways=excluded")


@dataclass(frozen=True, slots=True, eq=False)
class _Lungs:
    volume: Volume
    attributes: Attributes
    mask: Mask
    seconds: float


class Densitometry(Model):
    """The steps around the histogram network."""

    def __init__(self, bundle: ModelBundle, session: Session) -> None:
        """Take an active session."""
        self._manifest = bundle.manifest
        self._identity = bundle.identity(session.backend, session.precision)
        self._session = session

    def close(self) -> None:
        """Free the engine."""
        self._session.deactivate()

    def prepare(self, inputs: Inputs, recorder: StepRecorder) -> Prepared:
        """Outline both lungs.

        Raises:
            ModelInputError: no CT volume, too few slices, or no lungs.
        """
        begin = perf_counter()
        images, attributes = next(iter(inputs.values())).images, next(iter(inputs.values())).attributes
        if not isinstance(images, Volume):
            raise ModelInputError("the series is no volume")
        self._check_intended_use(images, attributes)
        with recorder.step("lungs", *_PARAMETERS):
            mask = segment_lungs(images)
        return Prepared(inputs, {"hu": images.values[mask]}, _Lungs(images, attributes, mask, perf_counter() - begin), recorder)

    def infer(self, prepared: Prepared) -> Tensors:
        """Take the histogram of the lungs."""
        return self._session.infer(prepared.tensors)

    def conclude(self, prepared: Prepared, outputs: Tensors, now: datetime) -> InferenceResult:
        """Name the figures.

        Source: definitions in doi 10.1148/radiol.2016152036.
        """
        lungs = prepared.memo
        if not isinstance(lungs, _Lungs):
            raise TypeError("prepared by another model")
        begin = perf_counter()
        figures = {name: float(value) for name, value in outputs.items()}
        figures["lung_volume"] = figures["voxel_count"] * lungs.volume.voxel_ml
        highlight = Highlight("below -950 HU", lungs.mask & (lungs.volume.values < _LOW_ATTENUATION_HU - 0.5), (230, 60, 50))
        return InferenceResult(
            model=self._identity,
            finding=self._manifest.finding.to_code(),
            finding_site=None,
            measurements=self._measurements(figures),
            segments=self._segments(lungs.mask),
            highlights=(highlight,),
            warnings=tuple(self._protocol_warnings(lungs.volume, lungs.attributes)),
            parameters=_PARAMETERS,
            started_at=now,
            compute_s=lungs.seconds + perf_counter() - begin,
        )

    def _check_intended_use(self, volume: Volume, attributes: Attributes) -> None:
        use = self._manifest.intended_use
        modality = "\\".join(attributes.get("Modality", ()))
        if modality != use.modality:
            raise ModelInputError(f"Modality is {modality or 'missing'}, the model is for {use.modality}")
        if len(volume.values) < use.min_slices:
            raise ModelInputError(f"the series has {len(volume.values)} slices, the model needs {use.min_slices} or more")

    def _protocol_warnings(self, volume: Volume, attributes: Attributes) -> Iterator[str]:
        protocol = self._manifest.protocol
        agent = any(value.strip() for value in attributes.get("ContrastBolusAgent", ()))
        if protocol.contrast == "none" and agent:
            yield "Outside the densitometry protocol: contrast agent was given; it raises lung density, emphysema is underestimated."
        thickness = _number(attributes, "SliceThickness") or volume.spacing_mm[0]
        if protocol.max_slice_thickness_mm is not None and thickness > protocol.max_slice_thickness_mm:
            yield (
                f"Outside the densitometry protocol: slices are {thickness:g} mm thick, {protocol.max_slice_thickness_mm:g} mm or less "
                "are wanted; thick slices blur low density."
            )

    def _measurements(self, figures: dict[str, float]) -> tuple[Measurement, ...]:
        unknown = [entry.id for entry in self._manifest.measurements if entry.id not in figures]
        if unknown:
            raise ModelError(f"model.yaml names measurements that the network does not give: {', '.join(unknown)}")
        return tuple(
            Measurement(
                entry.id,
                entry.label,
                entry.concept.to_code(),
                figures[entry.id],
                entry.unit.to_code(),
                entry.reference_range,
                entry.derivation.to_code() if entry.derivation else None,
            )
            for entry in self._manifest.measurements
        )

    def _segments(self, mask: Mask) -> tuple[Segment, ...]:
        entries = self._manifest.segments
        return tuple(Segment(e.id, e.label, mask, e.category.to_code(), e.property_type.to_code(), None, e.color_rgb) for e in entries)


def _number(attributes: Attributes, keyword: str) -> float | None:
    try:
        value = float(attributes.get(keyword, ("",))[0])
    except (ValueError, IndexError):
        return None
    return value if np.isfinite(value) and value > 0 else None
