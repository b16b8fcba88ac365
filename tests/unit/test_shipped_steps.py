"""The pure steps of the models that ship: turning, sampling, boxes, classes of text. No network is needed."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from PIL import Image, ImageDraw

from dicom_node.domain.frames import Frame
from dicom_node.inference.models import brain_grid
from dicom_node.inference.models.burned_in_text import header_says, most_delicate
from dicom_node.inference.models.canonical import Canonical, nearest
from dicom_node.inference.models.pictures import resized, sampled, shown
from dicom_node.inference.models.text_classes import TextClass, text_class
from dicom_node.inference.models.text_detection import detection_tensor, searched, text_boxes
from dicom_node.inference.models.text_reading import Reading, cut_out

CUBE = np.arange(3 * 4 * 5, dtype=np.float32).reshape(3, 4, 5)
SIGNED_AXES = [(axes, signs) for axes in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]


@pytest.mark.parametrize(("axes", "signs"), SIGNED_AXES)
def test_every_orientation_is_turned_to_right_anterior_superior_and_back(axes: tuple[int, ...], signs: tuple[int, ...]) -> None:
    affine = np.eye(4)
    affine[:3, :3] = 0.0
    for index, (axis, sign) in enumerate(zip(axes, signs, strict=True)):
        affine[axis, index] = sign * (index + 1.5)
    canonical = Canonical(affine)
    turned = canonical.apply(CUBE)
    place = np.array(np.unravel_index(int(turned[0, 0, 0]), CUBE.shape))
    farther = np.array([np.array(np.unravel_index(int(turned[i]), CUBE.shape)) - place for i in ((1, 0, 0), (0, 1, 0), (0, 0, 1))])
    steps_lps_mm = farther @ affine[:3, :3].T
    assert np.array_equal(np.sign(steps_lps_mm), np.diag([-1, -1, 1])), "to the right, to the front, upwards"
    assert np.array_equal(canonical.revert(turned), CUBE)


def test_oblique_axes_go_to_the_nearest_direction() -> None:
    angle = np.deg2rad(30)
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, 0, 1], [-np.sin(angle), np.cos(angle), 0], [np.cos(angle), np.sin(angle), 0]])
    straight = np.eye(4)
    straight[:3, :3] = np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0]])
    assert np.array_equal(Canonical(affine).apply(CUBE), Canonical(straight).apply(CUBE))


@pytest.mark.parametrize(("have", "want", "indices"), [(4, 8, [0, 0, 1, 1, 2, 2, 3, 3]), (5, 3, [0, 2, 4]), (3, 4, [0, 1, 1, 2])])
def test_nearest_takes_the_voxel_at_the_centre(have: int, want: int, indices: list[int]) -> None:
    assert nearest(np.arange(have), (want,)).tolist() == indices


def test_normalised_values_have_the_mean_and_deviation_of_the_training() -> None:
    values = np.random.default_rng(0).gamma(2.0, 90.0, (20, 20, 20)).astype(np.float32)
    low, high = brain_grid.intensity_range(values)
    tensor = brain_grid.normalised(values, low, high)
    assert tensor.dtype == np.float32
    assert (tensor.mean(), tensor.std(ddof=1)) == pytest.approx((0.449, 0.226), abs=1e-5)
    assert np.unique(tensor[values >= high]).size == 1, "all above the 99.5th percentile is one"


def test_box_is_wider_by_a_tenth_on_each_side_and_ends_at_the_border() -> None:
    coarse = np.zeros((128, 128, 128), np.bool_)
    coarse[40:80, 30:90, 0:64] = True
    box = brain_grid.box_around(coarse, (256, 128, 200))
    assert box == (slice(72, 168), slice(24, 96), slice(0, 110))
    assert brain_grid.box_around(np.zeros((128, 128, 128), np.bool_), (256, 256, 256)) is None


def test_largest_component_is_kept_and_holes_are_filled() -> None:
    mask = np.zeros((12, 12, 12), np.bool_)
    mask[1:8, 1:8, 1:8] = True
    mask[4, 4, 4] = False
    mask[10:12, 10:12, 10:12] = True
    kept = brain_grid.filled(brain_grid.largest_component(mask))
    assert np.count_nonzero(kept) == 7**3
    assert not brain_grid.largest_component(np.zeros((3, 3, 3), np.bool_)).any()


def test_pictures_shrink_and_grow_as_bilinear_says() -> None:
    ramp = np.repeat((np.arange(8) * 10)[None, :, None], 3, axis=2).astype(np.uint8)
    assert resized(ramp, 1, 4)[0, :, 0].tolist() == [5, 25, 45, 65]
    assert resized(ramp[:, :3], 1, 6)[0, :, 0].tolist() == [0, 2, 8, 12, 18, 20]
    assert np.array_equal(resized(ramp, 1, 8), ramp)


def test_sampling_at_pixel_centres_gives_the_pixels_and_cubic_overshoots_at_edges() -> None:
    picture = np.zeros((4, 8, 3), np.uint8)
    picture[:, 4:] = 200
    columns = np.arange(8, dtype=np.float64)
    assert np.array_equal(sampled(picture, np.full(8, 1.0), columns), picture[1])
    between = sampled(picture, np.array([1.0, 1.0]), np.array([3.5, 4.5]))
    assert between[:, 0].tolist() == [100, 219]


@pytest.mark.parametrize("window", [(50.0, 100.0), None])
def test_gray_frames_are_shown_in_their_window(window: tuple[float, float] | None) -> None:
    frame = Frame(np.array([[-20.0, 0.0], [50.0, 120.0]], np.float32), "1.2", 1, None, window)
    assert shown(frame)[:, :, 1].tolist() == ([[0, 0], [128, 255]] if window else [[0, 36], [128, 255]])


def test_large_pictures_shrink_and_wide_ones_get_a_border_and_boxes_find_their_way_back() -> None:
    large = searched(np.zeros((1000, 4000, 3), np.uint8))
    assert large.picture.shape == (512, 1984, 3)
    assert large.to_original(np.array([[1984.0, 512.0]]), (1000, 4000)).tolist() == [[4000.0, 1000.0]]
    wide = searched(np.zeros((40, 800, 3), np.uint8))
    assert wide.picture.shape[0] == 40 + 2 * wide.top_px
    assert wide.to_original(np.array([[400.0, wide.top_px + 20.0]]), (40, 800)).tolist() == [[400.0, 20.0]]
    assert detection_tensor(np.full((100, 200, 3), 255, np.uint8)).shape == (1, 3, 736, 1472)


def test_a_bar_of_high_probability_becomes_one_box_around_it() -> None:
    canvas = Image.new("L", (320, 160))
    ImageDraw.Draw(canvas).polygon([(60, 60), (198, 84), (194, 104), (56, 80)], fill=230)
    boxes = text_boxes(np.asarray(canvas, dtype=np.float32) / 255, (320, 640))
    assert len(boxes) == 1
    assert 0.8 < boxes[0].score < 0.92
    assert np.abs(boxes[0].corners.mean(axis=0) - (254, 164)).max() < 3
    angle = np.arctan2(*(boxes[0].corners[1] - boxes[0].corners[0])[::-1])
    assert np.rad2deg(angle) == pytest.approx(9.8, abs=1)
    assert np.linalg.norm(boxes[0].corners[3] - boxes[0].corners[0]) > 2 * 20, "text is cut out with a margin"


def test_faint_and_thin_places_are_no_boxes() -> None:
    probability = np.zeros((160, 320), np.float32)
    probability[20:40, 20:200] = 0.4
    probability[100:101, 20:200] = 0.9
    assert text_boxes(probability, (160, 320)) == []


def test_a_standing_box_is_laid_down() -> None:
    picture = np.zeros((120, 80, 3), np.uint8)
    picture[20:100, 30:50] = 255
    cut = cut_out(picture, np.array([[30.0, 20.0], [50, 20], [50, 100], [30, 100]]))
    assert cut.shape == (20, 80, 3)
    assert cut[1:-1, 1:-1].min() == 255


HEADER = {"PatientName": ("Smith^Anna",), "PatientID": ("PX81",), "InstitutionName": ("Northern Clinic",)}


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        *(
            (text, TextClass.LABEL)
            for text in ("R", "120 kV", "85 kVp 3.2 mAs", "MI 1.1", "16cm", "64%", "3/3/4", "12:30:45", "PORTABLE", "C5-1")
        ),
        *((text, TextClass.LABEL) for text in ("CTDlvol7.41mGyDLP312mGycm", "Series2120kV85mA")),
        *((text, TextClass.TEXT) for text in ("PHILIPS", "LYMPH", "SMITHERS", "ULTRASOUND", "八")),
        *((text, TextClass.IDENTIFYING) for text in ("DOE^JOHN", "Doe, J", "John Doe", "ID: 123", "12345678", "A1234567", "29.02.1960")),
        *((text, TextClass.IDENTIFYING) for text in ("5/25/2011", "24-MAY-02", "29 FEB 1960", "12.05.60", "11-05-25-142825", "王小明")),
    ],
)
def test_class_of_a_text_without_a_header(text: str, kind: TextClass) -> None:
    assert text_class(text, {}) is kind


@pytest.mark.parametrize("text", ["SMITH", "5MlTH", "Anna", "PX81", "P X 8 1", "SMLTH A", "NORTHERN"])
def test_what_stands_in_the_header_is_identifying_even_if_misread(text: str) -> None:
    assert text_class(text, HEADER) is TextClass.IDENTIFYING
    assert text_class("GAIN 60", HEADER) is TextClass.LABEL


@pytest.mark.parametrize(
    ("value", "kinds", "answer"),
    [
        ("NO", [], "agrees"),
        ("NO", [TextClass.LABEL], "agrees"),
        ("NO", [TextClass.LABEL, TextClass.TEXT], "otherwise"),
        ("no ", [TextClass.IDENTIFYING], "otherwise"),
        ("YES", [TextClass.TEXT], "agrees"),
        ("YES", [], "otherwise"),
        ("", [TextClass.IDENTIFYING], "silent"),
    ],
)
def test_header_is_compared_with_the_pixels(value: str, kinds: list[TextClass], answer: str) -> None:
    assert header_says({"BurnedInAnnotation": (value,)} if value else {}, kinds) == answer


def test_the_most_delicate_kind_counts() -> None:
    assert most_delicate([TextClass.LABEL, TextClass.IDENTIFYING, TextClass.TEXT]) is TextClass.IDENTIFYING


def test_a_reading_shows_its_text_to_nobody() -> None:
    assert "SMITH" not in f"{Reading('SMITH', 0.9)} {Reading('SMITH', 0.9)!r} {[Reading('SMITH', 0.9)]}"
