"""Two exports of torch that are wrong without a word, and what finds them out."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pytest

from dicom_node.errors import ModelError
from dicom_node.inference.backends import Network, NetworkFormat, SessionOptions, open_session
from dicom_node.inference.engines.onnx_network import parse
from dicom_node.inference.engines.precision import check_types

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")


def export(module: object, x: object, path: Path, **options: object) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(module, (x,), str(path), input_names=["x"], output_names=["output"], **options)


@pytest.mark.parametrize("cured", [False, True])
def test_norm_that_tracks_statistics_is_exported_with_the_wrong_ones_and_comparing_shows_it(cured: bool, tmp_path: Path) -> None:
    """Some networks are used with norms in training mode, by each image's own statistics; the exporter switches to the tracked ones."""
    torch.manual_seed(0)
    norm = torch.nn.InstanceNorm3d(2, affine=True, track_running_stats=True)
    module = torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3), norm).train()
    x = torch.randn(1, 1, 6, 6, 6)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.trace(module, x, check_trace=False).save(str(tmp_path / "network.pt"))
    if cured:
        norm.track_running_stats, norm.running_mean, norm.running_var = False, None, None
    export(module, x, tmp_path / "network.onnx", dynamo=False, opset_version=18)
    trusted = SessionOptions(threads=1, trusted=True, device="cpu")
    with open_session("torch", "fp32", Network(tmp_path / "network.pt", NetworkFormat.TORCHSCRIPT), trusted) as reference:
        [expected] = reference.infer({next(iter(reference.inputs)): x.numpy()}).values()
    with open_session("onnxruntime", "fp32", Network(tmp_path / "network.onnx"), SessionOptions(threads=1)) as session:
        found = session.infer({"x": x.numpy()})["output"]
    error = float(np.abs(found - expected).max())
    assert error < 1e-5 if cured else error > 0.5


@pytest.mark.parametrize("optimize", [True, False])
def test_bf16_export_that_is_optimised_mixes_types_and_is_refused(optimize: bool, tmp_path: Path) -> None:
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3, bias=False), torch.nn.BatchNorm2d(2), torch.nn.ReLU()).eval().bfloat16()
    path = tmp_path / "network.onnx"
    export(
        module,
        torch.zeros(1, 1, 6, 6, dtype=torch.bfloat16),
        path,
        dynamo=True,
        optimize=optimize,
        verbose=False,
        external_data=False,
        opset_version=22,
    )
    built = parse(path.read_bytes(), "network")
    if optimize:
        with pytest.raises(ModelError, match="not valid"):
            check_types(built)
    else:
        check_types(built)
