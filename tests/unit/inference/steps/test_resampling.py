from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from dicom_node.errors import ModelInputError
from dicom_node.inference.steps.geometry import crop, orient, pad, resample_step, resize
from dicom_node.inference.steps.grid import GridImage, images_from_input
from dicom_node.inference.steps.preprocess_schema import Crop, Orient, Pad, Resample, Resize
from dicom_node.inference.steps.resampling import AxisSampling, resample
from dicom_node.inference.steps.vocabulary import Order
from dicom_node.inference.steps.way_back import to_source_grid
from tests.unit.inference.steps.phantom import CENTER_LPS_MM, SOURCES, frame_of, frames_of, intensity, places_lps_mm, volume_of

RNG = np.random.default_rng(3)
NOISE = RNG.normal(size=(2, 5, 9, 7)).astype(np.float32)


def image_of(values: np.ndarray, name: str = "axial") -> GridImage:
    [template] = images_from_input(volume_of(name))
    return GridImage(values, template.geometry)


@pytest.mark.parametrize("size", [(5, 9, 7), (10, 4, 7), (3, 20, 15), (2, 1, 2)])
@pytest.mark.parametrize(
    ("order", "align", "in_torch"),
    [
        ("nearest", "edges", {"mode": "nearest-exact"}),
        ("linear", "edges", {"mode": "trilinear", "align_corners": False}),
        ("linear", "centers", {"mode": "trilinear", "align_corners": True}),
    ],
)
def test_sizes_agree_with_torch(size: tuple[int, int, int], order: str, align: str, in_torch: dict[str, object]) -> None:
    torch = pytest.importorskip("torch")
    if align == "centers":
        size = tuple(max(2, n) for n in size)  # a single pixel is the middle here, the first one in torch
    ours = resample_step(image_of(NOISE), Resample(size=size, align=align, order=order), "cpu").values
    theirs = torch.nn.functional.interpolate(torch.from_numpy(NOISE)[None], size=size, **in_torch)
    assert np.allclose(ours, theirs[0].numpy(), atol=1e-5)


def test_cubic_agrees_with_scipy() -> None:
    axes = (AxisSampling(11, 0.38, 0.1), AxisSampling(6, 1.3, 0.2), AxisSampling(9, 0.7, 0.0))
    ours = resample(NOISE, axes, Order.CUBIC)
    matrix, offset = np.diag([a.scale for a in axes]), [a.offset for a in axes]
    shape = tuple(a.length for a in axes)
    theirs = np.stack([ndimage.affine_transform(c.astype(np.float64), matrix, offset, shape, order=3, mode="mirror") for c in NOISE])
    assert np.abs(ours - theirs).max() < 1e-5


@pytest.mark.parametrize("order", list(Order))
def test_a_plane_of_values_stays_a_plane(order: Order) -> None:
    """Linear and cubic interpolation reproduce a linear function; nearest is off by half a pixel at most."""
    volume = volume_of("oblique")
    [image] = images_from_input(volume)
    slope = np.array([0.3, -0.7, 1.1])
    ramp = (places_lps_mm(volume.values.shape, volume.affine_lps_mm) @ slope).astype(np.float32)
    new = resample_step(GridImage(ramp[None], image.geometry), Resample(spacing_mm=(1.9, 3.1, 1.2), order=order), "cpu")
    truth = places_lps_mm(new.shape, new.geometry.affine_mm) @ slope
    inner = (slice(4, -4),) * 3
    worst = np.abs(new.values[0] - truth)[inner].max()
    # the B-spline's mirrored end bends the ramp there; 4 pixels inside that has faded to 1 % of it
    assert worst < {Order.NEAREST: 3.5, Order.LINEAR: 1e-3, Order.CUBIC: 0.05}[order]


def test_antialiasing_takes_away_what_the_new_grid_cannot_hold() -> None:
    """Every fourth pixel cannot hold a wave of period 3; a Gaussian of sigma 1.5 leaves exp(-2 (pi 1.5 / 3)^2) = 0.7 % of it."""
    wave = np.tile(np.cos(2 * np.pi * np.arange(240) / 3).astype(np.float32), (1, 1, 1, 1))
    axes = (AxisSampling(1, 1.0, 0.0), AxisSampling(1, 1.0, 0.0), AxisSampling(60, 4.0, 0.0))
    plain = resample(wave, axes, Order.LINEAR)[..., 5:-5]
    smooth = resample(wave, axes, Order.LINEAR, antialias=True)[..., 5:-5]
    assert np.abs(plain).max() == pytest.approx(1.0)
    assert np.abs(smooth).max() == pytest.approx(np.exp(-2 * (np.pi * 1.5 / 3) ** 2), rel=0.02)


def test_spacing_is_exact_and_nothing_of_the_image_is_lost() -> None:
    [image] = images_from_input(volume_of("axial"))
    new = resample_step(image, Resample(spacing_mm=(3.0, 1.7, None)), "cpu")
    assert new.geometry.spacing_mm == pytest.approx((3.0, 1.7, 2.0))
    assert new.shape == (22, 40, 36)  # 65 mm / 3, 68 mm / 1.7, untouched
    back = to_source_grid(np.ones_like(new.values), new.geometry, order=Order.NEAREST)
    assert back.all()


def test_no_number_spreads_no_further_than_its_neighbours() -> None:
    values = np.zeros((1, 1, 1, 8), np.float32)
    values[..., 4] = np.nan
    axes = (AxisSampling(1, 1.0, 0.0), AxisSampling(1, 1.0, 0.0), AxisSampling(15, 0.5, 0.0))
    assert np.flatnonzero(np.isnan(resample(values, axes, Order.LINEAR))).tolist() == [7, 8, 9]


@pytest.mark.parametrize("name", list(SOURCES))
@pytest.mark.parametrize("codes", ["RAS", "LPS", "SPL", "ILA", "PSR"])
def test_oriented_arrays_point_where_their_codes_say(name: str, codes: str) -> None:
    volume = volume_of(name)
    [image] = images_from_input(volume)
    turned = orient(image, Orient(to=codes))
    toward = {"L": (0, 1), "R": (0, -1), "P": (1, 1), "A": (1, -1), "S": (2, 1), "I": (2, -1)}
    directions = turned.geometry.affine_mm[:3, :3]
    for axis, letter in enumerate(codes):
        component, sign = toward[letter]
        assert directions[component, axis] * sign == np.abs(directions[:, axis]).max()
    # every value stays at its place in the patient
    assert np.allclose(turned.values[0], intensity(places_lps_mm(turned.shape, turned.geometry.affine_mm)), atol=1e-3)
    assert np.array_equal(to_source_grid(turned.values, turned.geometry, order=Order.LINEAR)[0], volume.values)


@pytest.mark.parametrize("name", list(SOURCES))
def test_every_step_keeps_places_in_the_patient(name: str) -> None:
    [image] = images_from_input(volume_of(name))
    image = orient(image, Orient(to="RAS"))
    image = resample_step(image, Resample(spacing_mm=(1.5, 1.5, 1.5)), "cpu")
    image = crop(image, Crop(foreground={"above": 20, "margin": 3}))
    image = pad(image, Pad(multiple=16))
    image = crop(image, Crop(center=(48, 48, 48)))
    lps = places_lps_mm(image.shape, image.geometry.affine_mm)
    bright = image.values[0] > 70
    assert lps[bright].mean(axis=0) == pytest.approx(CENTER_LPS_MM, abs=0.5)
    back = to_source_grid((bright[None]).astype(np.float32), image.geometry, order=Order.NEAREST)[0] > 0.5
    source = volume_of(name)
    at_home = places_lps_mm(source.values.shape, source.affine_lps_mm)
    # where the source is coarser by a factor of 2, a source pixel lies between two of the grid and takes the upper: half of 1.5 mm
    assert at_home[back].mean(axis=0) == pytest.approx(CENTER_LPS_MM, abs=0.8)
    assert np.abs(at_home[back] - CENTER_LPS_MM).max() < 11


def _cut_in(image: GridImage, step: Crop) -> GridImage:
    return crop(image, step) if min(image.shape) >= 4 else image


exact_steps = st.lists(
    st.one_of(
        st.sampled_from(["RAS", "LPS", "SPL", "AIR", "PLS"]).map(lambda codes: (orient, Orient(to=codes))),
        st.tuples(*[st.integers(1, 9)] * 3).map(lambda m: (pad, Pad(multiple=m))),
        st.tuples(*[st.integers(8, 40)] * 3).map(lambda s: (pad, Pad(size=s, where="end"))),
        st.tuples(*[st.integers(4, 40)] * 3).map(lambda s: (crop, Crop(center=s))),
        st.tuples(*[st.integers(0, 2)] * 3).map(lambda s: (_cut_in, Crop(box={"start": s, "stop": (4, 4, 4)}))),
        st.just((lambda image, step: resample_step(image, step, "cpu"), Resample(size=(None, None, None)))),
        st.booleans().map(
            lambda keep: (lambda i, s: resize(i, s.model_copy(update={"size": i.shape[1:]}), "cpu"), Resize(size=(8, 8), keep_aspect=keep))
        ),
    ),
    max_size=6,
)


@given(steps=exact_steps, name=st.sampled_from(["axial", "sagittal", "coronal", "flipped", "oblique"]))
@settings(max_examples=60, deadline=None)
def test_turning_cutting_and_padding_are_undone_exactly(steps: list, name: str) -> None:
    directions_volume = volume_of(name)
    [image] = images_from_input(directions_volume)
    unique = np.arange(1, image.values.size + 1, dtype=np.float32).reshape(image.values.shape)
    image = GridImage(unique, image.geometry)
    for work, step in steps:
        image = work(image, step)
    for order in (Order.NEAREST, Order.LINEAR):
        back = to_source_grid(image.values, image.geometry, order=order, outside=-1.0)
        kept = back >= 1
        assert np.array_equal(back[kept], unique[kept])
        assert np.count_nonzero(kept) == np.count_nonzero(image.values)
        assert set(np.unique(back[~kept])) <= {-1.0, 0.0}  # never seen, or cut away and padded again


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_coarser_or_finer_grid_covers_its_source(data: st.DataObject) -> None:
    spacing = tuple(data.draw(st.floats(0.6, 9.0)) for _ in range(3))
    align = data.draw(st.sampled_from(["edges", "centers"]))
    [image] = images_from_input(volume_of(data.draw(st.sampled_from(sorted(SOURCES)))))
    new = resample_step(image, Resample(spacing_mm=spacing, align=align, order="nearest"), "cpu")
    covered = to_source_grid(np.ones_like(new.values), new.geometry, order=Order.LINEAR)
    # with aligned centres the outermost pixels of the source may lie half a new pixel outside
    assert covered.all() if align == "edges" else covered.mean() > 0.3


def test_letterbox_keeps_the_aspect_and_stretching_does_not() -> None:
    [image] = images_from_input(frames_of(frame_of(40, 80, (10, 20, 40, 60))))
    boxed = resize(image, Resize(size=(64, 64), value=-5), "cpu")
    assert boxed.shape == (1, 64, 64)
    assert (boxed.values[0, 0, :16] == -5).all()
    assert (boxed.values[0, 0, 48:] == -5).all()
    assert (boxed.values[0, 0, 16:48] >= 10).all()
    stretched = resize(image, Resize(size=(64, 64), keep_aspect=False), "cpu")
    assert (stretched.values >= 10).all()
    for new in (boxed, stretched):
        back = to_source_grid(new.values, new.geometry, order=Order.NEAREST)[0, 0]
        wide = back > 50
        rows, columns = np.nonzero(wide)
        assert (rows.min(), rows.max(), columns.min(), columns.max()) == pytest.approx((10, 19, 40, 59), abs=1)


def test_one_pixel_cannot_become_several_with_aligned_centres() -> None:
    with pytest.raises(ModelInputError, match="1 pixel"):
        resample_step(image_of(NOISE[:, :1]), Resample(size=(4, 9, 7), align="centers"), "cpu")


def test_a_frame_without_spacing_is_not_resampled_to_millimetres() -> None:
    frame = frame_of()
    bare = type(frame)(frame.values, frame.sop_instance_uid, 1, None)
    [image] = images_from_input(frames_of(bare))
    with pytest.raises(ModelInputError, match="Pixel Spacing"):
        resample_step(image, Resample(spacing_mm=(1.0, 1.0)), "cpu")
    with pytest.raises(ModelInputError, match="no place"):
        orient(image, Orient(to="RAS"))


@pytest.mark.parametrize("where", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
@pytest.mark.parametrize("order", [Order.NEAREST, Order.LINEAR])
def test_the_device_gives_the_numbers_of_the_processor(where: str, order: Order) -> None:
    torch = pytest.importorskip("torch")
    if where == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    from dicom_node.inference.steps.device_arrays import resample_on_device  # noqa: PLC0415 - torch is an extra

    axes = (AxisSampling(3, 1.7, 0.2), AxisSampling(20, 0.45, -0.3), AxisSampling(7, 1.0, 0.0))
    smooth = order is Order.LINEAR
    here = resample(NOISE, axes, order, antialias=smooth)
    there = resample_on_device(NOISE, axes, order, antialias=smooth, device=where)
    assert np.abs(here - there).max() < 1e-5
