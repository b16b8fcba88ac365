"""What is measured: cells, samples, and their medians."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from receive_parts.receivers import Family, ReceiverKind
from receive_parts.senders import SenderKind

_NAGLE_INSTANCES = 30
_MOST_FROM_STORESCU = 640  # as installed; bounds the time if a receiver comes to wait that should not
_SLOW = (Family.PYNETDICOM, Family.ORTHANC)
_SLOW_INSTANCES = {"CT": 156, "DX": 20, "MR": 320}


@dataclass(frozen=True, slots=True)
class Cell:
    """One situation that every receiver is put into."""

    corpus: str
    associations: int
    sender: SenderKind

    def __str__(self) -> str:
        return f"{self.corpus} x {self.associations}, {self.sender}"


@dataclass(frozen=True, slots=True)
class Sample:
    """One measurement of one receiver."""

    seconds: float
    size_bytes: int
    instances: int
    identical: int
    cpu_s: float
    peak_rss_bytes: int


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians of a receiver's samples in a cell.

    Attributes:
        mb_per_s: Data set bytes, 1 MB is 1,000,000 bytes.
        cpu_s_per_gb: User and system time of the receiver.
        peak_rss_mb: Of its largest process, 1 MB is 1,000,000 bytes; the largest of all rounds.
        instances: Sent in each round; fewer than the corpus has where the receiver would take too long.
        identical: Stored exactly once and byte for byte as sent, in the worst round.
    """

    receiver: str
    durability: str
    corpus: str
    associations: int
    sender: str
    rounds: int
    instances: int
    identical: int
    mb_per_s: float
    instances_per_s: float
    cpu_s_per_gb: float
    peak_rss_mb: float


def figures_from_samples(kind: ReceiverKind, cell: Cell, samples: Sequence[Sample]) -> Figures:
    """Take the medians."""
    return Figures(
        receiver=kind.name,
        durability=kind.durability,
        corpus=cell.corpus,
        associations=cell.associations,
        sender=cell.sender.value,
        rounds=len(samples),
        instances=samples[0].instances,
        identical=min(s.identical for s in samples),
        mb_per_s=round(statistics.median(s.size_bytes / s.seconds for s in samples) / 1e6, 1),
        instances_per_s=round(statistics.median(s.instances / s.seconds for s in samples), 1),
        cpu_s_per_gb=round(statistics.median(s.cpu_s / s.size_bytes for s in samples) * 1e9, 2),
        peak_rss_mb=round(max(s.peak_rss_bytes for s in samples) / 1e6, 1),
    )


def takes_part(kind: ReceiverKind, cell: Cell) -> bool:
    """Say whether a receiver is measured in a cell: one that serves one association at a time is not asked for more."""
    if cell.associations > 1 and not kind.parallel:
        return False
    if kind.name == "storescp-nodelay":  # elsewhere storescp-best is just that
        return cell.sender is SenderKind.STORESCU
    return cell.sender is SenderKind.FAST or not kind.synced or kind.name == "node-strict"


def instances_to_send(kind: ReceiverKind, cell: Cell, available: int) -> int:
    """Shorten what would take a slow receiver too long: it is measured on part of the corpus."""
    wanted = _SLOW_INSTANCES.get(cell.corpus, available) if kind.family in _SLOW else available
    if cell.sender is SenderKind.STORESCU:
        waits = _waits_for_acknowledgements(kind, cell.corpus)
        wanted = min(wanted, _NAGLE_INSTANCES * cell.associations if waits else _MOST_FROM_STORESCU)
    return max(min(available, wanted), cell.associations)


def _waits_for_acknowledgements(kind: ReceiverKind, corpus: str) -> bool:
    """Say who takes 44 ms an instance from storescu as installed; 64 KB fit into one segment, which even tuned peers acknowledge late."""
    if kind.family is Family.PYNETDICOM or kind.name == "storescp-nodelay":
        return corpus == "MR"
    return kind.family is not Family.NODE
