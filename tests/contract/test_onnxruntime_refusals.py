from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.errors import ModelError
from dicom_node.inference.backends import Network, open_session


def test_file_that_is_no_network_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.onnx").write_bytes(b"no network")
    with pytest.raises(ModelError, match="refuses"):
        open_session("onnxruntime", "fp32", Network(tmp_path / "x.onnx")).activate()
