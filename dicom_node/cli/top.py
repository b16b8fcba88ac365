"""`top`: what arrives now, from whom, and what is refused."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Annotated

import typer
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from dicom_node.cli.output import print_json
from dicom_node.config import load_configuration
from dicom_node.ops.counters import PeerCounts, ReceiveCounts, quantile, read_receive_counts
from dicom_node.storage import InstanceFiles

Interval = Annotated[float, typer.Option("--interval", min=0.2, help="Seconds between looks.")]
Once = Annotated[bool, typer.Option("--once", help="Look once and leave.")]
_NOTHING = PeerCounts()


@dataclass(frozen=True, slots=True)
class PeerLine:
    """One line of the table. Rates are per second since the last look, times in milliseconds from last byte to durable."""

    peer: str
    open_associations: int
    instances: int
    megabytes: float
    instances_per_s: float | None
    megabytes_per_s: float | None
    durable_median_ms: float | None
    durable_95_ms: float | None
    refused: dict[str, int]


def top(config: ConfigPath = DEFAULT_CONFIG, interval: Interval = 1.0, once: Once = False, as_json: AsJson = False) -> None:
    """Show what is received: per peer instances, bytes, rate, refusals, time to durable; Ctrl-C leaves."""
    folder = InstanceFiles(load_configuration(config).data_dir).metrics
    counts, seen_at = read_receive_counts(folder), monotonic()
    if as_json:
        lines = peer_lines(counts, None, 0.0)
        print_json({"peers": [asdict(line) for line in lines], "rejected": dict(counts.rejected)})
        return
    console = Console()
    if once or not console.is_terminal:
        console.print(_page(peer_lines(counts, None, 0.0), counts))
        return
    _watch(console, folder, interval, (counts, seen_at))


def peer_lines(now: ReceiveCounts, before: ReceiveCounts | None, elapsed_s: float) -> list[PeerLine]:
    """Compare two looks.

    Args:
        now: The newer look.
        before: The older one; without it there are no rates, and times are of all instances.
        elapsed_s: Between the two, seconds.
    """
    return [_line(peer, counts, before.peers.get(peer, _NOTHING) if before else None, elapsed_s) for peer, counts in now.peers.items()]


def _line(peer: str, now: PeerCounts, before: PeerCounts | None, elapsed_s: float) -> PeerLine:
    within = now.durable_within
    recent = {le: count - before.durable_within.get(le, 0) for le, count in within.items()} if before else within
    if recent.get(float("inf"), 0) <= 0:
        recent = within
    median, high = quantile(recent, 0.5), quantile(recent, 0.95)
    return PeerLine(
        peer,
        now.open_associations,
        now.instances,
        now.size_bytes / 1e6,
        (now.instances - before.instances) / elapsed_s if before else None,
        (now.size_bytes - before.size_bytes) / 1e6 / elapsed_s if before else None,
        None if median is None else median * 1000,
        None if high is None else high * 1000,
        dict(now.refused),
    )


def _watch(console: Console, folder: Path, interval_s: float, seen: tuple[ReceiveCounts, float]) -> None:
    pause = threading.Event()
    before, seen_at = seen
    with Live(_page(peer_lines(before, None, 0.0), before), console=console, auto_refresh=False) as live:
        try:
            while not pause.wait(interval_s):
                counts, now = read_receive_counts(folder), monotonic()
                live.update(_page(peer_lines(counts, before, now - seen_at), counts), refresh=True)
                before, seen_at = counts, now
        except KeyboardInterrupt:
            return


def _page(lines: list[PeerLine], counts: ReceiveCounts) -> Group:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("peer")
    for column in ("open", "instances", "MB", "inst/s", "MB/s", "durable median ms", "95 % ms"):
        table.add_column(column, justify="right")
    table.add_column("refused")
    for line in lines:
        table.add_row(
            line.peer,
            str(line.open_associations),
            f"{line.instances:,}",
            f"{line.megabytes:,.0f}",
            *(_number(v) for v in (line.instances_per_s, line.megabytes_per_s, line.durable_median_ms, line.durable_95_ms)),
            _counted(line.refused),
        )
    parts: list[Table | Text] = [table] if lines else [Text("nothing was received since the node started")]
    if counts.rejected:
        parts.append(Text(f"associations rejected: {_counted(counts.rejected)}"))
    return Group(*parts)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,.1f}"


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())
