"""Results that hold everything a model can say, for any made source."""

from __future__ import annotations

import numpy as np

from dicom_node.domain.frames import FrameSet
from dicom_node.domain.jobs import JobKey
from dicom_node.domain.results import (
    BoxRegion,
    Code,
    Evaluation,
    Finding,
    ImageRegion,
    InferenceResult,
    Measurement,
    ModelIdentity,
    ParametricMap,
    RegionKind,
    Segment,
    Stage,
)
from dicom_node.domain.volume import Volume
from dicom_node.sr_writer import DEFAULT_FORM, BuildRequest, ResultForm
from tests.result_sources import NOW, STUDY, VALUES, MadeSource

KEY = JobKey(STUDY, 1, "rule", "d" * 64)
LUNG = Code("39607008", "SCT", "Lung")
NODULE = Code("27925004", "SCT", "Nodule")
ORGAN = Code("91723000", "SCT", "Anatomical Structure")
VOLUME = Code("118565006", "SCT", "Volume")
DIAMETER = Code("103339001", "SCT", "Long Axis")
ML, MM, ONE = Code("mL", "UCUM", "milliliter"), Code("mm", "UCUM", "millimeter"), Code("1", "UCUM", "no units")
DENSITY = Code("129715009", "SCT", "Breast composition")
DENSE = Code("129718006", "SCT", "Heterogeneously dense")
SALIENCY = Code("130404", "DCM", "Saliency")
MODEL = ModelIdentity(
    "markers", "Marker finder", "1.2.0", "dicom-node", "a" * 64, "b" * 64, "2.25.77", "onnxruntime", "fp32", Stage.RESEARCH, "Tests only."
)
COLORS = {"left": (255, 80, 80), "back": (80, 220, 80), "head": (90, 140, 255)}


def masks(images: Volume | FrameSet) -> dict[str, np.ndarray]:
    """Where each marker is, by its value; of colour pictures everything bright, by the third of the picture."""
    if isinstance(images, Volume):
        return {name: np.abs(images.values - value) < 1 for name, value in VALUES.items()}
    values = np.stack([f.values if f.values.ndim == 2 else f.values[..., 0].astype(np.float32) * 8 for f in images.frames])
    background = 1000 if values.max() > 1000 else 0  # 0 of frames with a Rescale Intercept
    return {name: np.abs(values - background - value) < 9 for name, value in VALUES.items()}


def segments(images: Volume | FrameSet) -> tuple[Segment, ...]:
    return tuple(Segment(name, f"Marker {name}", mask, ORGAN, LUNG, None, COLORS[name]) for name, mask in masks(images).items())


def box_of(mask: np.ndarray, volume: Volume) -> BoxRegion:
    """The smallest box around a mask, pixel edges included."""
    z, y, x = (np.flatnonzero(mask.any(axis=axes)) for axes in ((1, 2), (0, 2), (0, 1)))
    outline = ((x[0], y[0]), (x[-1] + 1, y[0]), (x[-1] + 1, y[-1] + 1), (x[0], y[-1] + 1))
    corners = [(k, row - 0.5, column - 0.5) for k in (z[0] - 0.5, z[-1] + 0.5) for column, row in outline]
    placed = [tuple(float(v) for v in (volume.affine_lps_mm @ (*corner, 1))[:3]) for corner in corners]
    pixels = tuple((float(a), float(b)) for a, b in outline)
    return BoxRegion(volume.frame_of_reference_uid, tuple(placed), (int(z[0]), int(z[-1])), pixels)


def findings(source: MadeSource) -> tuple[Finding, ...]:
    """A box (in a volume) or rectangle, a point, and a class of the whole image."""
    images = source.images
    size = Measurement("long-axis", "Long axis", DIAMETER, 12.5, MM, "below 6 mm")
    if isinstance(images, Volume):
        region = box_of(masks(images)["left"], images)
        k = int(np.flatnonzero(np.any(list(masks(images).values()), axis=(0, 2, 3)))[-1])
        uid, frame = images.source_sop_instance_uids[k], images.source_frame_numbers[k] if images.source_frame_numbers else 1
    else:
        last = images.frames[-1]
        uid, frame = last.sop_instance_uid, last.frame_number
        corners = ((5.0, 4.0), (15.0, 4.0), (15.0, 12.0), (5.0, 12.0), (5.0, 4.0))
        region = ImageRegion(uid, frame, RegionKind.POLYLINE, corners)
    point = ImageRegion(uid, frame, RegionKind.POINT, ((20.5, 8.5),))
    shape = Evaluation(
        "margin", "Margin", Code("129737002", "SCT", "Radiographic lesion margin"), Code("129742005", "SCT", "Spiculated lesion")
    )
    return (
        Finding("nodule", 1, "Nodule", NODULE, 0.91, LUNG, region, (size,), (shape,)),
        Finding("nodule", 2, "Nodule", NODULE, 0.4, None, point),
        Finding("effusion", 1, "Effusion", Code("60046008", "SCT", "Pleural effusion"), 0.07, None, None),
    )


def full_result(source: MadeSource) -> InferenceResult:
    """Everything at once."""
    found = segments(source.images)
    values = np.max([np.where(s.mask, 1.0, 0.05 * n) for n, s in enumerate(found)], axis=0).astype(np.float32)
    return InferenceResult(
        model=MODEL,
        finding=LUNG,
        finding_site=None,
        measurements=(
            Measurement("total", "Marked volume", VOLUME, 12.345678, ML, "5 to 10 mL (phantom)"),
            *(Measurement(f"volume-{s.id}", f"Volume {s.id}", VOLUME, 1.5 + n, ML, "", None, s.id) for n, s in enumerate(found)),
        ),
        segments=found,
        highlights=(),
        warnings=("Slice spacing is outside of the protocol.",),
        parameters=("threshold=0.5",),
        started_at=NOW,
        compute_s=0.1,
        findings=findings(source),
        evaluations=(Evaluation("density", "Density", DENSITY, DENSE, 0.8), Evaluation("quality", "Quality", DENSITY, DENSE)),
        maps=(ParametricMap("saliency", "Saliency", values, SALIENCY, ONE),),
    )


def empty_result(*, not_analysed: tuple[str, ...] = ()) -> InferenceResult:
    """Nothing found, or nothing analysed."""
    return InferenceResult(MODEL, LUNG, None, (), (), (), (), (), NOW, 0.0, not_analysed=not_analysed)


def request(
    source: MadeSource, result: InferenceResult | None = None, form: ResultForm = DEFAULT_FORM, language: str = "en"
) -> BuildRequest:
    made = full_result(source) if result is None else result
    return BuildRequest(KEY, source.data_sets, source.images, made, "0.1.0", "AINODE", language=language, form=form)
