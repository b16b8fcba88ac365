"""The targets, judged on the figures of one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from receive_parts.figures import Cell, Figures
from receive_parts.senders import SenderKind

_C_RECEIVERS = ("storescp", "storescp-best", "storescp-nodelay", "dcmrecv-best")
_AS_INSTALLED = ("storescp", "storescp-best", "dcmrecv-best", "orthanc")
_NAGLE_FLOORS = {"CT": 20.0, "MR": 20.0, "DX": 4.0}
_KEEPS_FLOORS = {1: 0.5, 4: 0.7}

ByReceiver = Mapping[str, Figures]


@dataclass(frozen=True, slots=True)
class Verdict:
    """One target in one cell.

    Attributes:
        value: A ratio, or megabytes of memory.
        beside: The peer that it was measured against.
        at_most: Whether the bound is an upper one.
    """

    target: str
    cell: str
    beside: str
    value: float
    bound: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether the bound is kept."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def judge(figures: Sequence[Figures]) -> list[Verdict]:
    """Judge every target in every cell that holds what it compares; others have no verdict."""
    cells: dict[Cell, dict[str, Figures]] = {}
    for row in figures:
        cells.setdefault(Cell(row.corpus, row.associations, SenderKind(row.sender)), {})[row.receiver] = row
    return [verdict for rule in (_speed, _durable, _nagle, _cost, _memory, _identity) for c, by in cells.items() for verdict in rule(c, by)]


def _best(by: ByReceiver, names: Iterable[str], value: Callable[[Figures], float]) -> Figures | None:
    return max((by[n] for n in names if n in by), key=value, default=None)


def _ratio(ours: float, theirs: float) -> float:
    return round(ours / theirs, 3) if theirs else 0.0


def _rate(row: Figures) -> float:
    """Instances a second: the same ratio as bytes, and right where a peer was measured on fewer of them."""
    return row.instances_per_s


def _speed(cell: Cell, by: ByReceiver) -> Iterable[Verdict]:
    if not (ours := by.get("node-none")):
        return
    if theirs := _best(by, _C_RECEIVERS, _rate):
        yield Verdict("speed against the fastest C receiver, no sync", str(cell), theirs.receiver, _ratio(_rate(ours), _rate(theirs)), 0.9)
    if theirs := by.get("pynetdicom"):
        yield Verdict("speed against stock pynetdicom, no sync", str(cell), theirs.receiver, _ratio(_rate(ours), _rate(theirs)), 5.0)


def _durable(cell: Cell, by: ByReceiver) -> Iterable[Verdict]:
    strict, unsynced, orthanc = by.get("node-strict"), by.get("node-none"), by.get("orthanc-sync")
    if cell.sender is not SenderKind.FAST or not strict:
        return
    if unsynced and (floor := _KEEPS_FLOORS.get(cell.associations)):
        target = f"strict durability keeps of our unsynced speed, {cell.associations} association{'s' * (cell.associations > 1)}"
        yield Verdict(target, str(cell), unsynced.receiver, _ratio(_rate(strict), _rate(unsynced)), floor)
    if orthanc:
        yield Verdict("speed against Orthanc, both synced", str(cell), orthanc.receiver, _ratio(_rate(strict), _rate(orthanc)), 5.0)


def _nagle(cell: Cell, by: ByReceiver) -> Iterable[Verdict]:
    """Judge one association only: with more, the peers' waits overlap until the senders' own CPU is the limit."""
    floor, theirs = _NAGLE_FLOORS.get(cell.corpus), _best(by, _AS_INSTALLED, _rate)
    if cell.sender is SenderKind.STORESCU and cell.associations == 1 and floor and theirs and (ours := by.get("node-none")):
        target = f"storescu as installed, {cell.corpus}: against the fastest C++ peer as installed"
        yield Verdict(target, str(cell), theirs.receiver, _ratio(_rate(ours), _rate(theirs)), floor)


def _cost(cell: Cell, by: ByReceiver) -> Iterable[Verdict]:
    ours, theirs = by.get("node-none"), _best(by, _C_RECEIVERS, lambda row: -row.cpu_s_per_gb)
    if ours and theirs:
        target = "CPU per GB against DCMTK's best"
        yield Verdict(target, str(cell), theirs.receiver, _ratio(ours.cpu_s_per_gb, theirs.cpu_s_per_gb), 1.3, at_most=True)


def _memory(cell: Cell, by: ByReceiver) -> Iterable[Verdict]:
    for name, row in by.items():
        if name.startswith("node-"):
            yield Verdict("peak memory of a receiver, MB", str(cell), name, row.peak_rss_mb, 100.0, at_most=True)


def _identity(cell: Cell, by: ByReceiver) -> Iterable[Verdict]:
    for name, row in by.items():
        if name.startswith("node-"):
            yield Verdict("instances stored once and byte for byte as sent", str(cell), name, row.identical / row.instances, 1.0)
