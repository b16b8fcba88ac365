"""A MONAI bundle is added and runs: MONAI's own transforms, the prediction back on the source grid, in the right place."""

from __future__ import annotations

import json
import shutil
import warnings
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dicom_node.inference import BundleFaults, ModelInput, load_bundle, open_model
from tests.commands import dicom_node
from tests.unit.inference.steps.phantom import CENTER_LPS_MM, places_lps_mm, volume_of

pytest.importorskip("monai", reason="extra monai")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
NOW = datetime(2024, 1, 2, tzinfo=UTC)
METADATA = {
    "version": "0.3.1",
    "monai_version": "1.6.1",
    "name": "Bright balls",
    "description": "Finds what is bright.",
    "network_data_format": {
        "inputs": {"image": {"type": "image", "format": "hounsfield", "modality": "CT", "spatial_shape": [16, 16, 16]}},
        "outputs": {"pred": {"type": "image", "channel_def": {"0": "background", "1": "ball"}}},
    },
}
LOAD = [
    {"_target_": "LoadImaged", "keys": "image"},
    {"_target_": "EnsureChannelFirstd", "keys": "image"},
    {"_target_": "Orientationd", "keys": "image", "axcodes": "RAS"},
    {"_target_": "Spacingd", "keys": "image", "pixdim": [2.0, 2.0, 2.0], "mode": "bilinear"},
]
INVERT = {
    "_target_": "Invertd",
    "keys": "pred",
    "transform": "@preprocessing",
    "orig_keys": "image",
    "nearest_interp": True,
    "to_tensor": True,
}
ARGMAX = {"_target_": "AsDiscreted", "keys": "pred", "argmax": True}
SAVE = {"_target_": "SaveImaged", "keys": "pred", "output_dir": "/nowhere/that/exists"}


class Threshold(torch.nn.Module):
    """Two channels: below and above 50."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([50 - x, x - 50], dim=1)


def write(folder: Path, after: list[Any], *, weights: bool = False) -> Path:
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    network = {"_target_": "BasicUNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 2, "features": [2] * 6}
    window = {"_target_": "SlidingWindowInferer", "sw_batch_size": 2, "overlap": 0.25, "roi_size": [32 if weights else 16] * 3}
    inference = {
        "network_def": network,
        "preprocessing": {"_target_": "Compose", "transforms": LOAD},
        "inferer": window,
        "postprocessing": {"_target_": "Compose", "transforms": after},
    }
    (folder / "configs" / "metadata.json").write_text(json.dumps(METADATA))
    (folder / "configs" / "inference.json").write_text(json.dumps(inference))
    with warnings.catch_warnings(action="ignore"):
        if weights:
            from monai.networks.nets import BasicUNet  # noqa: PLC0415

            made = BasicUNet(**{k: v for k, v in network.items() if k != "_target_"})
            torch.save(made.state_dict(), folder / "models" / "model.pt")
        else:
            torch.jit.save(torch.jit.script(Threshold()), folder / "models" / "model.ts")
    return folder


def added(source: Path, models: Path, *options: str) -> Any:
    done = dicom_node("models", "add", source, "--models-dir", models, "--trust-code", *options)
    assert done.code == 0, done.err
    return done


@pytest.mark.parametrize("after", [[INVERT, ARGMAX, SAVE], [ARGMAX]], ids=["inverted by the bundle", "left on the network's grid"])
def test_prediction_lands_in_the_right_place(after: list[Any], tmp_path: Path) -> None:
    source = write(tmp_path / "bright_balls", after)
    archive = Path(shutil.make_archive(str(tmp_path / "zipped"), "zip", tmp_path, "bright_balls"))
    added(archive if len(after) == 1 else source, tmp_path / "models", "--name", "bright-balls")
    bundle = load_bundle(tmp_path / "models" / "bright-balls")
    assert (bundle.manifest.version, bundle.manifest.outputs.segments[0].label) == ("0.3.1", "ball")
    model = open_model(bundle)
    for grid in ("axial", "flipped", "oblique"):
        volume = volume_of(grid)
        result = model.run({"images": ModelInput(volume, {})}, NOW)
        mask = result.segments[0].mask
        where = places_lps_mm(volume.values.shape, volume.affine_lps_mm)[mask].mean(axis=0)
        assert np.linalg.norm(where - CENTER_LPS_MM) < 1.0, grid
        wanted = volume.values > 50
        assert 2 * np.count_nonzero(mask & wanted) / (np.count_nonzero(mask) + np.count_nonzero(wanted)) > 0.85, grid
        assert result.model.backend == "monai"
    model.close()


def test_weights_are_loaded_into_the_network_of_the_configuration(tmp_path: Path) -> None:
    added(write(tmp_path / "unet", [INVERT, ARGMAX], weights=True), tmp_path / "models")
    model = open_model(load_bundle(tmp_path / "models" / "unet"))
    result = model.run({"images": ModelInput(volume_of("axial"), {})}, NOW)
    assert result.segments[0].mask.shape == volume_of("axial").values.shape
    model.close()


def test_configuration_that_monai_refuses_is_said_and_not_installed(tmp_path: Path) -> None:
    source = write(tmp_path / "broken", [{"_target_": "NoSuchTransformd", "keys": "pred"}])
    done = dicom_node("models", "add", source, "--models-dir", tmp_path / "models", "--trust-code")
    assert (done.code, "MONAI refuses the bundle" in done.err) == (1, True), done.err
    assert not list((tmp_path / "models").iterdir())


def test_folder_is_pinned(tmp_path: Path) -> None:
    added(write(tmp_path / "balls", [ARGMAX]), tmp_path / "models")
    (tmp_path / "models" / "balls" / "monai" / "configs" / "metadata.json").write_text("{}")
    with pytest.raises(BundleFaults, match="is pinned"):
        load_bundle(tmp_path / "models" / "balls")


def test_code_is_not_run_without_trust(tmp_path: Path) -> None:
    done = dicom_node("models", "add", write(tmp_path / "unet", [ARGMAX]), "--models-dir", tmp_path / "models")
    assert (done.code, "the configuration of a MONAI bundle is evaluated" in done.err) == (1, True)
