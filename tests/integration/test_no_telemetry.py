"""Nothing that the node loads reports to its maker: what runs on patients' images stays in the house."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT

RUN = """
import sys
if sys.argv[2] == "node":
    import dicom_node
import onnxruntime
onnxruntime.InferenceSession(sys.argv[1])
"""
NETWORK = ROOT / "config" / "models" / "chest-ct-densitometry" / "histogram.onnx"


def kept_by_a_session(home: Path, wanted: str) -> list[str]:
    """What a session in a new process leaves in its home folder."""
    environment = {n: v for n, v in os.environ.items() if n not in ("ORT_DISABLE_TELEMETRY", "CI", "PYTEST_CURRENT_TEST", "XDG_CACHE_HOME")}
    subprocess.run([sys.executable, "-c", RUN, NETWORK, wanted], env={**environment, "HOME": str(home)}, cwd=ROOT, check=True)
    return [str(path.relative_to(home)) for path in home.rglob("*") if path.is_file()]


def test_onnx_runtime_keeps_no_record_to_send(tmp_path: Path) -> None:
    assert kept_by_a_session(tmp_path, "node") == []


def test_onnx_runtime_by_itself_would_keep_one(tmp_path: Path) -> None:
    """If this fails, the library has changed its ways: look what it does now, and whether our switch is still the right one."""
    assert any("onnxruntime" in name for name in kept_by_a_session(tmp_path, "library"))
