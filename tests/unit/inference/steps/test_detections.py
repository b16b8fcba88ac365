from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_node.domain.results import BoxRegion, ImageRegion
from dicom_node.errors import ModelError
from dicom_node.inference.steps.detections import Detections, best, decode_boxes, suppress
from dicom_node.inference.steps.geometry import orient, pad, resize
from dicom_node.inference.steps.grid import images_from_input
from dicom_node.inference.steps.postprocess_schema import Boxes, Nms, TopK
from dicom_node.inference.steps.preprocess_schema import Orient, Pad, Resize
from dicom_node.inference.steps.regions import region_from_box, source_box
from tests.unit.inference.steps.phantom import SOURCES, frame_of, frames_of, volume_of

SHAPE = (10, 40, 80)


def decoded(numbers: Any, step: dict[str, Any], shape: tuple[int, int, int] = (1, 40, 80), **outputs: Any) -> Detections:
    given_outputs = {"boxes": np.array(numbers, np.float32), **{name: np.array(a) for name, a in outputs.items()}}
    return decode_boxes(given_outputs, "boxes", Boxes.model_validate(step), shape)


@pytest.mark.parametrize(
    ("step", "numbers"),
    [
        ({"axes": "xy"}, [20, 10, 60, 30]),
        ({"axes": "yx"}, [10, 20, 30, 60]),
        ({"axes": "xy", "format": "center_size"}, [40, 20, 40, 20]),
        ({"axes": "xy", "normalised": True}, [0.25, 0.25, 0.75, 0.75]),
        ({"axes": "yx", "normalised": True, "format": "center_size"}, [0.5, 0.5, 0.5, 0.5]),
        ({"axes": "xy", "origin": "center"}, [19.5, 9.5, 59.5, 29.5]),
    ],
)
def test_every_form_of_a_box_is_one_box(step: dict[str, Any], numbers: list[float]) -> None:
    found = decoded([[[*numbers, 0.8]]], step)
    assert found.lower.tolist() == [[-0.5, 9.5, 19.5]]
    assert found.upper.tolist() == [[0.5, 29.5, 59.5]]
    assert found.scores == pytest.approx([0.8])


def test_boxes_of_a_volume_name_depth_last_or_first() -> None:
    for axes, numbers in (("xyz", [20, 10, 2, 60, 30, 5]), ("zyx", [2, 10, 20, 5, 30, 60])):
        found = decoded([[[*numbers, 0.1, 0.6]]], {"axes": axes}, SHAPE)
        assert found.lower.tolist() == [[1.5, 9.5, 19.5]]
        assert found.upper.tolist() == [[4.5, 29.5, 59.5]]
        assert found.classes.tolist() == [1]


def test_scores_and_classes_come_from_where_the_manifest_says() -> None:
    box = [20, 10, 60, 30]
    by_class = decoded([[box, box]], {"axes": "xy", "scores": "s"}, s=[[[0.1, 0.7, 0.2], [0.9, 0.0, 0.1]]])
    assert by_class.classes.tolist() == [0, 1]
    assert by_class.scores.tolist() == pytest.approx([0.9, 0.7])
    told = decoded([[box, box]], {"axes": "xy", "scores": "s", "classes": "c"}, s=[[0.2, 0.4]], c=np.array([[4, 2]], np.int64))
    assert told.classes.tolist() == [2, 4]


def test_boxes_below_the_score_without_extent_or_without_numbers_are_none() -> None:
    numbers = [[[20, 10, 60, 30, 0.2], [20, 10, 20, 30, 0.9], [np.nan] * 5, [1, 1, 2, 2, 0.5]]]
    assert decoded(numbers, {"axes": "xy", "at": 0.5}).scores.tolist() == [0.5]


def test_boxes_of_slices_and_of_frames_know_where_they_belong() -> None:
    numbers = [[[1, 1, 3, 3, 0.1 * n]] for n in range(1, 7)]
    slices = decoded(numbers, {"axes": "xy"}, (6, 40, 80))
    assert slices.lower[:, 0].tolist() == [4.5, 3.5, 2.5, 1.5, 0.5, -0.5]
    assert slices.images.tolist() == [0] * 6
    frames = decoded(numbers, {"axes": "xy"}, (1, 40, 80))
    assert frames.images.tolist() == [5, 4, 3, 2, 1, 0]
    assert set(frames.lower[:, 0]) == {-0.5}


@pytest.mark.parametrize(
    ("numbers", "step", "words"),
    [
        ([[[1, 2, 3, 4]]], {"axes": "xy"}, "then their scores"),
        ([[1, 2, 3, 4, 5]], {"axes": "xy"}, "boxes of axes xy are wanted"),
        ([[[1, 2, 3, 4, 3.5]]], {"axes": "xy"}, "0 to 1 is wanted"),
        ([[[1, 2, 3, 4]]], {"axes": "xy", "scores": "s"}, r"output s has shape \(1, 3\)"),
    ],
)
def test_what_is_no_box_is_told(numbers: Any, step: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        decoded(numbers, step, s=np.zeros((1, 3)))


def _slow_overlap(a: Detections, i: int, j: int) -> float:
    cells = [set(map(tuple, np.argwhere(_cells(a, k)))) for k in (i, j)]
    return len(cells[0] & cells[1]) / len(cells[0] | cells[1])


def _cells(a: Detections, k: int) -> np.ndarray:
    grid = np.zeros((7, 7, 7), bool)
    grid[tuple(slice(int(lo + 0.5), int(hi + 0.5)) for lo, hi in zip(a.lower[k], a.upper[k], strict=True))] = True
    return grid


boxes_3d = st.lists(
    st.tuples(*[st.integers(0, 3)] * 3, *[st.integers(1, 4)] * 3, st.integers(0, 1), st.integers(0, 1), st.integers(0, 100)), max_size=9
)


@given(rows=boxes_3d, iou=st.sampled_from([0.0, 0.2, 0.5]), per_class=st.booleans())
@settings(max_examples=80, deadline=None)
def test_of_overlapping_boxes_the_best_stays_as_counted_cell_by_cell(rows: list[Any], iou: float, per_class: bool) -> None:
    table = np.array(rows, np.float64).reshape(-1, 9)
    table = table[np.argsort(-table[:, 8], kind="stable")]
    lower, classes, images = table[:, :3] - 0.5, table[:, 6].astype(np.intp), table[:, 7].astype(np.intp)
    found = Detections(lower, lower + table[:, 3:6], table[:, 8] / 100, classes, images, planar=False)
    kept: list[int] = []
    for i in range(len(found)):
        rivals = [j for j in kept if images[i] == images[j] and (not per_class or classes[i] == classes[j])]
        if all(_slow_overlap(found, i, j) <= iou + 1e-12 for j in rivals):
            kept.append(i)
    left = suppress(found, Nms(iou=iou, per_class=per_class))
    assert np.array_equal(left.lower, found.lower[kept])
    assert np.array_equal(left.scores, found.scores[kept])


def test_boxes_of_neighbouring_slices_do_not_suppress_each_other() -> None:
    found = decoded([[[1, 1, 9, 9, 0.9]], [[1, 1, 9, 9, 0.8]]], {"axes": "xy"}, (2, 40, 80))
    assert len(suppress(found, Nms(iou=0.0))) == 2
    assert len(best(found, TopK(k=1))) == 1
    assert best(found, TopK(k=1)).scores == pytest.approx([0.9])


@pytest.mark.parametrize("name", list(SOURCES))
def test_a_box_around_a_voxel_encloses_it_in_the_patient(name: str) -> None:
    volume = volume_of(name)
    [image] = images_from_input(volume)
    turned = pad(orient(image, Orient(to="AIR")), Pad(multiple=16))
    index = np.array([9, 7, 11])
    center = (turned.geometry.affine_mm @ [*index, 1])[:3]
    box = source_box(index - 0.5, index + 0.5, turned.geometry)
    assert box is not None
    region = region_from_box(*box, turned.geometry)
    assert isinstance(region, BoxRegion)
    corners = np.array(region.corners_lps_mm)
    assert corners.mean(axis=0) == pytest.approx(center)
    back = (np.linalg.inv(volume.affine_lps_mm) @ [*center, 1])[:3]
    assert region.slice_range == (round(back[0]),) * 2
    assert np.mean(region.outline_px, axis=0) == pytest.approx([back[2] + 0.5, back[1] + 0.5])
    sides = np.linalg.norm(corners[[1, 3, 4]] - corners[0], axis=1)
    assert sides == pytest.approx([volume.spacing_mm[2], volume.spacing_mm[1], volume.spacing_mm[0]])
    # a closed line round each face: neighbours differ along one axis only
    for face in (corners[:4], corners[4:]):
        steps = np.linalg.norm(np.diff([*face, face[0]], axis=0), axis=1)
        assert steps[0] == pytest.approx(steps[2])
        assert steps[1] == pytest.approx(steps[3])


def test_slices_that_a_box_touches_are_counted() -> None:
    [image] = images_from_input(volume_of("axial"))
    for lower, upper, touched in ((2.5, 5.5, (3, 5)), (2.4, 5.6, (2, 6)), (2.6, 3.0, (3, 3)), (-0.5, 25.5, (0, 25))):
        box = source_box(np.array([lower, 3.0, 3.0]), np.array([upper, 5.0, 5.0]), image.geometry)
        assert box is not None
        region = region_from_box(*box, image.geometry)
        assert isinstance(region, BoxRegion)
        assert region.slice_range == touched


def test_a_box_on_a_letterboxed_frame_comes_back_to_its_pixels() -> None:
    [image] = images_from_input(frames_of(frame_of(40, 80)))
    boxed = resize(image, Resize(size=(64, 64)), "cpu")
    factor, top = 64 / 80, 16
    lower = np.array([-0.5, 10 * factor + top - 0.5, 40 * factor - 0.5])
    upper = np.array([0.5, 20 * factor + top - 0.5, 60 * factor - 0.5])
    box = source_box(lower, upper, boxed.geometry)
    assert box is not None
    region = region_from_box(*box, boxed.geometry)
    assert isinstance(region, ImageRegion)
    assert np.array(region.points_px) == pytest.approx(np.array([(40, 10), (60, 10), (60, 20), (40, 20), (40, 10)]))
    assert source_box(np.array([-0.5, 2.0, 2.0]), np.array([0.5, 14.0, 60.0]), boxed.geometry) is None
    cut = source_box(np.array([-0.5, 2.0, -9.0]), np.array([0.5, 40.0, 99.0]), boxed.geometry)
    assert cut is not None
    assert (cut[0][1], cut[0][2], cut[1][2]) == pytest.approx((-0.5, -0.5, 79.5))
