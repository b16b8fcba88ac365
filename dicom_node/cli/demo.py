"""`demo`: the whole way on a real chest CT, in one go."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from time import perf_counter, time
from typing import Annotated

import typer
from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from dicom_node.cli.demo_data import write_series
from dicom_node.cli.demo_node import MODEL, QUIET_S, DemoError, DemoNode, bundled_models
from dicom_node.domain.jobs import Job, JobState
from dicom_node.inference import load_bundle
from dicom_node.ops.logs import configure_logs
from dicom_node.sr_writer import read_measurements

_LIMIT_S = 180.0
_UNITS = {"[hnsf'U]": "HU"}
_STAGES = {
    "reading": "reading the slices",
    "inferring": "running the model",
    "writing": "writing SR, SEG and SC",
    JobState.QUEUED: "study complete, job queued",
    JobState.DELIVERING: "sending the results to the archive",
    JobState.DONE: "delivered",
}


def demo(output: Annotated[Path, typer.Option("--output", help="Folder for the pictures.")] = Path("demo-output")) -> None:
    """Push a real chest CT through a node and an archive on this machine, and show what comes back."""
    configure_logs("demo", level="ERROR")
    console = Console(soft_wrap=True)
    console.print("[bold]dicom-node demonstration[/bold]: a chest CT (LIDC-IDRI-0001, CC BY 3.0) goes in, SR, SEG and SC come out.\n")
    with console.status("getting the CT ..."):
        begin = perf_counter()
        node = DemoNode()
        try:
            paths = write_series(node.folder / "ct")
        except BaseException:
            node.close()
            raise
    console.print(f"  CT ready: {len(paths)} slices ({perf_counter() - begin:.1f} s)")
    with console.status("starting node and archive ..."):
        node.__enter__()
    try:
        console.print(f"  node AINODE listens on 127.0.0.1:{node.port}, configuration {node.config}")
        _run(console, node, paths, output)
        _stay(console, node)
    finally:
        with console.status("cleaning up ..."):
            node.close()


def _run(console: Console, node: DemoNode, paths: list[Path], output: Path) -> None:
    columns = (TextColumn("  C-STORE"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    begin = perf_counter()
    with Progress(*columns, console=console) as progress:
        bar = progress.add_task("push", total=len(paths))
        last_response = node.push(paths, lambda: progress.advance(bar))
    push_s = perf_counter() - begin
    console.print(f"  waiting until no instance came for {QUIET_S:g} s ...")

    def changed(job: Job) -> None:
        console.print(f"  {time() - last_response:5.1f} s  {_STAGES.get(job.stage or job.state, str(job.state))}")

    job = node.wait_for_results(_LIMIT_S, changed)
    arrivals = node.archived()
    if not arrivals:
        raise DemoError("the job is done, but the archive holds nothing")
    console.print()
    _print_report(console, node)
    _save_pictures(console, node, output)
    first = arrivals[0].at
    timings = node.timings(job)
    _print_timings(console, {"push": push_s, **timings}, first - last_response, (first, arrivals[-1].at))


def _print_report(console: Console, node: DemoNode) -> None:
    objects = node.archived_objects()
    report = read_measurements(objects["SR"][0])
    entries = load_bundle(bundled_models() / MODEL).manifest.outputs.measurements
    table = Table(title="Report as the archive has it (TID 1500)", title_justify="left")
    for column in ("Measurement", "Value", "Unit", "Reference range"):
        table.add_column(column, justify="right" if column == "Value" else "left")
    for entry, found in zip(entries, report.measurements, strict=True):
        table.add_row(entry.label, f"{found.value:,.2f}", _UNITS.get(found.unit, found.unit), entry.reference_range)
    console.print(table)
    for comment in (c for c in report.comments if "reference range" not in c):
        console.print(f"  {comment}", style="yellow" if "Outside" in comment or "Research" in comment else "dim")
    console.print("  objects: " + ", ".join(f"{len(found)} {modality}" for modality, found in sorted(objects.items())))


def _save_pictures(console: Console, node: DemoNode, output: Path) -> None:
    output.mkdir(parents=True, exist_ok=True)
    console.print("\n[bold]Pictures[/bold]")
    for number, capture in enumerate(node.archived_objects().get("OT", []), start=1):
        path = output / f"secondary-capture-{number}.png"
        Image.fromarray(capture.pixel_array).save(path)
        console.print(f"  {path}" + ("  (summary)" if number == 1 else ""), highlight=False)


def _print_timings(console: Console, timings: dict[str, float], first_after_s: float, sent: tuple[float, float]) -> None:
    console.print("\n[bold]How long it took[/bold]")
    overhead = first_after_s - QUIET_S - timings["model_s"]
    lines = {
        "receiving": timings["push"],
        "quiet period": QUIET_S,
        "waiting for a worker": timings["waited_s"],
        "reading slices": timings["reading_s"],
        "model": timings["model_s"],
        "building and writing results": timings["writing_s"],
        "first to last result": sent[1] - sent[0],
    }
    for name, seconds in lines.items():
        console.print(f"  {name:<30}{seconds:7.2f} s", highlight=False)
    console.print(f"  [bold]{'node overhead':<30}{overhead:7.2f} s[/bold]", highlight=False)
    console.print("  (last C-STORE response to first result in the archive, less quiet period and model)", style="dim")


def _stay(console: Console, node: DemoNode) -> None:
    console.print("\n[bold]How to go on[/bold]")
    for line in (
        f"dicom-node jobs list --config {node.config}",
        f"dicom-node studies list --config {node.config}",
        f"storescu -aet CTSCANNER -aec AINODE 127.0.0.1 {node.port} FILE ...      send your own",
        "README.md, docs/configuration.md                        put it beside your PACS",
    ):
        console.print(f"  {line}", highlight=False, soft_wrap=True)
    if not sys.stdin.isatty():
        return
    console.print("\nThe node stays up. Ctrl-C ends it and removes its folder.")
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        console.print()
