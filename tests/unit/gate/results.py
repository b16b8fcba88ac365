"""Small results to compare, made by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import numpy as np

from dicom_node.domain.results import (
    BoxRegion,
    Code,
    Evaluation,
    Finding,
    Highlight,
    ImageRegion,
    InferenceResult,
    Measurement,
    ModelIdentity,
    ParametricMap,
    RegionKind,
    Segment,
    Stage,
)

CODE = Code("1", "99T", "Thing")
OTHER = Code("2", "99T", "Other thing")
UNIT = Code("mL", "UCUM", "milliliter")
IDENTITY = ModelIdentity("m", "M", "1", "T", "w", "d", "1.2", "onnxruntime", "fp32", Stage.RESEARCH, "tests")
NOW = datetime(2026, 1, 2, tzinfo=UTC)


def box_on_frame(left: float, top: float, width: float = 20.0, height: float = 20.0, *, uid: str = "1.2.3") -> ImageRegion:
    right, bottom = left + width, top + height
    return ImageRegion(uid, 1, RegionKind.POLYLINE, ((left, top), (right, top), (right, bottom), (left, bottom), (left, top)))


def point(column: float, row: float) -> ImageRegion:
    return ImageRegion("1.2.3", 1, RegionKind.POINT, ((column, row),))


def box_in_volume(first: int, last: int, left: float = 0.0, frame: str = "1.9") -> BoxRegion:
    outline = ((left, 0.0), (left + 10.0, 0.0), (left + 10.0, 10.0), (left, 10.0))
    return BoxRegion(frame, ((0.0, 0.0, 0.0),) * 8, (first, last), outline)


def finding(region: ImageRegion | BoxRegion | None, score: float | None = 0.9, number: int = 1, concept: Code = CODE) -> Finding:
    return Finding("nodule", number, "Nodule", concept, score, None, region)


def measurement(value: float, name: str = "volume", unit: Code = UNIT) -> Measurement:
    return Measurement(name, name, CODE, value, unit, "")


def evaluation(value: Code = CODE, score: float | None = 0.8) -> Evaluation:
    return Evaluation("density", "Density", CODE, value, score)


def result(**fields: object) -> InferenceResult:
    """A result with one segment, one highlight, one measurement and one map, or with what is given instead."""
    mask = np.zeros((2, 4, 4), np.bool_)
    mask[:, 1:3, 1:3] = True
    whole: dict[str, object] = {
        "measurements": (measurement(100.0),),
        "segments": (Segment("organ", "Organ", mask, CODE, CODE, None, (1, 2, 3)),),
        "highlights": (Highlight("low", mask.copy(), (1, 2, 3)),),
        "maps": (ParametricMap("heat", "Heat", np.linspace(0, 2, 32, dtype=np.float32).reshape(2, 4, 4), CODE, UNIT),),
    }
    return InferenceResult(
        model=IDENTITY,
        finding=CODE,
        finding_site=None,
        warnings=(),
        parameters=(),
        started_at=NOW,
        compute_s=0.1,
        **(whole | fields),  # type: ignore[arg-type]
    )
