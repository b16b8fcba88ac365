"""Our receiver beside DCMTK, Orthanc and stock pynetdicom: speed, CPU and memory, in interleaved rounds of one run.

Every stored data set is compared byte for byte with what was sent. The fast sender's time runs from the first request to the
last response; storescu's includes its own start and its association. Where a receiver would take too long (storescu as
installed against peers that wait for a delayed ACK; 64 KB images into slow peers) it gets part of the corpus: see `identical`.
Peers are started with DCMTK's TCP_NODELAY=1, without which they wait for the ACK of each response; only where storescu sends as
installed they too are as installed, and storescp-nodelay shows what tuning the receiver alone gives there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from receive_parts.accounting import Meter, bare_disk, spread_over_disk
from receive_parts.comparison import count_identical
from receive_parts.corpora import SHAPES, Corpus, shape_for, write_corpus
from receive_parts.figures import Cell, Figures, Sample, figures_from_samples, instances_to_send, takes_part
from receive_parts.receivers import KINDS, ReceiverError, ReceiverKind, RunningReceiver, Surroundings
from receive_parts.report import Report, as_text, check_page, machine_in_words, write_docs
from receive_parts.senders import FastSenders, SenderKind, SendError, send_by_storescu, share_out
from receive_parts.targets import judge

_DOCS_PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_ASSOCIATIONS = ("1", "4", "16")
_SENDERS = tuple(s.value for s in SenderKind)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to measure.

    Attributes:
        processes: Processes of our node that share the port.
    """

    kinds: Sequence[ReceiverKind]
    cells: Sequence[Cell]
    rounds: int
    processes: int
    quick: bool


@dataclass
class Bench:
    """What lives as long as a run: corpora, senders, and the receivers that are started once."""

    plan: Plan
    folder: Path
    senders: FastSenders
    failures: list[str] = field(default_factory=list)
    _corpora: dict[str, Corpus] = field(default_factory=dict)
    _standing: dict[str, RunningReceiver] = field(default_factory=dict)
    _started: int = 0

    def run(self) -> list[Figures]:
        """Measure cell by cell, and in a cell round by round."""
        found: list[Figures] = []
        began = time.monotonic()
        for number, cell in enumerate(self.plan.cells, 1):
            rows = self._measure_cell(cell)
            found += rows
            words = " | ".join(f"{r.receiver} {r.mb_per_s:.0f}" for r in rows)
            _progress(f"[{number}/{len(self.plan.cells)} {time.monotonic() - began:.0f} s] {cell}, MB/s: {words}")
        return found

    def close(self) -> None:
        """End the receivers that were started once."""
        for receiver in self._standing.values():
            receiver.stop()

    def _measure_cell(self, cell: Cell) -> list[Figures]:
        kinds = [k for k in self.plan.kinds if takes_part(k, cell)]
        samples: dict[str, list[Sample]] = {k.name: [] for k in kinds}
        for _ in range(self.plan.rounds):
            for kind in kinds:
                try:
                    samples[kind.name].append(self._measure(kind, cell))
                except (SendError, ReceiverError) as error:
                    self.failures.append(f"{kind.name}, {cell}: {error}")
                    _progress(self.failures[-1])
        return [figures_from_samples(k, cell, samples[k.name]) for k in kinds if samples[k.name]]

    def _measure(self, kind: ReceiverKind, cell: Cell) -> Sample:
        corpus = self._corpus(cell)
        files = corpus.files[: instances_to_send(kind, cell, len(corpus.files))]
        shares = share_out(files, cell.associations)
        receiver = self._receiver(kind, cell)
        try:
            os.sync()  # nobody pays for what another receiver left in the page cache
            meter = Meter(receiver.pids)
            meter.start()
            try:
                if cell.sender is SenderKind.FAST:
                    seconds = self.senders.send(shares, receiver.port, corpus.shape.sop_class_uid)
                else:
                    seconds = send_by_storescu(shares, receiver.port, nodelay=cell.sender is SenderKind.STORESCU_NODELAY)
            except SendError as error:
                raise SendError(f"{error}; its log ends: {receiver.last_words()}") from error
            finally:
                cost = meter.stop()
            identical = count_identical(receiver.stored, files)
            size = sum(f.size_bytes for f in files)
            return Sample(seconds, size, len(files), identical, cost.cpu_s, cost.peak_rss_bytes)
        finally:
            if kind.fresh:
                receiver.stop()
            else:
                receiver.wipe()

    def _receiver(self, kind: ReceiverKind, cell: Cell) -> RunningReceiver:
        if kind.name in self._standing:
            return self._standing[kind.name]
        self._started += 1
        folder = self.folder / f"receiver-{self._started}"
        nodelay = cell.sender is not SenderKind.STORESCU or kind.name == "storescp-nodelay"
        receiver = RunningReceiver(kind, folder, Surroundings(self.plan.processes, cell.associations, nodelay))
        if not kind.fresh:
            self._standing[kind.name] = receiver
        return receiver

    def _corpus(self, cell: Cell) -> Corpus:
        shape = shape_for(cell.corpus, cell.associations, quick=self.plan.quick)
        key = f"{shape.name}-{shape.instances}"
        if key not in self._corpora:
            self._corpora[key] = write_corpus(shape, self.folder / "corpora" / key)
        return self._corpora[key]


def _progress(words: str) -> None:
    print(words, file=sys.stderr, flush=True)


def _list_of(allowed: Iterable[str]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        parts = [part for part in text.split(",") if part]
        if unknown := sorted(set(parts) - set(allowed)):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; use {', '.join(dict.fromkeys(allowed))}")
        return parts

    return parse


def _cells(arguments: argparse.Namespace) -> list[Cell]:
    """List the cells; a multi-frame object is not cut into 16, and has no delayed ACK worth waiting for."""
    senders = [SenderKind(name) for name in arguments.senders]
    cells = [Cell(c, a, s) for s in senders for c in arguments.corpus for a in map(int, arguments.associations)]
    return [c for c in cells if c.corpus != "MF" or (c.associations <= 4 and c.sender is SenderKind.FAST)]


def _kinds(only: Sequence[str] | None) -> list[ReceiverKind]:
    return [k for k in KINDS if not only or any(k.name == name or k.name.startswith(f"{name}-") for name in only)]


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quick", action="store_true", help="small corpora and one round, to check the program itself")
    names = [k.name for k in KINDS]
    parser.add_argument(
        "--only", type=_list_of([*names, *(n.split("-")[0] for n in names)]), help=f"of {','.join(names)}; `node` is all of ours"
    )
    parser.add_argument("--corpus", type=_list_of(SHAPES), default=list(SHAPES), help=f"of {','.join(SHAPES)}")
    parser.add_argument("--associations", type=_list_of(_ASSOCIATIONS), default=list(_ASSOCIATIONS), help="at once, of 1,4,16")
    parser.add_argument("--senders", type=_list_of(_SENDERS), default=list(_SENDERS), help=f"of {','.join(_SENDERS)}")
    parser.add_argument("--rounds", type=int, default=0, help="default 3, with --quick 1")
    parser.add_argument("--receivers", type=int, default=2, help="processes of our node that share the port")
    parser.add_argument("--folder", type=Path, help="on the disk to measure; default: the system's temporary folder")
    parser.add_argument("--write-docs", type=Path, nargs="?", const=_DOCS_PAGE, metavar="PAGE", help="replace the page's tables")
    return parser.parse_args()


def _measure_all(arguments: argparse.Namespace) -> Report:
    rounds = arguments.rounds or (1 if arguments.quick else 3)
    plan = Plan(_kinds(arguments.only), _cells(arguments), rounds, arguments.receivers, arguments.quick)
    folder = Path(tempfile.mkdtemp(prefix="receive-", dir=arguments.folder))
    spread_over_disk(folder)
    try:
        disk = bare_disk(folder / "bare")
        with FastSenders() as senders:
            bench = Bench(plan, folder, senders)
            try:
                figures = bench.run()
            finally:
                bench.close()
        date, machine = datetime.now(UTC).date().isoformat(), machine_in_words(folder)
        return Report(date, machine, rounds, arguments.quick, disk, figures, judge(figures), bench.failures)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Measure and print."""
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that receivers and folders go too
    if arguments.write_docs:
        check_page(arguments.write_docs)  # before a quarter of an hour is spent
    report = _measure_all(arguments)
    if arguments.write_docs:
        write_docs(report, arguments.write_docs)
    print(json.dumps(report.as_json(), indent=1) if arguments.json else as_text(report))
    if report.failures:
        sys.exit(1)


if __name__ == "__main__":
    main()
