from __future__ import annotations

import configparser
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT

UNIT = ROOT / "systemd" / "dicom-node.service"


def test_every_hardening_line_has_its_reason() -> None:
    lines = UNIT.read_text("utf-8").splitlines()
    start = lines.index("# Hardening: each line with the reason.")
    options = [line for line in lines[start + 1 :] if "=" in line and not line.startswith(("#", "WantedBy"))]
    assert len(options) >= 15
    for option in options:
        assert lines[lines.index(option) - 1].startswith("# "), option


def test_unit_notifies_watches_and_drains() -> None:
    unit = configparser.RawConfigParser(strict=False)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    service = unit["Service"]
    assert (service["Type"], service["KillMode"]) == ("notify", "mixed")
    assert "WatchdogSec" in service
    assert int(service["TimeoutStopSec"]) > 60


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd's tools are not installed")
def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    text = UNIT.read_text("utf-8")
    for program in ("/opt/dicom-node/.venv/bin/dicom-node",):
        assert program in text
        text = text.replace(program, str(ROOT / ".venv" / "bin" / "dicom-node"))
    copy = tmp_path / UNIT.name
    copy.write_text(text)
    done = subprocess.run(["systemd-analyze", "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False)
    complaints = [line for line in done.stderr.splitlines() if UNIT.name in line and "User=" not in line]
    assert (done.returncode, complaints) == (0, [])
