from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.domain.frames import Frame, FrameSet
from dicom_node.domain.volume import Volume
from dicom_node.inference import ModelInput, load_bundle
from dicom_node.inference.applicability import Applicability, check, not_analysed_result, with_protocol_warnings
from dicom_node.inference.bundle.inputs_schema import InputKind
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.bundle.scope_schema import Geometry, IntendedUse, Plane, Protocol
from dicom_node.inference.geometry_fit import geometry_misfits, plane_of
from dicom_node.inference.header_fit import with_age
from tests.conftest import ROOT

NOW = datetime(2024, 1, 2, tzinfo=UTC)
BUNDLE = load_bundle(ROOT / "config" / "models" / "chest-ct-densitometry")
SHIPPED = BUNDLE.manifest
CT = {"Modality": ("CT",), "SliceThickness": ("1.5",)}
PATIENT = {
    "PatientName": ("Meier^Erika",),
    "PatientID": ("PH-4711",),
    "PatientBirthDate": ("19600229",),
    "AccessionNumber": ("ACC-0815",),
    "ContrastBolusAgent": ("for Mrs Meier",),
    "SeriesDescription": ("Meier T2",),
    "StudyDate": ("20240102",),
}
AXES = {
    "axial": ((0, 0, 1), (0, 1, 0), (1, 0, 0)),
    "coronal": ((0, -1, 0), (0, 0, -1), (1, 0, 0)),
    "sagittal": ((1, 0, 0), (0, 0, -1), (0, 1, 0)),
}


def volume(
    slices: int = 30, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0), plane: str = "axial", turned_deg: float = 0
) -> Volume:
    """A volume without content; `turned_deg` turns it about the patient's left-right axis (sagittal: about the long axis)."""
    axes = np.array(AXES[plane], float)
    angle = np.deg2rad(turned_deg)
    turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
    if plane == "sagittal":
        turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = (turn @ axes.T) * spacing_mm
    return Volume(np.zeros((slices, 4, 5), np.float32), affine, "", ())


def frames(*sizes: tuple[int, int], spacing_mm: tuple[float, float] | None = None) -> FrameSet:
    return FrameSet(tuple(Frame(np.zeros(size, np.float32), f"1.{n}", 1, spacing_mm) for n, size in enumerate(sizes)))


def manifest(kind: str = "volume", use: dict[str, Any] | None = None, protocol: dict[str, Any] | None = None) -> Manifest:
    slot = SHIPPED.inputs[0].model_copy(update={"kind": InputKind(kind), "name": "images"})
    return SHIPPED.model_copy(
        update={
            "inputs": (slot,),
            "intended_use": IntendedUse.model_validate({"text": "Research.", **(use or {})}),
            "protocol": Protocol.model_validate(protocol or {}),
        }
    )


def refusals(images: Volume | FrameSet, use: dict[str, Any], attributes: dict[str, tuple[str, ...]] | None = None) -> list[str]:
    kind = "volume" if isinstance(images, Volume) else "frames"
    found = check(manifest(kind, use), {"images": ModelInput(images, attributes or {})})
    assert found.warnings == ()
    assert found.applies is not bool(found.refusals)
    return list(found.refusals)


def test_images_as_they_should_be_are_analysed_without_a_word() -> None:
    assert check(SHIPPED, {"images": ModelInput(volume(), CT)}) == Applicability((), ())


def test_outside_of_the_intended_use_is_a_refusal_and_outside_of_the_protocol_a_warning() -> None:
    attributes = {"Modality": ("MR",), "SliceThickness": ("2.5",), **PATIENT}
    assert check(SHIPPED, {"images": ModelInput(volume(8), attributes)}) == Applicability(
        ("Modality is MR, the model is for CT.", "The series has 8 slices, the model is for 20 or more slices."),
        (
            "Outside the protocol: Contrast/Bolus Agent is stated (wanted: images without it); it raises lung density, emphysema is "
            "underestimated.",
            "Outside the protocol: Slice Thickness is 2.5 mm (wanted: 1.5 mm or less); thick slices blur low density.",
        ),
    )


@pytest.mark.parametrize(
    ("match", "attributes", "sentence"),
    [
        ({"Modality": "MR"}, {}, "Modality is not stated, the model is for MR."),
        ({"Modality": "MR"}, {"Modality": ()}, "Modality is not stated, the model is for MR."),
        ({"Modality": ["MR", "CT"]}, {"Modality": ("US",)}, "Modality is US, the model is for MR or CT."),
        ({"EchoTime": "<15"}, {"EchoTime": ("90",)}, "Echo Time is 90 ms, the model is for less than 15 ms."),
        ({"EchoTime": "3..15"}, {"EchoTime": ("1.5",)}, "Echo Time is 1.5 ms, the model is for 3 ms to 15 ms."),
        ({"EchoTime": "present"}, {}, "Echo Time is not stated, the model is for images that state it."),
        ({"ContrastBolusAgent": "absent"}, PATIENT, "Contrast/Bolus Agent is stated, the model is for images without it."),
        ({"ImageType": "!LOCALIZER"}, {"ImageType": ("ORIGINAL", "LOCALIZER")}, "Image Type is LOCALIZER, which the model is not for."),
        ({"SeriesDescription": "!~(?i)t2"}, PATIENT, "Series Description is one that the model is not for."),
        ({"SeriesDescription": "~T1"}, PATIENT, "Series Description is another one, the model is for a text like `T1`."),
        ({"PatientAge": ">=18Y"}, {"PatientAge": ("009Y",)}, "Patient's Age is 9 years, the model is for 18 years or more."),
        ({"PatientAge": ">=18Y"}, {"PatientAge": ("001D",)}, "Patient's Age is 1 day, the model is for 18 years or more."),
        ({"PatientAge": ">=18Y"}, {"PatientAge": ("old",)}, "Patient's Age is no readable age, the model is for 18 years or more."),
        ({"PatientAge": ">=18Y"}, {}, "Patient's Age is not stated, the model is for 18 years or more."),
        ({"PatientAge": ">=65Y"}, PATIENT, "Patient's Age is 63 years, the model is for 65 years or more."),
        ({"PatientName": "Other"}, PATIENT, "Patient's Name is another one, the model is for Other."),
        ({"PatientBirthDate": "<1950"}, PATIENT, "Patient's Birth Date is another one, the model is for less than 1950."),
        ({"CallingAET": "MR1"}, {"CallingAET": ("CT1",)}, "CallingAET is another one, the model is for MR1."),
        (
            {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.4"},
            {"SOPClassUID": ("1.2.840.10008.5.1.4.1.1.2",)},
            "SOP Class UID is CT Image Storage, the model is for MR Image Storage.",
        ),
    ],
)
def test_header_outside_of_the_intended_use_is_said_in_words(match: dict[str, Any], attributes: Any, sentence: str) -> None:
    assert refusals(volume(), {"match": match}, attributes) == [sentence]


@pytest.mark.parametrize(
    ("keyword", "wanted"),
    [
        ("PatientName", "x"),
        ("PatientID", "x"),
        ("PatientBirthDate", "1900"),
        ("AccessionNumber", "x"),
        ("SeriesDescription", "!~Meier"),
        ("ContrastBolusAgent", "x"),
        ("StudyDate", "1900"),
    ],
)
def test_no_sentence_names_the_patient(keyword: str, wanted: str) -> None:
    found = " ".join(refusals(volume(), {"match": {keyword: wanted}}, PATIENT))
    assert found
    assert not any(word in found for word in ("Meier", "4711", "1960", "0815", "2024"))


@pytest.mark.parametrize(
    ("born", "seen", "age"),
    [
        ("19600229", "20240228", "063Y"),
        ("19600229", "20240229", "064Y"),
        ("1960.02.29", "20240301", "064Y"),
        ("20230115", "20240114", "011M"),
        ("20220115", "20240115", "002Y"),
        ("20220116", "20240115", "023M"),
        ("20240101", "20240131", "030D"),
        ("20240101", "20240101", "000D"),
    ],
)
def test_age_is_reckoned_from_birth_and_study_date(born: str, seen: str, age: str) -> None:
    assert with_age({"PatientBirthDate": (born,), "StudyDate": (seen,)})["PatientAge"] == (age,)


@pytest.mark.parametrize(
    "attributes",
    [
        {"PatientAge": ("040Y",), "PatientBirthDate": ("19600229",), "StudyDate": ("20240102",)},
        {"PatientBirthDate": ("20250101",), "StudyDate": ("20240102",)},
        {"PatientBirthDate": ("19600230",), "StudyDate": ("20240102",)},
        {"PatientBirthDate": ("1960",), "StudyDate": ("20240102",)},
        {"PatientBirthDate": ("19600229",)},
        {},
    ],
)
def test_age_is_not_invented(attributes: dict[str, tuple[str, ...]]) -> None:
    assert with_age(attributes) is attributes


@pytest.mark.parametrize(
    ("images", "geometry", "seen", "wanted"),
    [
        (volume(19), {"slices": {"min": 20}}, "The series has 19 slices", "20 or more slices"),
        (volume(20), {"slices": {"min": 20, "max": 20}}, "", ""),
        (volume(21), {"slices": {"min": 10, "max": 20}}, "The series has 21 slices", "10 to 20 slices"),
        (volume(21), {"slices": {"max": 20}}, "The series has 21 slices", "20 or fewer slices"),
        (volume(30, (5, 1, 1)), {"slice_spacing_mm": {"max": 3}}, "The distance between slices is 5 mm", "3 mm or less"),
        (volume(30, (3.0004, 1, 1)), {"slice_spacing_mm": {"max": 3}}, "", ""),
        (
            volume(30, (3.002, 1, 1)),
            {"slice_spacing_mm": {"max": 3}},
            "The distance between slices is 3.002 mm",
            "3 mm or less",
        ),
        (
            volume(30, (1, 0.5, 2.5)),
            {"pixel_spacing_mm": {"max": 2}},
            "The distance between pixels is 2.5 mm",
            "2 mm or less",
        ),
        (
            volume(30, (1, 0.1, 2)),
            {"pixel_spacing_mm": {"min": 0.2, "max": 2}},
            "The distance between pixels is 0.1 mm",
            "0.2 to 2 mm",
        ),
        (volume(30, (3, 1, 1)), {"coverage_mm": {"min": 90}}, "", ""),
        (
            volume(30, (3, 1, 1)),
            {"coverage_mm": {"min": 91}},
            "The length that the slices cover is 90 mm",
            "91 mm or more",
        ),
        (volume(), {"orientation": ["coronal", "sagittal"]}, "The slices are axial", "coronal or sagittal slices"),
        (volume(turned_deg=15), {"orientation": ["axial"]}, "", ""),
        (
            volume(turned_deg=16),
            {"orientation": ["axial"]},
            "The slices are oblique (turned by 16 degrees)",
            "axial slices",
        ),
        (volume(turned_deg=16), {"orientation": ["axial", "oblique"]}, "", ""),
        (volume(turned_deg=16), {"orientation": ["axial"], "orientation_tolerance_deg": 20}, "", ""),
        (volume(), {"rows": {"min": 64}}, "The image has 4 pixel rows", "64 or more pixel rows"),
        (
            frames((9, 9), (4, 9)),
            {"rows": {"min": 8}},
            "The image has 4 pixel rows (1 of 2 images)",
            "8 or more pixel rows",
        ),
        (frames((9, 9)), {"columns": {"max": 8}}, "The image has 9 pixel columns", "8 or fewer pixel columns"),
        (frames((9, 9), (9, 9)), {"frames": {"max": 1}}, "The series has 2 images", "1 or fewer images"),
        (frames((9, 9)), {"pixel_spacing_mm": {"max": 1}}, "The distance between pixels is not stated", "1 mm or less"),
        (
            frames((9, 9), spacing_mm=(1.5, 1)),
            {"pixel_spacing_mm": {"max": 1}},
            "The distance between pixels is 1.5 mm",
            "1 mm or less",
        ),
    ],
)
def test_geometry_outside_of_the_intended_use_is_said(images: Volume | FrameSet, geometry: dict[str, Any], seen: str, wanted: str) -> None:
    sentences = [f"{seen}, the model is for {wanted}."] if seen else []
    assert refusals(images, {"geometry": geometry}) == sentences


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@given(turned=st.floats(-89.0, 89.0), tolerance=st.floats(1.0, 44.0))
@settings(max_examples=60, deadline=None)
def test_plane_is_the_nearest_one_or_oblique(plane: str, turned: float, tolerance: float) -> None:
    found, degrees = plane_of(volume(plane=plane, turned_deg=turned), tolerance)
    nearest = min(abs(turned), 90 - abs(turned))
    assert degrees == pytest.approx(nearest, abs=1e-4)
    if abs(nearest - tolerance) > 1e-3:
        assert (found is Plane.OBLIQUE) is (nearest > tolerance)
    if abs(turned) < min(tolerance, 44) - 1e-3:
        assert found == plane


def test_sheared_slices_are_measured_between_their_planes() -> None:
    tilted = volume(10, (3, 1, 1))
    tilted.affine_lps_mm[1, 0] = 4.0  # each slice also shifts by 4 mm, so that its corner is 5 mm from the next
    assert tilted.spacing_mm[0] == 5.0
    geometry = Geometry.model_validate({"slice_spacing_mm": {"max": 3}, "coverage_mm": {"max": 30}, "orientation": ["axial"]})
    assert list(geometry_misfits(tilted, geometry)) == []


@given(low=st.integers(1, 50), more=st.integers(0, 50), slices=st.integers(1, 120))
@settings(deadline=None)
def test_a_count_is_refused_exactly_outside_of_its_limits(low: int, more: int, slices: int) -> None:
    geometry = Geometry.model_validate({"slices": {"min": low, "max": low + more}})
    assert bool(list(geometry_misfits(volume(slices), geometry))) is not (low <= slices <= low + more)


def two_inputs(**use: Any) -> Manifest:
    single = manifest(use=use)
    prior = single.inputs[0].model_copy(update={"name": "prior"})
    return single.model_copy(update={"inputs": (*single.inputs, prior)})


def test_every_input_without_conditions_of_its_own_meets_those_of_all() -> None:
    pair = {"images": ModelInput(volume(), CT), "prior": ModelInput(volume(), {"Modality": ("MR",)})}
    assert check(two_inputs(match={"Modality": "CT"}), pair).refusals == ("Input prior: Modality is MR, the model is for CT.",)
    own = two_inputs(match={"Modality": "CT"}, inputs={"prior": {"match": {"Modality": "MR"}}})
    assert check(own, pair).refusals == ()


def test_input_that_is_missing_is_refused_unless_it_is_optional() -> None:
    both = two_inputs()
    alone = {"images": ModelInput(volume(), CT)}
    assert check(both, alone).refusals == ("Input prior is missing, the model does not run without it.",)
    optional = both.model_copy(update={"inputs": (both.inputs[0], both.inputs[1].model_copy(update={"optional": True}))})
    assert check(optional, alone).refusals == ()


def test_input_of_another_kind_or_name_is_refused() -> None:
    assert check(manifest("volume"), {"images": ModelInput(frames((4, 4)), {})}).refusals == (
        "Input images holds single images, the model is for slices that form a volume.",
    )
    assert check(manifest("frames"), {"images": ModelInput(volume(), {})}).refusals == (
        "Input images was read as a volume, the model is for single images.",
    )
    assert check(manifest(), {"images": ModelInput(volume(), {}), "x": ModelInput(volume(), {})}).refusals == (
        "An input 'x' was given, the model has none of that name.",
    )


def test_result_without_analysis_says_why_and_nothing_else() -> None:
    result = not_analysed_result(BUNDLE, ["Modality is MR."], "onnxruntime", "fp32", NOW)
    assert result.not_analysed == ("Modality is MR.",)
    assert (result.model, result.started_at) == (BUNDLE.identity("onnxruntime", "fp32"), NOW)
    assert (result.measurements, result.segments, result.findings, result.warnings) == ((), (), (), ())
    assert result.finding.value == "39607008"
    with pytest.raises(ValueError, match="reason"):
        not_analysed_result(BUNDLE, [], "onnxruntime", "fp32", NOW)


def test_warnings_of_the_protocol_stand_before_those_of_the_model() -> None:
    result = with_protocol_warnings(not_analysed_result(BUNDLE, ["x"], "a", "b", NOW), Applicability((), ("first",)))
    again = with_protocol_warnings(result, Applicability((), ("zeroth",)))
    assert again.warnings == ("zeroth", "first")


def test_conditions_are_made_once() -> None:
    assert SHIPPED.intended_use.conditions() is SHIPPED.intended_use.conditions()
