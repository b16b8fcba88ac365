"""What the node's processes have counted, added up from their files below `run/metrics`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

_PREFIX = "dicom_node_"


@dataclass(slots=True)
class PeerCounts:
    """What one peer sent since the node started.

    Attributes:
        open_associations: Open now.
        refused: Instances by status, four hexadecimal digits.
        durable_within: Instances that were durable within so many seconds after their last byte, cumulative.
    """

    open_associations: int = 0
    instances: int = 0
    size_bytes: int = 0
    refused: dict[str, int] = field(default_factory=dict)
    durable_within: dict[float, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ReceiveCounts:
    """All peers by name, and associations rejected by reason."""

    peers: Mapping[str, PeerCounts]
    rejected: Mapping[str, int]


def read_receive_counts(folder: Path) -> ReceiveCounts:
    """Add up what every process counted; nothing if none ran yet."""
    peers: dict[str, PeerCounts] = {}
    rejected: dict[str, int] = {}
    if folder.is_dir():
        registry = CollectorRegistry()
        MultiProcessCollector(registry, path=str(folder))  # type: ignore[no-untyped-call]  # no stubs
        for metric in registry.collect():
            for sample in metric.samples:
                _add(peers, rejected, sample.name.removeprefix(_PREFIX), sample.labels, sample.value)
    return ReceiveCounts(dict(sorted(peers.items())), dict(sorted(rejected.items())))


def forget_process(folder: Path, process_id: int) -> None:
    """Drop what a dead process said of the present; its totals stay."""
    mark_process_dead(process_id, path=str(folder))  # type: ignore[no-untyped-call]  # no stubs


def quantile(durable_within: Mapping[float, int], share: float) -> float | None:
    """Estimate a quantile from cumulative buckets, seconds; None without instances. Linear within a bucket, as Prometheus does."""
    buckets = sorted(durable_within.items())
    total = buckets[-1][1] if buckets else 0
    if not total:
        return None
    below, lower = 0, 0.0
    for upper, count in buckets:
        if count >= share * total:
            if upper == float("inf") or count == below:
                return lower
            return lower + (upper - lower) * (share * total - below) / (count - below)
        below, lower = count, upper
    return lower


def _add(peers: dict[str, PeerCounts], rejected: dict[str, int], name: str, labels: Mapping[str, str], value: float) -> None:
    if name == "rejected_associations_total":
        rejected[labels["reason"]] = int(value)
        return
    if "peer" not in labels:
        return
    counts = peers.setdefault(labels["peer"], PeerCounts())
    match name:
        case "received_instances_total":
            counts.instances = int(value)
        case "received_bytes_total":
            counts.size_bytes = int(value)
        case "open_associations":
            counts.open_associations = int(value)
        case "refused_instances_total":
            counts.refused[labels["status"]] = int(value)
        case "receive_durable_seconds_bucket":
            counts.durable_within[float(labels["le"])] = int(value)
