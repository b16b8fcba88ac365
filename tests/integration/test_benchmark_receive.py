"""The receive benchmark, on its smallest cells: what it prints, and that nothing differs from what was sent."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from tests.conftest import ROOT


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Any]:
    folder = tmp_path_factory.mktemp("benchmark")
    page = tmp_path_factory.mktemp("docs") / "page.md"
    page.write_text("before\n<!-- receive.py writes from here -->\nold table\n<!-- to here -->\nafter\n", "utf-8")
    cells = ["--only", "node,storescp", "--corpus", "MR", "--associations", "1", "--senders", "fast,storescu-nodelay"]
    command = [sys.executable, ROOT / "benchmarks" / "receive.py", "--quick", *cells, "--json", "--folder", folder, "--write-docs", page]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    assert not list(folder.iterdir())
    return {**json.loads(done.stdout), "page": page}


def test_every_receiver_is_measured_with_every_sender(report: Mapping[str, Any]) -> None:
    assert report["failures"] == []
    measured = {(f["receiver"], f["sender"]) for f in report["figures"]}
    receivers = {name for name, _ in measured}
    assert {"node-strict", "storescp", "storescp-best"} <= receivers
    assert {(r, s) for r in ("node-strict", "storescp", "storescp-best") for s in ("fast", "storescu-nodelay")} <= measured


def test_every_data_set_is_stored_once_and_as_sent(report: Mapping[str, Any]) -> None:
    assert all(f["identical"] == f["instances"] == 60 for f in report["figures"])


def test_figures_stand_beside_durability_and_the_bare_disk(report: Mapping[str, Any]) -> None:
    for row in report["figures"]:
        assert row["durability"]
        assert min(row[figure] for figure in ("mb_per_s", "instances_per_s", "cpu_s_per_gb", "peak_rss_mb")) > 0
    assert {d["size"] for d in report["disk"]} == {"64 KB", "512 KB"}
    assert all(min(d["synced_ms"], d["written_ms"]) > 0 for d in report["disk"])


def test_each_verdict_names_target_cell_peer_and_bound(report: Mapping[str, Any]) -> None:
    assert any(v["target"] == "instances stored once and byte for byte as sent" and v["met"] for v in report["verdicts"])
    assert all({"target", "cell", "beside", "value", "bound", "at_most", "met"} <= set(v) for v in report["verdicts"])


def test_the_page_is_changed_between_its_comments_only(report: Mapping[str, Any]) -> None:
    text = report["page"].read_text("utf-8")
    assert text.startswith("before\n<!-- receive.py writes from here -->\n")
    assert text.endswith("\n<!-- to here -->\nafter\n")
    assert "old table" not in text
    assert "| MR | 1 | fast | " in text


def test_the_docs_have_a_place_for_the_tables() -> None:
    text = (ROOT / "docs" / "benchmarks.md").read_text("utf-8")
    assert text.index("<!-- receive.py writes from here -->") < text.index("<!-- to here -->")
