from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import numpy as np
import pytest

from dicom_node.domain.volume import Volume
from dicom_node.errors import ModelError, ModelInputError, PixelError, VolumeError
from dicom_node.inference import ModelInput, load_bundle, open_model, to_hounsfield, volume_from_instances
from dicom_node.inference.applicability import check
from dicom_node.inference.models.histogram_graph import build_histogram_graph
from dicom_node.inference.models.lungs import segment_lungs
from tests.conftest import ROOT
from tests.phantoms import chest_series, chest_values

BUNDLE = ROOT / "config" / "models" / "chest-ct-densitometry"
NOW = datetime(2024, 1, 2, tzinfo=UTC)
CT = {"Modality": ("CT",)}


def truth() -> np.ndarray:
    values = chest_values()
    return np.isin(values, (-850.0, -970.0))


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b)))


def test_slices_are_ordered_by_position_whatever_the_order_of_arrival() -> None:
    shuffled = chest_series()
    Random(1).shuffle(shuffled)
    volume, ordered = volume_from_instances(shuffled)
    assert np.array_equal(volume.values, chest_values())
    assert volume.source_sop_instance_uids == tuple(d.SOPInstanceUID for d in ordered)
    assert volume.spacing_mm == (10.0, 5.0, 5.0)
    assert volume.affine_lps_mm @ [3, 0, 0, 1] == pytest.approx([-160, -160, 30, 1])


@pytest.mark.parametrize("position", [5, 12])
def test_missing_slice_is_refused(position: int) -> None:
    series = chest_series()
    del series[position]
    with pytest.raises(VolumeError, match="evenly spaced"):
        volume_from_instances(series)


def test_two_slices_at_one_position_are_refused() -> None:
    series = chest_series()
    series[3].ImagePositionPatient = series[4].ImagePositionPatient
    with pytest.raises(VolumeError, match="same position"):
        volume_from_instances(series)


def test_zero_rescale_slope_is_refused() -> None:
    with pytest.raises(PixelError, match="zero"):
        to_hounsfield(np.zeros((2, 2), np.int16), rescale_slope=0, rescale_intercept=0)


def test_lungs_of_the_phantom_are_found_without_the_trachea() -> None:
    volume, _ = volume_from_instances(chest_series())
    assert dice(segment_lungs(volume), truth()) > 0.97


@pytest.mark.parametrize("padding", [-2048.0, -3024.0, -1024.0])
def test_padding_outside_the_field_of_view_counts_as_air(padding: float) -> None:
    series, _ = volume_from_instances(chest_series())
    values = series.values.copy()
    values[:, :3] = padding
    padded = Volume(values, series.affine_lps_mm, "", ())
    assert dice(segment_lungs(padded), truth()) > 0.97


def test_series_stored_from_head_to_feet_gives_the_same_figures() -> None:
    model = open_model(load_bundle(BUNDLE))
    up, _ = volume_from_instances(chest_series())
    flipped = up.affine_lps_mm.copy()
    flipped[:3, 3] += flipped[:3, 0] * (len(up.values) - 1)
    flipped[:3, 0] *= -1
    down = Volume(np.ascontiguousarray(up.values[::-1]), flipped, "", ())
    figures = [[m.value for m in model.run({"images": ModelInput(v, CT)}, NOW).measurements] for v in (up, down)]
    model.close()
    assert figures[0] == pytest.approx(figures[1])


def test_network_counts_as_numpy_does() -> None:
    model = open_model(load_bundle(BUNDLE))
    volume, _ = volume_from_instances(chest_series())
    result = model.run({"images": ModelInput(volume, CT)}, NOW)
    model.close()
    hu = volume.values[result.segments[0].mask]
    figures = {m.id: m.value for m in result.measurements}
    assert figures["lung_volume"] == pytest.approx(hu.size * 0.25)
    assert figures["laa_950"] == pytest.approx((hu < -950).mean() * 100)
    assert figures["laa_910"] == pytest.approx((hu < -910).mean() * 100)
    assert figures["mean_hu"] == pytest.approx(hu.mean(), abs=0.01)
    assert figures["perc15_hu"] == np.sort(hu)[int(np.ceil(0.15 * hu.size)) - 1]


def test_study_outside_the_protocol_is_said_to_be() -> None:
    manifest = load_bundle(BUNDLE).manifest
    volume, _ = volume_from_instances(chest_series())
    inside = check(manifest, {"images": ModelInput(volume, {**CT, "SliceThickness": ("1.0",)})})
    outside = check(manifest, {"images": ModelInput(volume, {**CT, "SliceThickness": ("2.5",), "ContrastBolusAgent": ("IV",)})})
    assert inside.warnings == ()
    assert [word in outside.warnings[n] for n, word in enumerate(("emphysema is underestimated", "2.5"))] == [True, True]


@pytest.mark.parametrize(("attributes", "slices", "words"), [({"Modality": ("MR",)}, 24, "Modality is MR"), (CT, 8, "8 slices")])
def test_input_outside_the_intended_use_is_refused(attributes: dict[str, tuple[str, ...]], slices: int, words: str) -> None:
    model = open_model(load_bundle(BUNDLE))
    volume, _ = volume_from_instances(chest_series()[:slices])
    with pytest.raises(ModelInputError, match=words):
        model.run({"images": ModelInput(volume, attributes)}, NOW)
    model.close()


def test_images_without_lungs_are_refused() -> None:
    volume, _ = volume_from_instances(chest_series())
    solid = Volume(np.where(volume.values < -500, np.float32(40), volume.values), volume.affine_lps_mm, "", ())
    with pytest.raises(ModelInputError, match="no lungs"):
        segment_lungs(solid)


def test_any_change_of_a_bundle_makes_another_model(tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(BUNDLE, copy)
    before = load_bundle(copy)
    (copy / "MODEL_CARD.md").write_text("changed")
    after = load_bundle(copy)
    assert before.digest != after.digest
    assert before.identity("x", "y").device_uid != after.identity("x", "y").device_uid
    (copy / "model.yaml").write_text("name: 1")
    with pytest.raises(ModelError, match=r"title: required option is missing"):
        load_bundle(copy)


def test_network_in_the_bundle_is_what_its_source_builds() -> None:
    built = build_histogram_graph().SerializeToString(deterministic=True)
    assert (BUNDLE / "histogram.onnx").read_bytes() == built
