from __future__ import annotations

import dataclasses
import math

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from dicom_node.domain.results import Code, Finding, InferenceResult, ParametricMap, Segment
from dicom_node.inference.gate.agreement import Agreement, MeasurementAgreement, Tolerance
from dicom_node.inference.gate.compare import compare_outputs, compare_results, dice
from dicom_node.inference.gate.same_findings import overlap
from tests.unit.gate.results import CODE, OTHER, box_in_volume, box_on_frame, evaluation, finding, measurement, point, result

NOTHING = Tolerance(dice=1.0, argmax=1.0, max_error=0.0, measurements=0.0, iou=1.0)
LOOSE = Tolerance(dice=0.0, argmax=0.0, max_error=math.inf, measurements=math.inf, iou=0.5)

shapes = arrays.array_shapes(min_dims=2, max_dims=4, max_side=5)
floats = arrays.arrays(np.float32, shapes, elements=st.floats(-1e4, 1e4, width=32))
masks = arrays.arrays(np.bool_, (3, 4))
boxes = st.builds(box_on_frame, *[st.floats(0, 80)] * 2, st.floats(1, 40), st.floats(1, 40))


def outputs(a: np.ndarray, b: np.ndarray) -> Agreement:
    return compare_outputs({"y": a}, {"y": b})


def only(sentences: tuple[str, ...]) -> str:
    (sentence,) = sentences
    return sentence


@given(floats)
def test_the_same_arrays_agree_without_any_tolerance(y: np.ndarray) -> None:
    assert outputs(y, y.copy()).within(NOTHING) == ()


@given(floats, st.floats(1e-3, 1.0), st.data())
def test_the_largest_error_is_found_wherever_it_is(y: np.ndarray, by: float, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, y.size - 1))
    moved = y.astype(np.float64)
    moved.reshape(-1)[place] += by
    (output,) = outputs(y, moved).outputs
    assert output.absolute_error == pytest.approx(by, rel=1e-6)
    assert output.largest == float(np.abs(y).max())


@given(floats, st.sampled_from([np.nan, np.inf, -np.inf]), st.data())
def test_values_that_are_not_finite_never_agree_not_even_with_themselves(y: np.ndarray, bad: float, data: st.DataObject) -> None:
    y.reshape(-1)[data.draw(st.integers(0, y.size - 1))] = bad
    agreement = outputs(y, y.copy())
    assert agreement.outputs[0].absolute_error == math.inf
    assert "2 values are not finite" in only(agreement.within(LOOSE))


@given(floats, floats, st.floats(0, 1), st.floats(0, 1))
def test_a_looser_tolerance_never_fails_what_a_tighter_one_lets_pass(a: np.ndarray, b: np.ndarray, low: float, high: float) -> None:
    low, high = sorted((low, high))
    agreement = outputs(a, b)
    tight, loose = Tolerance(argmax=high, max_error=low), Tolerance(argmax=low, max_error=high)
    assert len(agreement.within(loose)) <= len(agreement.within(tight))


@given(masks, masks)
def test_dice_is_symmetric_and_one_only_for_the_same_mask(a: np.ndarray, b: np.ndarray) -> None:
    assert dice(a, b) == dice(b, a)
    assert (dice(a, b) == 1.0) == bool(np.array_equal(a, b))
    assert 0.0 <= dice(a, b) <= 1.0


@given(boxes, boxes)
def test_overlap_is_symmetric_and_one_with_itself(a: object, b: object) -> None:
    assert overlap(a, b) == pytest.approx(overlap(b, a))
    assert overlap(a, a) == pytest.approx(1.0)
    assert 0.0 <= overlap(a, b) <= 1.0


@given(st.lists(st.tuples(st.integers(0, 400), st.integers(0, 400)), min_size=1, max_size=6, unique=True), st.randoms())
def test_the_order_of_findings_does_not_matter(corners: list[tuple[int, int]], random: object) -> None:
    found = [finding(box_on_frame(x, y, 9, 9), 0.5 + n / 100, n) for n, (x, y) in enumerate(corners)]
    shuffled = list(found)
    random.shuffle(shuffled)
    agreement = compare_results(result(findings=tuple(found)), result(findings=tuple(shuffled)))
    assert len(agreement.findings) == len(found)
    assert agreement.within(NOTHING) == ()


def test_large_arrays_are_compared_whole() -> None:
    y = np.zeros((3, 1 << 20), np.float32)
    moved = y.copy()
    moved[2, -1] = 3.0
    assert outputs(y, moved).outputs[0].absolute_error == 3.0


def test_half_precision_outputs_are_compared() -> None:
    y = np.ones((1, 2, 3), np.float32)
    assert outputs(y, y.astype(ml_dtypes.bfloat16)).within(NOTHING) == ()


def test_an_output_near_zero_is_judged_by_what_the_reference_reaches_in_other_cases() -> None:
    quiet = outputs(np.full((1, 1, 9), 1e-6), np.full((1, 1, 9), 3e-6))
    assert "2 of the reference's largest magnitude" in only(quiet.within(Tolerance()))
    assert quiet.within(Tolerance(), {"y": 1.0}) == ()


def test_a_reference_of_zeros_wants_zeros() -> None:
    assert "inf of the reference's largest magnitude 0" in only(outputs(np.zeros(3), np.full(3, 1e-9)).within(Tolerance()))


def test_classes_of_a_label_map_are_names_not_numbers() -> None:
    labels = np.zeros((10, 100), np.int64)
    other = labels.copy()
    other[0, :2] = 7
    (output,) = outputs(labels, other).outputs
    assert (output.absolute_error, output.same_class) == (0.0, 0.998)
    assert "0.998000 of the places have the same class, 0.999 is wanted" in only(outputs(labels, other).within(Tolerance()))


def test_the_strongest_channel_is_compared_place_by_place() -> None:
    y = np.zeros((1, 2, 1000), np.float32)
    y[:, 1] = 1.0
    moved = y.copy()
    moved[0, :, :2] = moved[0, ::-1, :2]
    assert outputs(y, moved).outputs[0].same_class == 0.998


def test_a_tie_of_the_reference_is_no_disagreement() -> None:
    y = np.zeros((1, 3, 10), np.float32)
    y[:, 2] = -1.0
    moved = y.copy()
    moved[:, 1] = 1e-6
    assert outputs(y, moved).outputs[0].same_class == 1.0
    moved[:, 2] = 1.0
    assert outputs(y, moved).outputs[0].same_class == 0.0


def test_what_is_missing_or_has_another_shape_is_a_fault_that_no_tolerance_covers() -> None:
    agreement = compare_outputs({"y": np.zeros(3), "z": np.zeros(3)}, {"y": np.zeros(4), "x": np.zeros(1)})
    assert agreement.within(LOOSE) == (
        "output z: this engine does not give it",
        "output x: only this engine gives it",
        "output y: shape is (4,), the reference has (3,)",
    )


def test_equal_results_agree_in_every_part() -> None:
    whole = {"findings": (finding(box_on_frame(1, 1)),), "evaluations": (evaluation(),)}
    agreement = compare_results(result(**whole), result(**whole))
    assert agreement.within(NOTHING) == ()
    assert [m.name for m in agreement.masks] == ["segment organ", "highlight low"]
    assert [len(part) for part in (agreement.measurements, agreement.findings, agreement.evaluations, agreement.maps)] == [1, 1, 1, 1]


def with_voxels_off(count: int) -> InferenceResult:
    whole = result()
    mask = whole.segments[0].mask.copy()
    mask[np.nonzero(mask)[0][:count], np.nonzero(mask)[1][:count], np.nonzero(mask)[2][:count]] = False
    return dataclasses.replace(whole, segments=(dataclasses.replace(whole.segments[0], mask=mask),))


def test_dice_and_voxels_of_each_segment() -> None:
    agreement = compare_results(result(), with_voxels_off(2))
    segment = agreement.masks[0]
    assert (segment.dice, segment.same) == (pytest.approx(12 / 14), 30 / 32)
    assert only(agreement.within(Tolerance())) == "segment organ: Dice 0.85714, 0.995 is wanted"


def test_a_segment_of_another_shape_or_none_is_a_fault() -> None:
    small = Segment("organ", "Organ", np.zeros((1, 4, 4), np.bool_), CODE, CODE, None, (1, 2, 3))
    assert "segment organ: shape is (1, 4, 4), the reference has (2, 4, 4)" in compare_results(result(), result(segments=(small,))).faults
    assert "mask segment organ: this engine does not give it" in compare_results(result(), result(segments=())).faults


@pytest.mark.parametrize(
    ("reference", "seen", "relative"),
    [(100, 101, 0.01), (-870, -861.3, 0.01), (0, 0, 0), (0, 1e-9, math.inf), (1, math.nan, math.inf), (math.nan, math.nan, math.inf)],
)
def test_errors_of_a_measurement(reference: float, seen: float, relative: float) -> None:
    assert MeasurementAgreement("m", reference, seen).relative_error == pytest.approx(relative)


def test_a_measurement_outside_says_both_values() -> None:
    agreement = compare_results(result(), result(measurements=(measurement(102.0),)))
    assert only(agreement.within(Tolerance())) == "measurement volume: 102 instead of 100, relative error 0.02, 0.01 is allowed"
    assert agreement.within(Tolerance(measurements=0.03)) == ()


def test_another_unit_is_a_fault() -> None:
    litres = measurement(100.0, unit=Code("L", "UCUM", "liter"))
    assert compare_results(result(), result(measurements=(litres,))).faults == ("measurement volume: unit is L, the reference has mL",)


@pytest.mark.parametrize(
    ("ours", "theirs", "said"),
    [
        ((finding(box_on_frame(0, 0)),), (), "1 of the reference's findings are missing"),
        ((), (finding(box_on_frame(0, 0)),), "1 findings are not in the reference"),
        ((finding(box_on_frame(0, 0)),), (finding(box_on_frame(2, 0)),), "overlap by 0.8182 (IoU), 0.9 is wanted"),
        ((finding(box_on_frame(0, 0), 0.9),), (finding(box_on_frame(0, 0), 0.85),), "the scores differ by 0.05, 0.01 is allowed"),
        ((finding(box_on_frame(0, 0), 0.9),), (finding(box_on_frame(0, 0), math.nan),), "the scores differ by inf"),
        ((finding(box_on_frame(0, 0), 0.9),), (finding(box_on_frame(0, 0), None),), "the scores differ by inf"),
        ((finding(box_on_frame(0, 0)),), (finding(box_on_frame(0, 0), concept=OTHER),), "missing"),
        ((finding(box_on_frame(0, 0)),), (finding(box_on_frame(0, 0, uid="1.2.4")),), "missing"),
        ((finding(box_on_frame(0, 0)),), (finding(None),), "missing"),
        ((finding(None, 0.4),), (finding(None, 0.6),), "the scores differ by 0.2"),
        ((finding(box_in_volume(0, 9)),), (finding(box_in_volume(0, 7)),), "overlap by 0.8000 (IoU)"),
        ((finding(box_in_volume(0, 9)),), (finding(box_in_volume(0, 9, frame="1.8")),), "missing"),
    ],
)
def test_findings_that_differ(ours: tuple[Finding, ...], theirs: tuple[Finding, ...], said: str) -> None:
    failed = compare_results(result(findings=ours), result(findings=theirs)).within(Tolerance())
    assert any(said in sentence for sentence in failed)


def test_two_findings_are_not_paired_with_the_same_one() -> None:
    ours = (finding(box_on_frame(0, 0), number=1), finding(box_on_frame(4, 0), number=2))
    agreement = compare_results(result(findings=ours), result(findings=ours[:1]))
    assert len(agreement.findings) == 1
    assert agreement.faults == ("finding nodule: 1 of the reference's findings are missing",)


def test_points_a_pixel_apart_are_the_same_and_a_lesion_apart_are_not() -> None:
    assert overlap(point(50, 50), point(51, 50)) == pytest.approx(9 / 11)
    assert overlap(point(50, 50), point(60, 50)) == 0.0


def test_measurements_and_answers_of_a_finding_are_compared_too() -> None:
    ours = dataclasses.replace(finding(None), measurements=(measurement(10.0, "diameter"),), evaluations=(evaluation(),))
    theirs = dataclasses.replace(finding(None), measurements=(measurement(12.0, "diameter"),), evaluations=(evaluation(OTHER),))
    assert compare_results(result(findings=(ours,)), result(findings=(theirs,))).within(Tolerance()) == (
        "finding nodule 1, measurement diameter: 12 instead of 10, relative error 0.2, 0.01 is allowed",
        "finding nodule 1, evaluation density: 2 99T instead of 1 99T",
    )


def test_another_answer_or_a_score_too_far_off_fails() -> None:
    agreement = compare_results(result(evaluations=(evaluation(),)), result(evaluations=(evaluation(OTHER, 0.5),)))
    assert agreement.within(Tolerance()) == (
        "evaluation density: 2 99T instead of 1 99T",
        "evaluation density: the scores differ by 0.3, 0.01 is allowed",
    )


def test_maps_are_compared_as_outputs_are() -> None:
    heat = result().maps[0]
    off = ParametricMap("heat", "Heat", heat.values + np.float32(0.1), heat.quantity, heat.unit)
    assert "heat: largest error 0.1 is 0.05 of the reference's largest magnitude 2" in only(
        compare_results(result(), result(maps=(off,))).within(Tolerance())
    )


def test_only_one_of_the_two_does_not_analyse() -> None:
    refused = result(not_analysed=("no lungs",), measurements=(), segments=(), highlights=(), maps=())
    assert compare_results(result(), refused).faults == ("only this engine does not analyse the input: no lungs",)
    assert compare_results(refused, result()).faults == ("only the reference does not analyse the input: no lungs",)
    assert compare_results(refused, refused).within(NOTHING) == ()
