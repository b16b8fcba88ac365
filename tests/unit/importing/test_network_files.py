"""`models add FILE`: a network file becomes a bundle that loads, runs, and asks what only a person knows."""

from __future__ import annotations

import hashlib
import warnings
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper

from dicom_node.inference import ModelInput, load_bundle, open_model
from tests.commands import Done, dicom_node
from tests.unit.bundle.test_zips import packed as zipped
from tests.unit.inference.steps import networks
from tests.unit.inference.steps.bundles import ONE, write_bundle
from tests.unit.inference.steps.phantom import frame_of, frames_of, volume_of

NOW = datetime(2024, 1, 2, tzinfo=UTC)


@pytest.fixture
def models(tmp_path: Path) -> Path:
    return tmp_path / "models"


def add(source: Path, models: Path, *options: object) -> Done:
    return dicom_node("models", "add", source, "--models-dir", models, *options)


def written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("task", "network", "kind"),
    [
        ("segmentation", networks.threshold_segmenter(), "volume"),
        ("segmentation", networks.threshold_segmenter(planar=True), "frames"),
        ("classification", networks.blob_classifier(), "frames"),
        ("regression", networks.mean_intensity(), "volume"),
        ("parametric-map", networks.identity(), "volume"),
    ],
)
def test_draft_of_each_task_runs_on_images(task: str, network: bytes, kind: str, tmp_path: Path, models: Path) -> None:
    source = written(tmp_path / "Some Network.onnx", network)
    done = add(source, models, "--task", task)
    assert done.code == 0, done.err
    assert "onnxruntime fp32 ran on" in done.out
    bundle = load_bundle(models / "some-network")
    assert bundle.manifest.network.sha256 == hashlib.sha256(network).hexdigest()
    assert bundle.manifest.stage.value == "research"
    assert (bundle.folder / "model.yaml").read_text().count("?") > 8, "what a person must decide is asked"
    images = volume_of("axial") if kind == "volume" else frames_of(frame_of())
    model = open_model(bundle, threads=1)
    result = model.run({"images": ModelInput(images, {})}, NOW)
    model.close()
    assert len(result.segments) + len(result.evaluations) + len(result.measurements) + len(result.maps) == 1
    assert [path.name for path in models.iterdir()] == ["some-network"], "nothing else is left"


def test_detector_finds_its_box(tmp_path: Path, models: Path) -> None:
    boxes, scores = np.array([[[30, 6, 42, 14]]], np.float32), np.array([[0.9]], np.float32)
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["none"]),
        helper.make_node("Add", ["none", "b"], ["boxes"]),
        helper.make_node("Add", ["none", "s"], ["scores"]),
    ]
    inputs = [networks.value("x", [1, 1, 40, 52])]
    outputs = [networks.value("boxes", [1, 1, 4]), networks.value("scores", [1, 1])]
    network = networks.model(nodes, inputs, outputs, zero=np.float32(0), b=boxes, s=scores)
    done = add(written(tmp_path / "finder.onnx", network), models, "--task", "detection")
    assert done.code == 0, done.err
    model = open_model(load_bundle(models / "finder"), threads=1)
    [found] = model.run({"images": ModelInput(frames_of(frame_of()), {})}, NOW).findings
    model.close()
    assert found.score == pytest.approx(0.9)
    assert found.region is not None
    assert found.region.points_px[0] == pytest.approx((30, 6))


def test_dry_run_writes_nothing(tmp_path: Path, models: Path) -> None:
    done = add(written(tmp_path / "n.onnx", networks.identity()), models, "--task", "parametric-map", "--name", "map", "--dry-run")
    assert (done.code, models.exists()) == (0, False)
    assert "name: map" in done.out
    assert f"would write {models / 'map'}" in done.out


def test_nothing_is_overwritten(tmp_path: Path, models: Path) -> None:
    source = written(tmp_path / "map.onnx", networks.identity())
    assert add(source, models, "--task", "parametric-map").code == 0
    before = (models / "map" / "model.yaml").read_bytes()
    again = add(source, models, "--task", "parametric-map", "--version", "2")
    assert (again.code, "is there already and is not overwritten" in again.err) == (1, True)
    assert (models / "map" / "model.yaml").read_bytes() == before
    assert [path.name for path in models.iterdir()] == ["map"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), "a network file does not say what it answers"),
        (("--task", "classification"), "the task wants a list of scores; the outputs are y ?x1x?x?x?"),
        (("--task", "parametric-map", "--name", "No"), "'No' is no name of a model"),
    ],
)
def test_what_cannot_be_drafted_is_said(options: tuple[str, ...], words: str, tmp_path: Path, models: Path) -> None:
    done = add(written(tmp_path / "n1.onnx", networks.identity()), models, *options)
    assert (done.code, words in done.err) == (1, True), done.err
    assert not list(models.iterdir())


def _changed(**changes: int) -> bytes:
    model = onnx.load_model_from_string(networks.identity())
    if "opset" in changes:
        model.opset_import[0].version = changes["opset"]
    if "ir" in changes:
        model.ir_version = changes["ir"]
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"no network", "cannot be read as ONNX"),
        (_changed(opset=6), "the network has operator set 6, this node runs 7 to"),
        (_changed(ir=99), "ir_version 99 is higher"),
    ],
)
def test_faulty_onnx_is_refused(content: bytes, words: str, tmp_path: Path, models: Path) -> None:
    done = add(written(tmp_path / "n1.onnx", content), models, "--task", "parametric-map")
    assert (done.code, words in done.err) == (1, True), done.err
    assert not list(models.iterdir())


def test_network_that_gives_no_numbers_is_refused(tmp_path: Path, models: Path) -> None:
    nodes = [helper.make_node("Log", ["x"], ["y"])]  # of negative values: not a number
    axes = ["n", 1, "d", "h", "w"]
    network = networks.model(nodes, [networks.value("x", axes)], [networks.value("y", axes)])
    done = add(written(tmp_path / "log.onnx", network), models, "--task", "parametric-map")
    assert (done.code, "values are not finite" in done.err) == (1, True), done.err


def test_weights_beside_the_network_are_taken_in(tmp_path: Path, models: Path) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [1, 1, 1, 1, 600], np.ones(600, np.float32).tobytes(), raw=True)
    axes = ["n", 1, "d", "h", 600]
    given, made = networks.value("x", axes), networks.value("y", axes)
    graph = helper.make_graph([helper.make_node("Mul", ["x", "w"], ["y"])], "g", [given], [made], [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    source = tmp_path / "external.onnx"
    onnx.save_model(model, source, save_as_external_data=True, location="external.data", size_threshold=0)
    done = add(source, models, "--task", "parametric-map")
    assert (done.code, "were taken into it" in done.out) == (0, True), done.err
    assert sorted(path.name for path in (models / "external").iterdir()) == ["model.yaml", "network.onnx"]


class _Network(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv3d(1, 2, 3, padding=1)
        self.norm = torch.nn.InstanceNorm3d(2, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("programs")
    torch.manual_seed(1)
    given = torch.zeros(1, 1, 8, 8, 8)
    network = _Network().eval()
    with warnings.catch_warnings(action="ignore"):  # torch says that TorchScript is old
        torch.jit.save(torch.jit.trace(network, given), folder / "script.pt")
        torch.export.save(torch.export.export(network, (given,)), folder / "exported.pt2")
    return folder


@pytest.mark.parametrize(("file", "shape"), [("script.pt", ("--shape", "1x1x8x8x8")), ("exported.pt2", ())])
def test_trusted_program_is_converted_and_compared(file: str, shape: tuple[str, ...], programs: Path, models: Path) -> None:
    refused = add(programs / file, models, "--task", "segmentation", *shape)
    assert (refused.code, "loading it runs whatever code is in it" in refused.err) == (1, True)
    done = add(programs / file, models, "--task", "segmentation", "--trust-code", *shape)
    assert done.code == 0, done.err
    assert "converted to ONNX, differs from the original by" in done.out
    assert "with repairs as without them within" in done.out
    bundle = load_bundle(models / file.split(".", maxsplit=1)[0])
    assert bundle.manifest.network.repairs == ("instance-norm-by-axis",)
    assert "largest difference on random input" in bundle.manifest.facts.mechanism


def test_program_without_a_shape_is_refused(programs: Path, models: Path) -> None:
    done = add(programs / "script.pt", models, "--task", "segmentation", "--trust-code")
    assert "TorchScript does not say the shape of its input" in done.err


def test_program_that_onnx_cannot_hold_is_kept_for_torch(tmp_path: Path, models: Path) -> None:
    class Complex(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.linalg.eigvalsh(x)[..., None].expand(x.shape)

    with warnings.catch_warnings(action="ignore"):  # torch says that TorchScript is old
        torch.jit.save(torch.jit.trace(Complex().eval(), torch.zeros(1, 1, 8, 8, 8)), tmp_path / "kept.pt")
    done = add(tmp_path / "kept.pt", models, "--task", "parametric-map", "--trust-code", "--shape", "1x1x8x8x8")
    assert (done.code, "it is kept for the back end torch" in done.out) == (0, True), done.err
    manifest = load_bundle(models / "kept").manifest
    assert (manifest.network.format.value, manifest.engines.backends[0].value) == ("torchscript", "torch")


def test_delivered_bundle_is_checked_and_installed(tmp_path: Path, models: Path) -> None:
    delivered = write_bundle(
        tmp_path / "delivered",
        networks.identity(),
        {"outputs": {"maps": [{"id": "m", "label": "M", "quantity": CODE, "unit": ONE}]}},
    )
    for source in (delivered.folder, zipped(delivered.folder, tmp_path / "delivered.zip")):
        done = add(source, models)
        assert done.code == 0, done.err
        assert load_bundle(models / "tiny-model").digest == delivered.digest
        (models / "tiny-model").rename(tmp_path / f"installed-{source.suffix}")
    assert not list(models.iterdir())
    (delivered.folder / "network.onnx").unlink()
    faulty = add(delivered.folder, models)
    assert (faulty.code, "network.onnx" in faulty.err, list(models.iterdir())) == (1, True, [])


CODE = {"value": "1", "scheme": "99TEST", "meaning": "Something"}
