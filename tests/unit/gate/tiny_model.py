"""A whole model around a tiny network: what is brightest is a segment, with a volume, a mean score and a map."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import numpy as np

from dicom_node.domain.results import Code, InferenceResult, Measurement, ParametricMap, Segment
from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelInputError
from dicom_node.inference import ModelBundle
from dicom_node.inference.model import Inputs, Model, Prepared, StepRecorder
from dicom_node.inference.session import Session, Tensors

THING, ML, NO_UNIT = Code("1", "99T", "Thing"), Code("mL", "UCUM", "milliliter"), Code("1", "UCUM", "no units")


class Tiny(Model):
    def __init__(self, bundle: ModelBundle, sessions: Mapping[str, Session]) -> None:
        session = sessions["network"]
        self._identity = bundle.identity(session.backend, session.precision)
        self._session = session

    def close(self) -> None:
        self._session.deactivate()

    def prepare(self, inputs: Inputs, recorder: StepRecorder) -> Prepared:
        images = inputs["images"].images
        if not isinstance(images, Volume) or len(images.values) < 4:
            raise ModelInputError("the model needs 4 slices or more")
        return Prepared(inputs, {"x": images.values[:, None] / np.float32(1000.0)}, images, recorder)

    def infer(self, prepared: Prepared) -> Tensors:
        return self._session.infer(prepared.tensors)

    def conclude(self, prepared: Prepared, outputs: Tensors, now: datetime) -> InferenceResult:
        y, volume = np.asarray(outputs["y"], np.float32), prepared.inputs["images"].images
        mask = y.argmax(axis=1) == 1
        volume_ml = float(np.count_nonzero(mask)) * volume.voxel_ml
        return InferenceResult(
            model=self._identity,
            finding=THING,
            finding_site=None,
            measurements=(
                Measurement("volume", "Volume", THING, volume_ml, ML, ""),
                Measurement("score", "Score", THING, float(y.mean(dtype=np.float64)), NO_UNIT, ""),
            ),
            segments=(Segment("thing", "Thing", mask, THING, THING, None, (1, 2, 3)),),
            highlights=(),
            warnings=(),
            parameters=(),
            started_at=now,
            compute_s=0.0,
            maps=(ParametricMap("heat", "Heat", y[:, 1], THING, NO_UNIT),),
        )
