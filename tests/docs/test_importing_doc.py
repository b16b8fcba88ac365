"""The examples of docs/importing-models.md are executed, one for each kind of source."""

from __future__ import annotations

import os
import re
import sys
import warnings
from pathlib import Path

import pytest
import torch

from tests.conftest import ROOT
from tests.docs.console import typed
from tests.unit.importing.test_monai_bundles import ARGMAX, INVERT, write
from tests.unit.inference.steps import networks

TEXT = (ROOT / "docs" / "importing-models.md").read_text("utf-8")
BLOCK = re.compile(r"(?:<!-- file: (\S+) -->\n)?```(yaml|python|console)\n(.*?)```", re.DOTALL)


class _Organs(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = torch.nn.Conv3d(1, 2, 3, padding=1)
        self.norm = torch.nn.InstanceNorm3d(2, affine=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(x))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning")
def test_the_examples_do_what_they_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "400")
    monkeypatch.setenv(
        "PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    )  # a python3 that has the example's libraries
    Path("lungs.onnx").write_bytes(networks.threshold_segmenter())
    torch.manual_seed(1)
    with warnings.catch_warnings(action="ignore"):
        torch.export.save(torch.export.export(_Organs().eval(), (torch.zeros(1, 1, 8, 8, 8),)), "organs.pt2")
    write(Path("bright_balls"), [INVERT, ARGMAX])
    blocks = BLOCK.findall(TEXT)
    assert [kind for _, kind, _ in blocks].count("console") == 4
    for file, kind, text in blocks:
        if kind == "console":
            assert not (problem := typed(text)), problem
        else:
            Path(file).parent.mkdir(exist_ok=True)
            Path(file).write_text(text)
