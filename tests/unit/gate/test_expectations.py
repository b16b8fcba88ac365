from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from dicom_node.domain.results import InferenceResult
from dicom_node.domain.volume import Volume
from dicom_node.inference.bundle.verification_schema import Expectation
from dicom_node.inference.gate.expectations import check_expectation
from dicom_node.inference.gate.running import Run
from tests.unit.gate.results import box_in_volume, box_on_frame, evaluation, finding, measurement, result

IMAGES = Volume(np.zeros((2, 4, 4), np.float32), np.diag([10.0, 10.0, 10.0, 1.0]), "1.9", ("1", "2"))
TRUTH = result().segments[0].mask


def failed(seen: InferenceResult | Run, wanted: dict[str, object], mask: np.ndarray = TRUTH) -> tuple[str, ...]:
    run = seen if isinstance(seen, Run) else Run({}, seen)
    return check_expectation(run, Expectation.model_validate(wanted), IMAGES, lambda _: mask)[1]


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({"measurements": {"volume": {"value": 101, "within": 1}}}, ""),
        ({"measurements": {"volume": {"value": 101.1, "within": 1}}}, "measurement volume: 100 mL, 101.1 within 1 is expected"),
        ({"measurements": {"mass": {"value": 1, "within": 1}}}, "measurement mass: it does not come out, 1 is expected"),
        ({"segments": {"organ": {"volume_ml": 8, "within": 0.001}}}, ""),
        ({"segments": {"organ": {"volume_ml": 9, "within": 0.5}}}, "segment organ: 8 mL, 9 within 0.5 is expected"),
        ({"segments": {"liver": {"volume_ml": 9, "within": 0.5}}}, "segment liver: it does not come out"),
        ({"segments": {"organ": {"mask": "truth.npz", "dice": 1}}}, ""),
        ({"evaluations": {"density": "1"}}, ""),
        ({"evaluations": {"density": "2"}}, "evaluation density: 1, 2 is expected"),
        ({"evaluations": {"side": "2"}}, "evaluation side: nothing, 2 is expected"),
        ({"warning": "thick"}, ""),
        ({"warning": "thin"}, "no warning holds 'thin'; there are 1"),
        ({"not_analysed": "no lungs"}, "the input is analysed, a refusal with 'no lungs' is expected"),
    ],
)
def test_what_comes_out_beside_what_must(wanted: dict[str, object], said: str) -> None:
    seen = result(evaluations=(evaluation(),))
    seen = dataclasses.replace(seen, warnings=("slices are thick",))
    assert failed(seen, wanted) == ((said,) if said else ())


def test_a_mask_that_overlaps_too_little_is_said_with_its_dice() -> None:
    half = TRUTH.copy()
    half[0] = False
    wanted = {"segments": {"organ": {"mask": "truth.npz", "dice": 0.9}}}
    assert failed(result(), wanted, half) == ("segment organ: Dice 0.66667 with the expected mask, 0.9 is expected",)
    assert "shape is (2, 4, 4), the expected mask has (1, 4, 4)" in failed(result(), wanted, TRUTH[:1])[0]


BOX = {"id": "nodule", "center_px": [10, 10], "within": 1}


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ([BOX, {**BOX, "center_px": [110, 10]}], ""),
        ([{**BOX, "center_px": [110, 10]}, {"id": "nodule"}], ""),
        ([BOX], "finding nodule: there are 2, 1 are expected"),
        ([], "finding nodule: there are 2, 0 are expected"),
        ([BOX, {**BOX, "center_px": [112, 10]}], "finding nodule: none is within 1 px of (112, 10)"),
        ([BOX, BOX], "finding nodule: none is within 1 px of (10, 10)"),
        ([{**BOX, "score": 0.95}, {"id": "nodule"}], "finding nodule: none is with a score of 0.95 or more within 1 px of (10, 10)"),
        ([{**BOX, "score": 0.85}, {"id": "nodule"}], ""),
        ([{"id": "nodule", "center_mm": [10, 10, 0], "within": 5}, {"id": "nodule"}], "finding nodule: none is within 5 mm of (10, 10, 0)"),
        ([{"id": "mass"}], "finding mass: there are 0, 1 are expected"),
    ],
)
def test_findings_are_all_listed_in_any_order(wanted: list[dict[str, object]], said: str) -> None:
    seen = result(findings=(finding(box_on_frame(100, 0), 0.8, 2), finding(box_on_frame(0, 0), 0.9, 1)))
    assert failed(seen, {"findings": wanted}) == ((said,) if said else ())


def test_a_finding_in_a_volume_has_its_centre_in_the_patient() -> None:
    region = dataclasses.replace(box_in_volume(0, 9), corners_lps_mm=((0.0, 0.0, 0.0),) * 4 + ((10.0, 20.0, 30.0),) * 4)
    wanted = {"id": "nodule", "center_mm": [5, 10, 16], "within": 1}
    assert failed(result(findings=(finding(region),)), {"findings": [wanted]}) == ()


@pytest.mark.parametrize(
    ("run", "wanted", "said"),
    [
        (Run(None, None, failure="out of memory"), {"warning": "x"}, "the reference fails: out of memory"),
        (Run(None, None, not_analysed="no lungs found"), {"not_analysed": "no lungs"}, ""),
        (
            Run(None, None, not_analysed="too few slices"),
            {"not_analysed": "no lungs"},
            "because 'too few slices', a reason with 'no lungs'",
        ),
        (Run(None, None, not_analysed="no lungs found"), {"warning": "x"}, "the input is not analysed: no lungs found"),
    ],
)
def test_runs_that_gave_no_result(run: Run, wanted: dict[str, object], said: str) -> None:
    found = failed(run, wanted)
    assert (found == ()) if not said else (said in found[0])


def test_a_value_that_is_no_number_fails_even_where_nothing_is_expected_of_it() -> None:
    heat = dataclasses.replace(result().maps[0], values=np.full((2, 4, 4), np.nan, np.float32))
    seen = result(measurements=(measurement(math.nan),), maps=(heat,))
    assert failed(seen, {"segments": {"organ": {"volume_ml": 8, "within": 0.001}}}) == (
        "measurement volume: nan is no number",
        "map heat: it holds values that are not finite",
    )
