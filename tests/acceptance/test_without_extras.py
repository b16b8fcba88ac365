"""The core imports, tells what is missing, and serves with none of the extras: their packages are hidden from every process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.acceptance.daemon import Daemon
from tests.acceptance.orthanc import Orthanc
from tests.conftest import ROOT
from tests.phantoms import chest_series, write
from tests.unit.inference.steps.bundles import LUNG, ONE, write_bundle
from tests.unit.inference.steps.networks import identity, mean_intensity

HIDDEN = (
    "torch", "onnxscript", "onnxconverter_common", "openvino", "tritonclient", "gevent", "geventhttpclient", "tensorrt", "tensorrt_rtx",
    "tensorrt_bindings", "pycuda", "pynvml", "monai", "psycopg", "fsspec", "s3fs", "ray", "atheris",
)  # fmt: skip
HOOK = f"""
import importlib.metadata, importlib.util, sys

HIDDEN = {set(HIDDEN)!r}

class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in HIDDEN:
            raise ModuleNotFoundError(f"hidden: {{name}}", name=name)

sys.meta_path.insert(0, Hide())
version = importlib.metadata.version

def visible(name):
    if name.replace("-", "_") in HIDDEN:
        raise importlib.metadata.PackageNotFoundError(name)
    return version(name)

importlib.metadata.version = visible
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name.partition(".")[0] in HIDDEN else find_spec(name, package)
"""
EVERY_MODULE = """
import importlib, pkgutil, sys
import dicom_node
from dicom_node.errors import DicomNodeError
from dicom_node.inference.backends import Network, NetworkFormat, RemoteModel, SessionOptions, available_backends, open_session
from pathlib import Path

of_an_extra = ("__main__", "migrations.env", "steps.device_arrays")  # the last is torch's place beside the steps
names = [m.name for m in pkgutil.walk_packages(dicom_node.__path__, "dicom_node.") if not m.name.endswith(of_an_extra)]
for name in names:
    importlib.import_module(name)
assert len(names) > 150, len(names)
for name, state in sorted(available_backends().items()):
    print(name, state.usable, state.reason)
open_session("onnxruntime", "fp32", Network(Path(sys.argv[1]))).activate()
options = SessionOptions(trusted=True, remote=RemoteModel("127.0.0.1:1", "x"))
for backend, form in (("torch", "pt2"), ("openvino", "onnx"), ("triton", "onnx"), ("tensorrt", "onnx")):
    try:
        open_session(backend, "fp32", Network(Path(sys.argv[1]), NetworkFormat(form)), options).activate()
        print("active:", backend)
    except DicomNodeError as error:
        print(type(error).__name__, backend)
loaded = sorted(set(sys.argv[2].split(",")) & {name.partition(".")[0] for name in sys.modules})
print("loaded:", loaded)
"""


MESSAGES = """
import sys
from pathlib import Path
from dicom_node.errors import DicomNodeError
from dicom_node.inference.backends import Network, NetworkFormat, RemoteModel, SessionOptions, open_session
from dicom_node.inference.engines.device_memory import DeviceMemory
from dicom_node.inference.engines.tensorrt_library import load_tensorrt
from dicom_node.inference.importing.torch_program import convert
from dicom_node.inference.programs.monai_runtime import MonaiRuntime
from dicom_node.inference.weights.conversion import torch_is_missing, torch_is_there

network = Path(sys.argv[1])
options = SessionOptions(trusted=True, remote=RemoteModel("127.0.0.1:1", "x"))

def missing_torch():
    if not torch_is_there():
        raise torch_is_missing()

def session(backend, form):
    return lambda: open_session(backend, "fp32", Network(network, NetworkFormat(form)), options).activate()

wanted = {
    "torch": session("torch", "torchscript"), "torch of a .pt2": session("torch", "pt2"), "openvino": session("openvino", "onnx"),
    "triton": session("triton", "onnx"), "tensorrt": load_tensorrt, "pycuda": lambda: DeviceMemory(0),
    "monai": lambda: MonaiRuntime(network.parent), "import of a torch file": lambda: convert(network, network, (1,)),
    "conversion of weights": missing_torch,
}
for name, ask in wanted.items():
    try:
        ask()
        print(f"{name} | nothing was missed |")
    except DicomNodeError as error:
        print(f"{name} | {error} | {error.hint}")
"""
EXTRAS_BY_NAME = {
    "torch": "`torch`", "torch of a .pt2": "`torch`", "openvino": "`openvino`", "triton": "`triton`", "tensorrt": "`gpu` or `rtx`",
    "pycuda": "`gpu`", "monai": "`monai`", "import of a torch file": "`torch`", "conversion of weights": "`torch`",
}  # fmt: skip


@pytest.fixture
def hidden(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hook").mkdir()
    (tmp_path / "hook" / "sitecustomize.py").write_text(HOOK)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "hook"), str(ROOT)]))


def test_core_imports_and_says_which_engines_are_missing(hidden: None) -> None:
    network = ROOT / "config" / "models" / "chest-ct-densitometry" / "histogram.onnx"
    done = subprocess.run([sys.executable, "-c", EVERY_MODULE, network, ",".join(HIDDEN)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[:5] == [
        "onnxruntime True onnxruntime 1.32.0",
        "openvino False the package openvino is not installed (extra `openvino`)",
        lines[2],
        "torch False the package torch is not installed (extra `torch`)",
        "triton False the package tritonclient is not installed (extra `triton`)",
    ]
    assert lines[2].startswith("tensorrt False ")
    assert lines[5:9] == [f"EngineUnavailableError {backend}" for backend in ("torch",)] + [
        "ModelError openvino",  # refused for its doubles before the library is needed
        "EngineUnavailableError triton",
        "EngineUnavailableError tensorrt",
    ]
    assert lines[9] == "loaded: []"


def test_whatever_needs_an_extra_says_which_one_to_install(hidden: None, tmp_path: Path) -> None:
    network = tmp_path / "network.onnx"
    network.write_bytes(identity())
    done = subprocess.run([sys.executable, "-c", MESSAGES, network], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    said = {name: (words, hint) for name, words, hint in (line.split(" | ") for line in done.stdout.splitlines())}
    assert said.keys() == EXTRAS_BY_NAME.keys()
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for name, extra in EXTRAS_BY_NAME.items():
        words, hint = said[name]
        assert f"Install the extra {extra}" in hint, (name, words, hint)
        assert {e.strip("`") for e in extra.split(" or ")} <= known.keys()


def test_models_that_name_engines_of_extras_say_which_are_missing_and_run_on_the_reference(hidden: None, tmp_path: Path) -> None:
    level = {"id": "level", "label": "Level", "concept": LUNG, "unit": ONE, "of": "level"}
    triton = {"url": "127.0.0.1:1", "model": "m", "version": "1"}
    engines = {"backends": ["tensorrt", "openvino", "triton", "onnxruntime"], "triton": triton}
    sections = {"name": "level", "steps": {"infer": "whole"}, "outputs": {"measurements": [level]}, "engines": engines}
    write_bundle(tmp_path / "models" / "level", mean_intensity(), sections)
    (tmp_path / "rules.yaml").write_text("rules: []\n")
    (tmp_path / "node.yaml").write_text(f"ae_title: AINODE\ndata_dir: data\ndatabase: sqlite:///{tmp_path}/node.db\nmodels_dir: models\n")
    command = [sys.executable, "-m", "dicom_node", "models", "engines", "level", "--json", "--config", str(tmp_path / "node.yaml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    reasons = {engine["backend"]: (engine["state"], engine["reason"]) for engine in json.loads(done.stdout)["engines"]}
    assert reasons["openvino"] == ("unavailable", "the package openvino is not installed (extra `openvino`)")
    assert reasons["triton"] == ("unavailable", "the package tritonclient is not installed (extra `triton`)")
    assert reasons["tensorrt"][0] == "unavailable"
    assert json.loads(done.stdout)["serves"]["backend"] == "onnxruntime"


def test_node_analyses_a_study_without_the_extras(hidden: None, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "node")
    try:
        daemon.start()
        paths = write(chest_series(), tmp_path / "series")
        subprocess.run(["/usr/bin/storescu", "-aet", "CT", "-aec", "AINODE", "127.0.0.1", str(daemon.port), *paths], check=True)
        Orthanc.wait_until(lambda: [job["state"] for job in daemon.jobs()] == ["DELIVERING"], 60, 0.5)
    finally:
        daemon.close()
