"""Chest CT densitometry: lung outline, then the histogram network, then named measurements."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import cast

from dicom_node.domain.instances import Attributes
from dicom_node.domain.matching import meets
from dicom_node.domain.results import Highlight, InferenceResult, Measurement, Segment
from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelError
from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.model import Inputs, Model, Prepared, StepRecorder
from dicom_node.inference.models.intended_use import refuse_other_use
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

    def __init__(self, bundle: ModelBundle, sessions: Mapping[str, Session]) -> None:
        """Take an active session: `network` is the histogram."""
        self._manifest = bundle.manifest
        self._session = sessions["network"]
        self._identity = bundle.identity(self._session.backend, self._session.precision)

    def close(self) -> None:
        """Free the engine."""
        self._session.deactivate()

    def prepare(self, inputs: Inputs, recorder: StepRecorder) -> Prepared:
        """Outline both lungs.

        Raises:
            ModelInputError: outside of the intended use, or no lungs.
        """
        begin = perf_counter()
        refuse_other_use(self._manifest, inputs)
        given = next(iter(inputs.values()))
        images, attributes = cast("Volume", given.images), given.attributes
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
            finding=self._manifest.outputs.finding.to_code(),
            finding_site=None,
            measurements=self._measurements(figures),
            segments=self._segments(lungs.mask),
            highlights=(highlight,),
            warnings=tuple(self._protocol_warnings(lungs.attributes)),
            parameters=_PARAMETERS,
            started_at=now,
            compute_s=lungs.seconds + perf_counter() - begin,
        )

    def _protocol_warnings(self, attributes: Attributes) -> Iterator[str]:
        protocol = self._manifest.protocol
        for condition in protocol.conditions():
            if not meets(condition, attributes):
                wanted, because = protocol.match[condition.keyword], protocol.consequences.get(condition.keyword, "")
                yield _warning(condition.keyword, attributes, str(wanted), because)

    def _measurements(self, figures: dict[str, float]) -> tuple[Measurement, ...]:
        unknown = [entry.id for entry in self._manifest.outputs.measurements if entry.id not in figures]
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
            for entry in self._manifest.outputs.measurements
        )

    def _segments(self, mask: Mask) -> tuple[Segment, ...]:
        entries = self._manifest.outputs.segments
        return tuple(Segment(e.id, e.label, mask, e.category.to_code(), e.property_type.to_code(), None, e.color_rgb) for e in entries)


def _warning(keyword: str, attributes: Attributes, wanted: str, because: str) -> str:
    seen = "given" if wanted == "absent" else "\\".join(attributes.get(keyword, ())) or "not stated"
    return f"Outside the densitometry protocol: {keyword} is {seen}, {wanted} is wanted" + (f"; {because}." if because else ".")
