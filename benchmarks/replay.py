"""A draft of the rules on the studies of a month: seconds, studies a second, and the ratio to a loop that only reads the same rows.

The index is made in bulk in a temporary folder: 2 to 4 series a study, tens of instances each, headers of about 95 elements. The node keeps
the headers of each closed study packed in one row; the program also reads the rows of the instances of some studies, which say the same, to
show why.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sqlite3
import tempfile
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import perf_counter

from replay_parts.build import Built, build
from replay_parts.rules import ACTIVE, DRAFT

from dicom_node.config.loader import RulesText, load_past_rules
from dicom_node.pipeline.replay import ReplayRequest, run_replay


@dataclass(frozen=True)
class Figures:
    """What was measured.

    Attributes:
        cpu_seconds: Of all processes, their start among it: what tells on a machine that others use too.
        load: Runnable processes on the machine, mean of the last minute, when the replay began.
        bare_seconds: One process reads the packed rows and does nothing with them.
        ratio: CPU seconds to those of the bare loop.
        instance_rows_a_second: One process reads rows of instances and does nothing with them.
        instance_rows_seconds: What reading those of all studies would take at that speed.
    """

    built: Built
    processes: int
    seconds: float
    cpu_seconds: float
    load: float
    studies_a_second: float
    bare_seconds: float
    ratio: float
    changed: int
    instance_rows_a_second: float
    instance_rows_seconds: float


def main() -> None:
    """Build, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=100_000)
    parser.add_argument("--instance-rows-of", type=int, default=2_000, help="studies that get rows for their instances")
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, help="where the temporary folder is made")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.folder) as folder:
        figures = _measure(Path(folder) / "node.db", arguments)
    print(json.dumps(asdict(figures), indent=2) if arguments.json else _as_text(figures))


def _measure(path: Path, arguments: argparse.Namespace) -> Figures:
    now = datetime.now(UTC)
    active, draft = (load_past_rules(RulesText(name, text)) for name, text in (("active", ACTIVE), ("draft", DRAFT)))
    built = build(path, arguments.studies, "0" * 64, now, instance_rows_of=arguments.instance_rows_of)
    bare_seconds = _read(path, "SELECT study_id, revision, closed_at, content FROM study_headers")
    rows_seconds = _read(path, "SELECT series_id, calling_ae_title, called_ae_title, attributes FROM instance")
    request = ReplayRequest(f"sqlite:///{path}", active, "0" * 64, draft, now - timedelta(days=31))
    load, start, cpu_start = os.getloadavg()[0], perf_counter(), _cpu_seconds()
    replayed = run_replay(request, lambda _total: lambda _done: None, arguments.processes)
    seconds, cpu_seconds = perf_counter() - start, _cpu_seconds() - cpu_start
    if replayed.tally.studies != built.studies:
        raise SystemExit(f"{replayed.tally.studies} of {built.studies} studies were decided on")
    return Figures(
        built,
        arguments.processes,
        seconds,
        cpu_seconds,
        load,
        built.studies / seconds,
        bare_seconds,
        cpu_seconds / bare_seconds,
        replayed.tally.changed,
        built.instance_rows / rows_seconds,
        built.instances / (built.instance_rows / rows_seconds) if built.instance_rows else 0.0,
    )


def _cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(one.ru_utime + one.ru_stime for one in used)


def _read(path: Path, statement: str) -> float:
    """Return the CPU seconds of reading."""
    connection = sqlite3.connect(path)
    start = _cpu_seconds()
    for _ in connection.execute(statement):
        pass
    seconds = _cpu_seconds() - start
    connection.close()
    return seconds


def _as_text(figures: Figures) -> str:
    built, rate = figures.built, f"{figures.instance_rows_a_second:.0f} a second of CPU"
    return (
        f"{built.studies} studies, {built.series} series, {built.instances} instances, index of {built.size_bytes / 2**20:.0f} MiB "
        f"({built.instance_rows} instance rows), {platform.machine()}, {figures.processes} processes\n"
        f"replay: {figures.seconds:.1f} s at load {figures.load:.1f}, {figures.studies_a_second:.0f} studies/s, "
        f"{figures.cpu_seconds:.1f} s of CPU, {figures.changed} studies would change\n"
        f"bare loop over the same rows: {figures.bare_seconds:.2f} s of CPU; ratio {figures.ratio:.1f}\n"
        f"instance rows instead: {rate} to read them only, {figures.instance_rows_seconds:.0f} s"
    )


if __name__ == "__main__":
    main()
