"""Brain extraction: a coarse network finds the brain's box, a fine one its outline in it; deepbet's steps without torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from time import perf_counter
from typing import cast

import numpy as np

from dicom_node.domain.results import InferenceResult, Measurement, Segment
from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelInputError
from dicom_node.inference.bundle import ModelBundle
from dicom_node.inference.model import Inputs, Model, Prepared, StepRecorder
from dicom_node.inference.models import brain_grid
from dicom_node.inference.models.canonical import Canonical, nearest
from dicom_node.inference.models.intended_use import refuse_other_use
from dicom_node.inference.session import Session, Tensors

_PARAMETERS = (
    "axes=RAS",
    "box_grid=128x128x128",
    "grid=256x256x256",
    "resampling=nearest",
    "percentiles=0.5,99.5",
    "box_margin=10%",
    "threshold=0.5",
    "largest_component=yes",
    "holes=filled",
)
_WIDEST_CUT_MM2 = 2500.0
_PLAUSIBLE_ML = (700.0, 2300.0)


@dataclass(frozen=True, slots=True, eq=False)
class _Head:
    """A volume on its way: turned to RAS, with the intensity range that both networks share; `spent_s` collects the time of the steps."""

    volume: Volume
    canonical: Canonical
    values: brain_grid.Floats
    low: np.float32
    high: np.float32
    spent_s: list[float]


class BrainExtraction(Model):
    """The steps around deepbet's two networks."""

    def __init__(self, bundle: ModelBundle, sessions: Mapping[str, Session]) -> None:
        """Take active sessions: `network` outlines the brain, `box` finds where it is."""
        self._manifest = bundle.manifest
        self._sessions = sessions
        fine = sessions["network"]
        self._identity = bundle.identity(fine.backend, fine.precision)

    def close(self) -> None:
        """Free the engines."""
        for session in self._sessions.values():
            session.deactivate()

    def prepare(self, inputs: Inputs, recorder: StepRecorder) -> Prepared:
        """Turn the head upright and sample it for the box network.

        Raises:
            ModelInputError: outside of the intended use, or without contrast.
        """
        begin = perf_counter()
        refuse_other_use(self._manifest, inputs)
        images = cast("Volume", next(iter(inputs.values())).images)
        with recorder.step("canonical", *_PARAMETERS[:2]):
            canonical = Canonical(images.affine_lps_mm)
            values = canonical.apply(np.nan_to_num(images.values))
            small = nearest(values, brain_grid.BOX_SHAPE)
            low, high = brain_grid.intensity_range(small)
            if not high > low:
                raise ModelInputError(f"the images have no contrast: 99 % of the voxels are {low:g}")
            tensor = brain_grid.normalised(small, low, high)[None, None]
        head = _Head(images, canonical, values, low, high, [perf_counter() - begin])
        return Prepared(inputs, {"image": tensor}, head, recorder)

    def infer(self, prepared: Prepared) -> Tensors:
        """Find the box, then the brain in it.

        Returns:
            `brain`: bool, on the upright grid; all false if there is no box.
        """
        head = cast("_Head", prepared.memo)
        begin = perf_counter()
        found = self._sessions["box"].infer(prepared.tensors)["probability"][0, 1]
        box = brain_grid.box_around(brain_grid.largest_component(found > brain_grid.THRESHOLD), head.values.shape)
        mask = np.zeros(head.values.shape, np.bool_)
        if box is None:
            return {"brain": mask}
        sampled = nearest(head.values[box], brain_grid.BRAIN_SHAPE)
        tensor = brain_grid.normalised(sampled, head.low, head.high)[None, None]
        brain = self._sessions["network"].infer({"image": tensor})["probability"][0, 1]
        mask[box] = nearest(np.asarray(brain, dtype=np.float32), mask[box].shape) > brain_grid.THRESHOLD
        head.spent_s.append(perf_counter() - begin)
        return {"brain": mask}

    def conclude(self, prepared: Prepared, outputs: Tensors, now: datetime) -> InferenceResult:
        """Bring the brain back to the source grid and measure it.

        Raises:
            ModelInputError: no brain was found.
        """
        head = cast("_Head", prepared.memo)
        begin = perf_counter()
        with prepared.recorder.step("outline", *_PARAMETERS[5:]):
            mask = _outline(head, np.asarray(outputs["brain"], dtype=np.bool_))
        head.spent_s.append(perf_counter() - begin)
        volume_ml = float(np.count_nonzero(mask)) * head.volume.voxel_ml
        return InferenceResult(
            model=self._identity,
            finding=self._manifest.outputs.finding.to_code(),
            finding_site=None,
            measurements=self._measurements(volume_ml),
            segments=self._segments(mask),
            highlights=(),
            warnings=_warnings(mask, head.volume, volume_ml),
            parameters=_PARAMETERS,
            started_at=now,
            compute_s=sum(head.spent_s),
        )

    def _measurements(self, volume_ml: float) -> tuple[Measurement, ...]:
        return tuple(
            Measurement(e.id, e.label, e.concept.to_code(), volume_ml, e.unit.to_code(), e.reference_range, segment=e.segment)
            for e in self._manifest.outputs.measurements
        )

    def _segments(self, mask: brain_grid.Mask) -> tuple[Segment, ...]:
        entries = self._manifest.outputs.segments
        return tuple(Segment(e.id, e.label, mask, e.category.to_code(), e.property_type.to_code(), None, e.color_rgb) for e in entries)


def _outline(head: _Head, found: brain_grid.Mask) -> brain_grid.Mask:
    if not found.any():
        raise ModelInputError("no brain was found in the images", hint="the model is for T1-weighted series of the whole head")
    return head.canonical.revert(brain_grid.filled(brain_grid.largest_component(found)))


def _warnings(mask: brain_grid.Mask, volume: Volume, volume_ml: float) -> tuple[str, ...]:
    """Say what makes the figure doubtful: a brain that the images cut, or one of a size that adults do not have."""
    sentences = []
    cut_mm2 = _cut_mm2(mask, volume.spacing_mm)
    if cut_mm2 > _WIDEST_CUT_MM2:
        sentences.append(
            f"The brain reaches the border of the images over {cut_mm2 / 100:.0f} cm2: part of it may lie outside, "
            "the volume is a lower bound."
        )
    if not _PLAUSIBLE_ML[0] <= volume_ml <= _PLAUSIBLE_ML[1]:
        sentences.append(
            f"The brain's volume is {volume_ml:.0f} mL; adults have {_PLAUSIBLE_ML[0]:.0f} to {_PLAUSIBLE_ML[1]:.0f} mL. Check the outline."
        )
    return tuple(sentences)


def _cut_mm2(mask: brain_grid.Mask, spacing_mm: tuple[float, float, float]) -> float:
    """Largest area of the mask on one of the six outer planes of the volume, square millimetres."""
    areas = []
    for axis in range(3):
        others = [spacing_mm[a] for a in range(3) if a != axis]
        planes = np.take(mask, (0, -1), axis)
        areas.append(np.count_nonzero(planes, axis=tuple(a for a in range(3) if a != axis)).max() * others[0] * others[1])
    return float(max(areas))
