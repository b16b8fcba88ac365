"""What the shipped bundles say about headers and geometry: which series they take, and with which sentence they refuse the others."""

from __future__ import annotations

import numpy as np
import pytest

from dicom_node.domain.frames import Frame, FrameSet
from dicom_node.domain.volume import Volume
from dicom_node.inference.applicability import Applicability, check
from dicom_node.inference.bundle import Manifest
from dicom_node.inference.bundle.loading import read_manifest
from dicom_node.inference.model import ModelInput
from tests.conftest import ROOT

MPRAGE = {
    "Modality": ("MR",),
    "PatientAge": ("045Y",),
    "SeriesDescription": ("t1_mprage_sag_p2_iso",),
    "ImageType": ("ORIGINAL", "PRIMARY", "M", "ND", "NORM"),
    "MRAcquisitionType": ("3D",),
    "RepetitionTime": ("2300",),
    "EchoTime": ("2.98",),
}

OTHER_SERIES = (
    "t2_tse_tra",
    "FLAIR sag 3D",
    "TOF 3D",
    "ep2d_diff_ADC",
    "SWI_Images",
    "localizer",
    "PD fat sat",
    "MPR cor",
    "T1 map",
    "MIP",
)
IMAGES, OTHER_OBJECTS = ("US", "OT", "CR", "DX", "CT", "MR"), ("SR", "SEG", "RTSTRUCT")


def manifest(name: str) -> Manifest:
    found = read_manifest(ROOT / "config" / "models" / name).manifest
    assert found is not None
    return found


BRAIN, TEXT = manifest("brain-extraction"), manifest("burned-in-text")


def head(slices: int = 176, spacing_mm: float = 1.0, pixel_mm: float = 1.0) -> Volume:
    affine = np.eye(4)[:, [2, 1, 0, 3]]
    affine[:3, :3] = affine[:3, :3] @ np.diag([spacing_mm, pixel_mm, pixel_mm])
    return Volume(np.zeros((slices, 8, 8), np.float32), affine, "", ())


def asked(volume: Volume, **elements: tuple[str, ...]) -> Applicability:
    header = {keyword: values for keyword, values in {**MPRAGE, **elements}.items() if values}
    return check(BRAIN, {"images": ModelInput(volume, header)})


@pytest.mark.parametrize("description", ["t1_mprage_sag_p2_iso", "Ax 3D BRAVO", "T1W_3D_TFE", "FSPGR", "SAG CUBE T1", "T1 space", ""])
def test_common_t1_weighted_series_are_taken(description: str) -> None:
    assert asked(head(), SeriesDescription=(description,)) == Applicability((), ())


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"Modality": ("CT",)}, "Modality is CT"),
        ({"PatientAge": ("009Y",)}, "trained on adults"),
        ({"PatientAge": ("011M",)}, "trained on adults"),
        ({"PatientAge": ()}, "Age is not stated"),
        ({"EchoTime": ("85",)}, "so long an echo time is not T1 weighting"),
        ({"EchoTime": ()}, "Echo Time is not stated"),
        *(
            ({"SeriesDescription": (text,)}, "the description names another weighting")
            for text in (
                "t2_tse_tra",
                "FLAIR sag 3D",
                "TOF 3D",
                "ep2d_diff_ADC",
                "SWI_Images",
                "localizer",
                "PD fat sat",
                "MPR cor",
                "ASL 3D",
            )
        ),
        ({"ImageType": ("DERIVED", "SECONDARY", "PROJECTION IMAGE")}, "Image Type"),
        ({"ImageType": ("ORIGINAL", "PRIMARY", "P", "ND")}, "Image Type"),
    ],
)
def test_other_series_are_refused_with_the_reason(elements: dict[str, tuple[str, ...]], words: str) -> None:
    refusals = asked(head(), **elements).refusals
    assert len(refusals) == 1
    assert words in refusals[0]


@pytest.mark.parametrize(
    ("volume", "words"),
    [
        (head(24, 6.0), "24"),
        (head(80, 1.0), "the whole head has to be in the images"),
        (head(60, 3.5), "3.5"),
        (head(pixel_mm=2.5), "2.5"),
    ],
)
def test_other_geometry_is_refused(volume: Volume, words: str) -> None:
    assert any(words in refusal for refusal in asked(volume).refusals)


def test_age_is_reckoned_from_dates_where_it_is_missing() -> None:
    dates = {"PatientBirthDate": ("20100101",), "StudyDate": ("20240101",)}
    assert "trained on adults" in asked(head(), PatientAge=(), **dates).refusals[0]
    assert asked(head(), PatientAge=(), **{**dates, "PatientBirthDate": ("19700101",)}).applies


def test_contrast_thick_slices_and_2d_are_warned_of() -> None:
    found = asked(head(80, 2.5), ContrastBolusAgent=("Gadovist",), MRAcquisitionType=("2D",))
    assert found.applies
    assert len(found.warnings) == 3
    assert all(any(words in w for w in found.warnings) for words in ("may count as brain", "3-D acquisitions", "thick slices blur"))


@pytest.mark.parametrize("modality", [*IMAGES, *OTHER_OBJECTS])
def test_burned_in_text_takes_images_and_no_other_objects(modality: str) -> None:
    frames = FrameSet((Frame(np.zeros((64, 64), np.float32), "1.2", 1, None),))
    assert check(TEXT, {"images": ModelInput(frames, {"Modality": (modality,)})}).applies is (modality in IMAGES)


@pytest.mark.parametrize("name", ["brain-extraction", "burned-in-text", "chest-ct-densitometry"])
def test_a_shipped_manifest_has_no_fault_but_networks_that_are_not_fetched_yet(name: str) -> None:
    faults = read_manifest(ROOT / "config" / "models" / name).faults
    assert [str(fault) for fault in faults if not fault.message.startswith("no file")] == []
