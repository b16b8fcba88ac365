"""The example of docs/gate.md is executed; console blocks are compared as those of docs/rules.md."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from onnx import helper

from dicom_node.inference.bundle.engines_schema import ToleranceSection
from dicom_node.inference.bundle.verification_schema import Expectation
from dicom_node.inference.engines.probe import cuda_devices
from dicom_node.inference.gate.agreement import Tolerance
from dicom_node.inference.gate.choice import State
from dicom_node.inference.gate.phantoms import GENERATORS, Phantom
from tests.conftest import ROOT
from tests.docs.console import typed
from tests.unit.gate.networks import save

TEXT = (ROOT / "docs" / "gate.md").read_text("utf-8")
NODE = "ae_title: AINODE\ndata_dir: data\ndatabase: sqlite:///node.db\nrules: rules.yaml\n"
BLOCK = re.compile(r"(?:<!-- (file|replace in): (\S+) -->\n)?```(yaml|console)\n(.*?)```", re.DOTALL)


def write_network(path: Path) -> None:
    """Average over nine neighbours; channel 1 is stronger from 0.5 on."""
    average, divide = np.full((1, 1, 3, 3), 1 / 9), np.array([-1.0, 1.0]).reshape(2, 1, 1, 1)
    nodes = [helper.make_node("Conv", ["x", "average"], ["s"], pads=[1, 1, 1, 1]), helper.make_node("Conv", ["s", "divide", "bias"], ["y"])]
    weights = {"average": average, "divide": divide, "bias": np.array([0.5, -0.5])}
    save(path, nodes, weights, ["n", 1, "r", "c"], ["n", 2, "r", "c"])


def test_the_example_does_what_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="the extra openvino is not installed")
    if cuda_devices():
        pytest.skip("the example is of a node without a GPU")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DICOM_NODE_CONFIG", "node.yaml")
    monkeypatch.setenv("COLUMNS", "400")
    Path("node.yaml").write_text(NODE)
    Path("rules.yaml").write_text("rules: []\n")
    Path("models/bright-tissue").mkdir(parents=True)
    write_network(Path("models/bright-tissue/network.onnx"))
    blocks = BLOCK.findall(TEXT)
    assert [kind for _, _, kind, _ in blocks] == ["yaml", "console", "yaml", "console"]
    for how, file, kind, text in blocks:
        if how == "file":
            Path(file).write_text(text)
        elif how == "replace in":
            old, new = (part.strip() for part in text.split("->"))
            assert Path(file).read_text().count(old) == 1
            Path(file).write_text(Path(file).read_text().replace(old, new))
        elif kind == "console":
            assert not (problem := typed(text)), problem


@pytest.mark.parametrize("name", [*GENERATORS, *State, *ToleranceSection.model_fields, *Expectation.model_fields])
def test_every_word_is_explained(name: str) -> None:
    assert f"`{name}`" in TEXT


def test_generators_are_listed_with_their_parameters() -> None:
    common = set(Phantom.model_fields)
    for name, kind in GENERATORS.items():
        (line,) = (line for line in TEXT.splitlines() if line.startswith(f"| `{name}` |"))
        own = set(kind.model_fields) - common
        assert set(re.findall(r"`(\w+)`", line.split("|")[3])) - {"center_mm", "radii_mm", "value"} == own - {"center_mm"}


def test_tolerances_are_those_of_the_program() -> None:
    for name, field in ToleranceSection.model_fields.items():
        assert getattr(Tolerance(), name) == field.default
        assert f"| `{name}` | {field.default} |" in TEXT
