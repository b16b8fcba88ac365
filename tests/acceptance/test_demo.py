"""`make demo` without a terminal: the whole way, then it cleans up and leaves with 0."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.acceptance.daemon import PROGRAM

pytestmark = pytest.mark.acceptance


def test_demo_shows_report_pictures_and_timings_and_cleans_up(tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "demo"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), "TMPDIR": str(tmp_path)},
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for words in ("133/133", "Lung volume", "%LAA-950", "0.03-0.43", "node overhead", "How to go on"):
        assert words in done.stdout
    assert len(list((tmp_path / "demo-output").glob("*.png"))) == 7
    assert not list(tmp_path.glob("dicom-node-demo-*"))
