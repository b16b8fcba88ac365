"""Engines beside torch on this host's GPU: latency, throughput, agreement, overlap, busy share; `benchmarks/gpu.sh` installs and runs it.

Without a GPU it says so and runs small networks on the CPU, which checks the program and nothing else.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from gpu_parts.measure import agreement, queue, speed
from gpu_parts.networks import Measured, export, measured_networks
from gpu_parts.runners import CANNOT_RUN, columns

from dicom_node.inference.engines.probe import probe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print figures as JSON")
    parser.add_argument("--repeats", type=int, default=0, help="runs a latency is the median of")
    parser.add_argument("--studies", type=int, default=0, help="length of the queue")
    arguments = parser.parse_args()
    found = probe()
    gpu = bool(found.devices)
    repeats, studies = arguments.repeats or (50 if gpu else 5), arguments.studies or (100 if gpu else 6)
    host = ", ".join(
        f"{d.name} (compute capability {d.compute_capability[0]}.{d.compute_capability[1]}, CUDA {d.driver})" for d in found.devices
    )
    report: dict[str, Any] = {
        "host": host or f"no GPU ({found.reason}); small networks on the CPU, no figure of a GPU follows",
        "networks": [],
    }
    with tempfile.TemporaryDirectory() as folder:
        for number, network in enumerate(measured_networks(small=not gpu)):
            report["networks"].append(measure(network, Path(folder) / f"{number}.onnx", gpu=gpu, repeats=repeats, studies=studies))
    print(json.dumps(report, indent=1) if arguments.json else as_text(report))


def measure(network: Measured, path: Path, *, gpu: bool, repeats: int, studies: int) -> dict[str, Any]:
    """Measure every column; the reference is ONNX Runtime fp32 on the CPU."""
    export(network, path)
    rng = np.random.default_rng(2)
    one, batch = (rng.normal(size=(size, *network.shape)).astype(np.float32) for size in (1, network.batch))
    with columns(gpu=False)["onnxruntime fp32"](network, path) as run:
        reference = run(one)
    rows = []
    for name, opened in columns(gpu=gpu).items():
        try:
            with opened(network, path) as run:
                figures = {**asdict(speed(run, one, batch, repeats)), **asdict(agreement(run(one), reference))}
                rows.append({"column": name, **figures, "queue": asdict(queue(run, network.shape, studies))})
        except CANNOT_RUN as error:
            rows.append(
                {"column": name, "reason": str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__}
            )
    return {"network": network.name, "batch": network.batch, "rows": rows}


def as_text(report: dict[str, Any]) -> str:
    """Tables in Markdown."""
    lines = [f"Host: {report['host']}", ""]
    for network in report["networks"]:
        lines += [
            f"{network['network']}; times are from host memory to host memory, throughput in batches of {network['batch']}:",
            "",
            "| | latency, ms | 90th percentile | studies/s | largest error | same class | queue, s | overlapped, s | gain | GPU busy |",
            "|---|---|---|---|---|---|---|---|---|---|",
        ]
        lines += [row_text(row) for row in network["rows"]]
        lines.append("")
    return "\n".join(lines)


def row_text(row: dict[str, Any]) -> str:
    """One line of a table."""
    if "reason" in row:
        return f"| {row['column']} | not run: {row['reason']} | | | | | | | | |"
    waiting = row["queue"]
    queued = f"{waiting['one_after_another_s']:.2f} ({waiting['studies']}) | {waiting['overlapped_s']:.2f}"
    busy = "-" if waiting["busy_share"] is None else f"{waiting['busy_share']:.0%}"
    gain = waiting["one_after_another_s"] / waiting["overlapped_s"]
    return (
        f"| {row['column']} | {row['latency_ms']:.2f} | {row['latency_p90_ms']:.2f} | {row['throughput']:.1f} | {row['max_error']:.1e} | "
        f"{row['argmax']:.4f} | {queued} | {gain:.2f} | {busy} |"
    )


if __name__ == "__main__":
    main()
