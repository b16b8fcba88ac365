"""Counting over processes, and what `top` makes of two looks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node.cli.top import peer_lines
from dicom_node.ops.counters import PeerCounts, ReceiveCounts, forget_process, quantile, read_receive_counts

COUNT = """
from dicom_node.scp.metrics import association_rejected, of_peer
metrics = of_peer("pacs")
metrics.opened()
metrics.stored(1_000_000, 0.003)
metrics.refused(0xA700)
association_rejected("called-ae-title-not-recognized")
import os; print(os.getpid(), flush=True); input()
"""


def counting(folder: Path) -> subprocess.Popen[str]:
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)}
    return subprocess.Popen([sys.executable, "-c", COUNT], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_processes_add_up_and_a_dead_ones_open_associations_do_not(tmp_path: Path) -> None:
    running = [counting(tmp_path), counting(tmp_path)]
    pids = [int(process.stdout.readline()) for process in running if process.stdout]
    counts = read_receive_counts(tmp_path)
    peer = counts.peers["pacs"]
    assert (peer.open_associations, peer.instances, peer.size_bytes, peer.refused) == (2, 2, 2_000_000, {"A700": 2})
    assert counts.rejected == {"called-ae-title-not-recognized": 2}
    for process in running:
        process.kill()
        process.communicate()
    forget_process(tmp_path, pids[0])
    peer = read_receive_counts(tmp_path).peers["pacs"]
    assert (peer.open_associations, peer.instances) == (1, 2)


def test_nothing_received_is_nothing(tmp_path: Path) -> None:
    assert read_receive_counts(tmp_path / "absent") == ReceiveCounts({}, {})


@pytest.mark.parametrize(
    ("buckets", "share", "expected"),
    [
        ({}, 0.5, None),
        ({0.1: 0, float("inf"): 0}, 0.5, None),
        ({0.1: 10, 0.2: 20}, 0.5, 0.1),
        ({0.1: 0, 0.2: 10}, 0.5, 0.15),
        ({0.1: 5, float("inf"): 10}, 0.95, 0.1),
    ],
)
def test_quantile_is_linear_within_its_bucket(buckets: dict[float, int], share: float, expected: float | None) -> None:
    assert quantile(buckets, share) == (None if expected is None else pytest.approx(expected))


def test_rates_are_of_the_time_between_two_looks() -> None:
    before = ReceiveCounts({"pacs": PeerCounts(1, 10, 5_000_000, {}, {0.1: 10, float("inf"): 10})}, {})
    now = ReceiveCounts({"pacs": PeerCounts(2, 30, 15_000_000, {"A700": 1}, {0.1: 10, float("inf"): 30})}, {})
    [line] = peer_lines(now, before, 2.0)
    assert (line.instances_per_s, line.megabytes_per_s, line.open_associations) == (10.0, 5.0, 2)
    assert line.durable_median_ms == pytest.approx(100.0)
    [first] = peer_lines(now, None, 0.0)
    assert first.instances_per_s is None
