"""The replay benchmark on a small index: its rows fit the schema, and the draft changes what it was written to change."""

from __future__ import annotations

import json
import subprocess
import sys

from tests.conftest import ROOT


def test_small_index_is_built_and_replayed() -> None:
    options = ["--studies", "300", "--instance-rows-of", "20", "--processes", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "replay.py", *options], cwd=ROOT / "benchmarks", capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["built"]["studies"] == 300
    assert report["built"]["instance_rows"] > 0
    assert 0 < report["changed"] <= 300
