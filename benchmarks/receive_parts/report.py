"""The report of a run: JSON, text, and the part of docs/benchmarks.md between two comments."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from receive_parts.accounting import BareDisk
from receive_parts.figures import Figures
from receive_parts.receivers import KINDS
from receive_parts.targets import Verdict

BEGIN, END = "<!-- receive.py writes from here -->", "<!-- to here -->"


@dataclass(frozen=True, slots=True)
class Report:
    """All that one run found.

    Attributes:
        failures: Cells in which a receiver or a sender failed, in words.
    """

    date: str
    machine: str
    rounds: int
    quick: bool
    disk: Sequence[BareDisk]
    figures: Sequence[Figures]
    verdicts: Sequence[Verdict]
    failures: Sequence[str]

    def as_json(self) -> dict[str, object]:
        """Return plain values."""
        verdicts = [{**asdict(v), "met": v.met} for v in self.verdicts]
        return {"name": "receive", **asdict(self), "verdicts": verdicts}


@dataclass(frozen=True, slots=True)
class Summary:
    """One target over all its cells, with its worst one."""

    target: str
    bound: str
    worst: str
    where: str
    cells_met: str
    verdict: str


def machine_in_words(folder: Path) -> str:
    """Describe processors and the file system below a folder, without names or paths."""
    mounts = [line.split() for line in Path("/proc/self/mountinfo").read_text("utf-8").splitlines()]
    places = [(fields[4], fields[fields.index("-") + 1], fields[fields.index("-") + 2]) for fields in mounts]
    _, system, device = max((p for p in places if folder.resolve().is_relative_to(p[0])), key=lambda p: len(p[0]))
    options = Path(f"/proc/fs/ext4/{Path(device).name}/options")
    journal = "" if not options.is_file() or "data=" in options.read_text("utf-8") else " without a journal"
    return f"{len(os.sched_getaffinity(0))} cores, {system}{journal}"


def summarize(verdicts: Sequence[Verdict]) -> list[Summary]:
    """Gather verdicts by target."""
    by_target: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        by_target.setdefault(verdict.target, []).append(verdict)
    rows = []
    for target, group in by_target.items():
        pick = max if group[0].at_most else min
        worst = pick(group, key=lambda v: v.value)
        met = sum(v.met for v in group)
        bound = f"{'<=' if worst.at_most else '>='} {worst.bound:g}"
        where = f"{worst.cell} ({worst.beside})"
        rows.append(Summary(target, bound, f"{worst.value:g}", where, f"{met} of {len(group)}", "met" if met == len(group) else "NOT met"))
    return rows


def as_text(report: Report) -> str:
    """Write the report for a terminal."""
    lines = [f"receive  {report.date}  {report.machine}  rounds {report.rounds}{'  (quick: figures mean little)' * report.quick}", ""]
    lines += [
        f"bare loop, new file of {d.size}: written {d.written_ms} ms, with fsync of file and folder {d.synced_ms} ms" for d in report.disk
    ]
    lines += ["", *_aligned(_figure_rows(report)), "", *_aligned(_target_rows(report))]
    return "\n".join([*lines, *(f"FAILED {words}" for words in report.failures)])


def check_page(page: Path) -> tuple[str, str]:
    """Return what stands before and after the two comments.

    Raises:
        ValueError: the page lacks the comments.
    """
    head, begin, rest = page.read_text("utf-8").partition(BEGIN)
    _old, end, tail = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page.name} lacks {BEGIN!r} or {END!r}")
    return head, tail


def write_docs(report: Report, page: Path) -> None:
    """Replace what stands between the two comments.

    Raises:
        ValueError: the page lacks the comments.
    """
    head, tail = check_page(page)
    page.write_text(f"{head}{BEGIN}\n{_as_markdown(report)}\n{END}{tail}", "utf-8")


def _as_markdown(report: Report) -> str:
    settled = "" if not report.quick else " A quick run: small corpora, figures mean little."
    disk = "; ".join(f"{d.size} {d.written_ms} ms written, {d.synced_ms} ms with fsync of file and folder" for d in report.disk)
    parts = [f"{report.date}, {report.machine}, medians of {report.rounds} interleaved rounds.{settled} Bare loop, a new file: {disk}."]
    parts += ["", *_table(_target_rows(report)), "", "Speed, MB/s:", "", *_table(_pivot(report.figures, lambda f: f"{f.mb_per_s:.0f}"))]
    parts += ["", "CPU seconds per GB:", "", *_table(_pivot(report.figures, lambda f: f"{f.cpu_s_per_gb:.2f}"))]
    parts += ["", *_table(_receiver_rows(report.figures))]
    parts += [f"\nFailed: {words}" for words in report.failures]
    return "\n".join(parts)


def _target_rows(report: Report) -> list[Sequence[str]]:
    header = ("target", "bound", "worst", "where", "cells met", "verdict")
    rows = [(s.target, s.bound, s.worst, s.where, s.cells_met, s.verdict) for s in summarize(report.verdicts)]
    return [header, *rows]


def _figure_rows(report: Report) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [
        (
            "corpus",
            "assoc.",
            "sender",
            "receiver",
            "true at Success",
            "MB/s",
            "instances/s",
            "node-none / it",
            "CPU s/GB",
            "RSS MB",
            "identical",
        )
    ]
    ours = {(f.corpus, f.associations, f.sender): f.instances_per_s for f in report.figures if f.receiver == "node-none"}
    for f in report.figures:
        base = ours.get((f.corpus, f.associations, f.sender))
        ratio = f"{base / f.instances_per_s:.2f}" if base and f.instances_per_s else ""
        speed = (f"{f.mb_per_s:.0f}", f"{f.instances_per_s:.0f}", ratio, f"{f.cpu_s_per_gb:.2f}", f"{f.peak_rss_mb:.0f}")
        rows.append((f.corpus, str(f.associations), f.sender, f.receiver, f.durability, *speed, f"{f.identical} of {f.instances}"))
    return rows


def _pivot(figures: Sequence[Figures], value: Callable[[Figures], str]) -> list[Sequence[str]]:
    """Give each cell a row and each receiver a column."""
    receivers = _in_order(figures)
    cells: dict[tuple[str, str, str], dict[str, str]] = {}
    for f in figures:
        cells.setdefault((f.corpus, str(f.associations), f.sender), {})[f.receiver] = value(f)
    rows = [(*cell, *(by.get(name, "") for name in receivers)) for cell, by in cells.items()]
    return [("corpus", "assoc.", "sender", *receivers), *rows]


def _in_order(figures: Sequence[Figures]) -> list[str]:
    measured = {f.receiver for f in figures}
    return [k.name for k in KINDS if k.name in measured]


def _receiver_rows(figures: Sequence[Figures]) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [("receiver", "true at Success", "peak RSS, MB", "identical in the worst rounds")]
    for name in _in_order(figures):
        own = [f for f in figures if f.receiver == name]
        identical = f"{sum(f.identical for f in own)} of {sum(f.instances for f in own)}"
        rows.append((name, own[0].durability, f"{max(f.peak_rss_mb for f in own):.0f}", identical))
    return rows


def _aligned(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _table(rows: Sequence[Sequence[str]]) -> Iterable[str]:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return [lines[0], "|" + "---|" * len(rows[0]), *lines[1:]]
