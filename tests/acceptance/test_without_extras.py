"""The core imports, tells what is missing, and serves with none of the extras: their packages are hidden from every process."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.daemon import Daemon
from tests.acceptance.orthanc import Orthanc
from tests.conftest import ROOT
from tests.phantoms import chest_series, write

HIDDEN = (
    "torch", "onnxscript", "onnxconverter_common", "openvino", "tritonclient", "gevent", "geventhttpclient", "tensorrt", "tensorrt_rtx",
    "tensorrt_bindings", "pycuda", "pynvml", "monai", "psycopg", "fsspec", "s3fs", "ray", "atheris",
)  # fmt: skip
HOOK = f"""
import importlib.metadata, sys

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


def test_node_analyses_a_study_without_the_extras(hidden: None, tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "node")
    try:
        daemon.start()
        paths = write(chest_series(), tmp_path / "series")
        subprocess.run(["/usr/bin/storescu", "-aet", "CT", "-aec", "AINODE", "127.0.0.1", str(daemon.port), *paths], check=True)
        Orthanc.wait_until(lambda: [job["state"] for job in daemon.jobs()] == ["DELIVERING"], 60, 0.5)
    finally:
        daemon.close()
