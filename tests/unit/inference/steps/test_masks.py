from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from dicom_node.domain.frames import Frame, FrameSet
from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelError, ModelInputError
from dicom_node.inference.model import StepRecorder
from dicom_node.inference.steps.grid import Geometry, images_from_input
from dicom_node.inference.steps.measures import diameter_mm, measure
from dicom_node.inference.steps.postprocess import Kind, OutputImage, Outputs, postprocess
from dicom_node.inference.steps.postprocess_schema import PostprocessEntry

SPACING_MM = (3.0, 1.0, 0.5)
SHAPE = (9, 24, 40)


def geometry_of(shape: tuple[int, int, int] = SHAPE, spacing: tuple[float, float, float] = SPACING_MM) -> Geometry:
    volume = Volume(np.zeros(shape, np.float32), np.diag([*spacing, 1.0]), "", ("1",) * shape[0])
    return images_from_input(volume)[0].geometry


def frame_geometry(spacing: tuple[float, float] | None = (1.0, 0.5), shape: tuple[int, int] = SHAPE[1:]) -> Geometry:
    return images_from_input(FrameSet((Frame(np.zeros(shape, np.float32), "1", 1, spacing),)))[0].geometry


def after(values: np.ndarray, *steps: dict[str, Any], geometry: Geometry | None = None, kind: Kind = Kind.SCORES) -> np.ndarray:
    outputs = Outputs("y", {"y": [OutputImage(values, geometry or geometry_of(), kind)]}, {})
    entries = [PostprocessEntry.model_validate(step) for step in steps]
    return postprocess(outputs, entries, SHAPE, StepRecorder()).images["y"][0].values


def ball(center: tuple[int, int, int], radius_mm: float) -> np.ndarray:
    away = (np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1) - center) * SPACING_MM
    return np.linalg.norm(away, axis=-1) <= radius_mm


def test_logits_become_probabilities_without_overflow() -> None:
    logits = np.array([-1e4, 0.0, 1e4], np.float32).reshape(3, 1, 1, 1)
    assert after(logits, {"activation": {"kind": "sigmoid"}}).ravel().tolist() == [0.0, 0.5, 1.0]
    soft = after(logits, {"activation": {"kind": "softmax"}})
    assert soft.ravel().tolist() == [0.0, 0.0, 1.0]
    assert after(np.zeros((4, 1, 1, 1), np.float32), {"activation": {"kind": "softmax"}}).ravel() == pytest.approx(0.25)


def test_threshold_and_argmax_count_a_tie_as_documented() -> None:
    scores = np.array([[0.5, 0.2], [0.5, 0.9]], np.float32).reshape(2, 1, 1, 2)
    assert after(scores, {"threshold": {"at": 0.5}}).ravel().tolist() == [True, False, True, True]
    labels = after(scores, {"argmax": {}})
    assert labels.ravel().tolist() == [0, 1]
    assert labels.dtype == np.uint8


THREE = np.zeros(SHAPE, bool)
THREE[1:3, 2:6, 2:6] = True  # 32 voxels, 0.048 mL
THREE[5, 10:14, 10:20] = True  # 40 voxels, 0.060 mL
THREE[7, 20, 30] = True  # 1 voxel, 0.0015 mL


@pytest.mark.parametrize(
    ("step", "sizes"),
    [
        ({"keep": 1}, [40]),
        ({"keep": 2}, [40, 32]),
        ({"drop_below_pixels": 33}, [40]),
        ({"drop_below_ml": 0.048}, [40, 32]),
        ({"drop_below_ml": 0.05}, [40]),
        ({"drop_below_ml": 9}, []),
        ({"keep": 9}, [40, 32, 1]),
    ],
)
def test_components_are_kept_by_number_and_volume(step: dict[str, Any], sizes: list[int]) -> None:
    for values, kind in ((THREE[None], Kind.MASKS), ((THREE * 2)[None].astype(np.uint8), Kind.LABELS)):
        kept = after(values, {"components": step}, kind=kind)[0]
        labels, count = ndimage.label(kept > 0)
        assert sorted(np.bincount(labels.ravel())[1:].tolist(), reverse=True) == sizes
        assert count == len(sizes)
        assert not (kept.astype(bool) & ~THREE).any()


def test_connectivity_joins_by_faces_edges_or_corners() -> None:
    steps = np.zeros((1, *SHAPE), bool)
    steps[0, 0, 0, 0] = steps[0, 0, 1, 1] = steps[0, 1, 2, 2] = True
    counts = [after(steps, {"components": {"keep": 1, "connectivity": c}}, kind=Kind.MASKS).sum() for c in ("faces", "edges", "corners")]
    assert counts == [1, 2, 3]


def test_a_label_is_never_overwritten_by_another() -> None:
    labels = np.zeros((1, *SHAPE), np.uint8)
    labels[0, 2:7, 5:15, 5:15] = 1
    labels[0, 4, 9, 9] = 2
    labels[0, 4, 7, 7] = 0
    filled = after(labels, {"fill_holes": {}}, kind=Kind.LABELS)[0]
    assert filled[4, 7, 7] == 1
    assert filled[4, 9, 9] == 2
    only_two = after(labels, {"components": {"drop_below_pixels": 2, "labels": [2]}}, kind=Kind.LABELS)[0]
    assert not (only_two == 2).any()
    assert (only_two == 1).sum() == (labels == 1).sum()


def test_holes_are_closed_on_all_sides_or_within_slices() -> None:
    tube = np.zeros((1, *SHAPE), bool)
    tube[0, :, 5:12, 5:12] = True
    tube[0, :, 7:9, 7:9] = False
    assert np.array_equal(after(tube, {"fill_holes": {}}, kind=Kind.MASKS), tube)
    filled = after(tube, {"fill_holes": {"per_slice": True}}, kind=Kind.MASKS)
    assert filled[0].sum() == 9 * 49
    frame = after(tube[:, :1], {"fill_holes": {}}, geometry=frame_geometry(), kind=Kind.MASKS)
    assert frame.sum() == 49
    open_to_the_border = np.zeros((1, 1, *SHAPE[1:]), bool)
    open_to_the_border[0, 0, 2:, 3:6] = True
    open_to_the_border[0, 0, 4:, 4] = False
    assert np.array_equal(after(open_to_the_border, {"fill_holes": {}}, geometry=frame_geometry(), kind=Kind.MASKS), open_to_the_border)


def test_opening_and_closing_measure_millimetres_on_every_axis() -> None:
    body = ball((4, 12, 20), 9.0)
    thread = body.copy()
    thread[4, 12, :] = True  # 1 mm thick
    opened = after(thread[None], {"opening": {"radius_mm": 2.0}}, kind=Kind.MASKS)[0]
    assert not opened[4, 12, :1].any()
    assert (opened & body).sum() > 0.9 * body.sum()
    slit = body.copy()
    slit[:, :, 20] = False  # 0.5 mm wide
    closed = after(slit[None], {"closing": {"radius_mm": 1.0}}, kind=Kind.MASKS)[0]
    assert closed[4, 12, 20]
    assert (closed | slit).sum() == closed.sum()
    wide = body.copy()
    wide[4] = False  # 3 mm wide: not closed by 1 mm
    assert not after(wide[None], {"closing": {"radius_mm": 1.0}}, kind=Kind.MASKS)[0][4, 12, 20]


def test_morphology_agrees_with_a_ball_as_structure() -> None:
    rng = np.random.default_rng(2)
    mask = ndimage.gaussian_filter(rng.random(SHAPE), (1.0, 3.0, 6.0)) > 0.5
    radius = 3.1
    reach = [int(radius / s) for s in SPACING_MM]
    grid = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), -1) * SPACING_MM
    structure = np.linalg.norm(grid, axis=-1) <= radius
    pad = [(r, r) for r in reach]
    for name, border in (("opening", "edge"), ("closing", "edge")):
        ours = after(mask[None], {name: {"radius_mm": radius}}, kind=Kind.MASKS)[0]
        work = ndimage.binary_opening if name == "opening" else ndimage.binary_closing
        theirs = work(np.pad(mask, pad, mode=border), structure)[tuple(slice(r, -r) for r in reach)]
        inner = (slice(2, -2), slice(6, -6), slice(12, -12))
        assert 100 < theirs[inner].sum() < theirs[inner].size - 100
        assert np.array_equal(ours[inner], theirs[inner])


@pytest.mark.parametrize(
    "step", [{"opening": {"radius_mm": 1}}, {"closing": {"radius_mm": 1}}, {"components": {"keep": 1}}, {"fill_holes": {}}]
)
@pytest.mark.parametrize("full", [False, True])
def test_empty_and_full_masks_stay_what_they_are(step: dict[str, Any], full: bool) -> None:
    values = np.full((1, *SHAPE), full)
    assert np.array_equal(after(values, step, kind=Kind.MASKS), values)


def test_frames_have_no_volume_and_perhaps_no_millimetres() -> None:
    mask = np.ones((1, 1, *SHAPE[1:]), bool)
    with pytest.raises(ModelInputError, match="no volume"):
        after(mask, {"components": {"drop_below_ml": 1}}, geometry=frame_geometry(), kind=Kind.MASKS)
    with pytest.raises(ModelInputError, match="no Pixel Spacing"):
        after(mask, {"opening": {"radius_mm": 1}}, geometry=frame_geometry(None), kind=Kind.MASKS)
    with pytest.raises(ModelError, match="still holds scores"):
        after(mask.astype(np.float32), {"fill_holes": {}}, geometry=frame_geometry())


def test_figures_of_a_segment_are_numpys() -> None:
    values = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    inside = values[THREE].astype(np.float64)
    expected = {
        "volume_ml": THREE.sum() * 1.5 / 1000,
        "mean": inside.mean(),
        "std": inside.std(),
        "min": inside.min(),
        "max": inside.max(),
        "percentile_15": np.percentile(inside, 15),
        "percentile_100": inside.max(),
        "count": 3,
    }
    for quantity, figure in expected.items():
        assert measure(quantity, [THREE], [values], [geometry_of()]) == pytest.approx(figure), quantity


def test_an_empty_segment_has_a_volume_and_nothing_else() -> None:
    nothing = np.zeros(SHAPE, bool)
    figures = {
        q: measure(q, [nothing], [nothing.astype(np.float32)], [geometry_of()])
        for q in ("volume_ml", "count", "mean", "max", "diameter_mm")
    }
    assert figures == {"volume_ml": 0.0, "count": 0.0, "mean": None, "max": None, "diameter_mm": None}


def test_the_diameter_is_the_largest_within_one_slice_and_part() -> None:
    assert diameter_mm(THREE, geometry_of()) == pytest.approx(np.hypot(10 * 0.5, 3 * 1.0), abs=0.6)
    single = np.zeros(SHAPE, bool)
    single[3, 4, 5] = True
    assert diameter_mm(single, geometry_of()) == pytest.approx(1.0)
    two = np.zeros(SHAPE, bool)
    two[3, 4, 5:9] = two[3, 20, 5:9] = True  # 4 pixels of 0.5 mm each, 16 mm apart
    assert diameter_mm(two, geometry_of()) == pytest.approx(2.0)
    diagonal = np.zeros((1, 20, 20), bool)
    diagonal[0, range(10), range(10)] = True  # pixels that touch at corners are one part
    assert diameter_mm(diagonal, geometry_of((1, 20, 20), (1.0, 1.0, 1.0))) == pytest.approx(np.hypot(9.5, 9.5), abs=0.3)
    rows, columns = np.meshgrid(np.arange(60) - 29.5, np.arange(60) - 29.5, indexing="ij")
    disc = (np.hypot(rows, columns) <= 20)[None]
    assert diameter_mm(disc, geometry_of((1, 60, 60), (1.0, 0.7, 0.7))) == pytest.approx(40 * 0.7, abs=0.7)
    assert diameter_mm(disc, frame_geometry(None, (60, 60))) is None
