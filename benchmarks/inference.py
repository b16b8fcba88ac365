"""Worker throughput beside bare ONNX Runtime in a loop, and what a job costs beside its model.

Throughput: jobs go through queue, reading, decoding, inference and result objects (report, segmentation, captures), written and recorded;
the bare loop calls the same network on the same tensor and does nothing else. Both use the same number of threads for the network; with
fewer than there are cores, the rest stands for what a machine with a GPU has: a CPU beside the device.

Device: the same with a model that takes its time and no core, as one on a GPU does, beside that time alone: what is lost between jobs.

Overhead: one radiograph on an idle worker, from its row in the queue to recorded results, less reading with decoding and less inference.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np
import onnxruntime
from inference_parts.bundles import RADIOGRAPH, VOLUME, WAITING, write_radiograph_bundle, write_volume_bundle, write_waiting_bundle
from inference_parts.images import SIDE, SLICES, ct_volume, radiograph
from inference_parts.node import WorkerNode
from numpy.typing import NDArray

from dicom_node.ops.logs import configure_logs

_LEAST_S = 1.0
_MOST_LAYERS = 12


def bare_session(folder: Path, threads: int) -> onnxruntime.InferenceSession:
    """Open the network as the node's CPU engine does."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession((folder / "network.onnx").read_bytes(), options, providers=["CPUExecutionProvider"])


def bare_s(session: onnxruntime.InferenceSession, tensor: NDArray[np.float32], runs: int) -> float:
    """Call the network in a loop; seconds a run."""
    begin = perf_counter()
    for _ in range(runs):
        session.run(None, {"x": tensor})
    return (perf_counter() - begin) / runs


def write_long_enough(models_dir: Path, tensor: NDArray[np.float32], threads: int) -> Path:
    """Write the segmentation with as many layers as make it compute for a second."""
    with tempfile.TemporaryDirectory() as name:
        took = [bare_s(bare_session(write_volume_bundle(Path(name) / str(n), n), threads), tensor, 2) for n in (1, 2)]
    layers = 1 + max(0, int(np.ceil((_LEAST_S * 1.2 - took[0]) / max(took[1] - took[0], 0.01))))
    return write_volume_bundle(models_dir, min(layers, _MOST_LAYERS))


def throughput(folder: Path, jobs: int, threads: int) -> dict[str, Any]:
    """Measure bare loop, node, and bare loop again."""
    tensor = np.random.default_rng(4).random((1, 1, SLICES, SIDE, SIDE), np.float32)
    bundle = write_long_enough(folder / "models", tensor, threads)
    session = bare_session(bundle, threads)
    bare_s(session, tensor, 1)
    with WorkerNode(folder, folder / "models", threads) as node:
        images = node.receive(ct_volume())
        node.run(VOLUME, images, 2)  # the first ones load
        before = bare_s(session, tensor, jobs)
        elapsed, ended = node.run(VOLUME, images, jobs)
        after = bare_s(session, tensor, jobs)
    bare, inferred = (before + after) / 2, [job.timings["infer_s"] for job in ended]
    return {
        "jobs": jobs,
        "threads": threads,
        "bare_s_per_run": round(bare, 3),
        "bare_before_after_s": [round(before, 3), round(after, 3)],
        "node_s_per_job": round(elapsed / jobs, 3),
        "ratio": round(bare / (elapsed / jobs), 3),
        "infer_s": round(median(inferred), 3),
        "engine_busy": round(sum(inferred) / elapsed, 3),
        "stages_s": _medians([job.timings for job in ended]),
    }


def beside_a_device(folder: Path, jobs: int, seconds: float) -> dict[str, Any]:
    """Measure jobs whose inference takes its time and no core; the bare loop is that time and nothing else."""
    package = folder / "package"
    write_waiting_bundle(folder / "models", package, seconds)
    with WorkerNode(folder, folder / "models", 1, package) as node:
        images = node.receive(ct_volume())
        node.run(WAITING, images, 2)
        elapsed, ended = node.run(WAITING, images, jobs)
    inferred = sum(job.timings["infer_s"] for job in ended)
    return {
        "jobs": jobs,
        "device_s": seconds,
        "node_s_per_job": round(elapsed / jobs, 3),
        "ratio": round(seconds / (elapsed / jobs), 3),
        "engine_busy": round(inferred / elapsed, 3),
        "stages_s": _medians([job.timings for job in ended]),
    }


def overhead(folder: Path, jobs: int) -> dict[str, Any]:
    """Measure radiographs one by one on an idle worker."""
    write_radiograph_bundle(folder / "models")
    with WorkerNode(folder, folder / "models", 1) as node:
        images = node.receive(radiograph())
        node.run(RADIOGRAPH, images, 1)
        ended = [node.run(RADIOGRAPH, images, 1)[1][0] for _ in range(jobs)]
    beside = [job.whole_s - job.timings["reading_s"] - job.timings["infer_s"] for job in ended]
    return {
        "jobs": jobs,
        "overhead_s": round(median(beside), 3),
        "overhead_worst_s": round(max(beside), 3),
        "whole_s": round(median(job.whole_s for job in ended), 3),
        "stages_s": _medians([job.timings for job in ended]),
    }


def _medians(timings: list[dict[str, float]]) -> dict[str, float]:
    return {name: round(median(t.get(name, 0.0) for t in timings), 3) for name in timings[0]}


def _measured(part: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    if part == "throughput":
        return throughput(folder, arguments.jobs, arguments.threads)
    return beside_a_device(folder, arguments.jobs, arguments.device_s) if part == "device" else overhead(folder, arguments.jobs)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--jobs", type=int, default=12, help="volumes; radiographs are as many")
    parser.add_argument("--threads", type=int, default=max(1, (os.cpu_count() or 2) // 2), help="of the network, in node and bare loop")
    parser.add_argument("--device-s", type=float, default=3.0, help="seconds of a run on the stand-in for a device")
    parser.add_argument("--only", choices=("throughput", "device", "overhead"), help="one part")
    arguments = parser.parse_args()
    configure_logs("benchmark", level="ERROR")
    figures: dict[str, Any] = {"name": "inference"}
    with tempfile.TemporaryDirectory() as name:
        for part in ("throughput", "device", "overhead"):
            if arguments.only in (None, part):
                folder = Path(name) / part
                folder.mkdir()
                figures[part] = _measured(part, folder, arguments)
    if arguments.json:
        print(json.dumps(figures, indent=1))
        return
    if found := figures.get("throughput"):
        print(f"bare ONNX Runtime   {found['bare_s_per_run']:7.3f} s a run, {found['threads']} thread(s)")
        print(f"worker              {found['node_s_per_job']:7.3f} s a job, {found['jobs']} jobs")
        print(f"ratio               {found['ratio']:7.3f}  (engine busy {found['engine_busy']:.0%} of the time)")
        print(f"stages              {found['stages_s']}")
    if found := figures.get("device"):
        print(f"beside a device     {found['node_s_per_job']:7.3f} s a job of {found['device_s']} s on a device that takes no core")
        print(f"ratio               {found['ratio']:7.3f}  (device busy {found['engine_busy']:.0%} of the time)")
    if found := figures.get("overhead"):
        print(f"radiograph          {found['overhead_s']:7.3f} s beside reading and inference (worst {found['overhead_worst_s']} s)")
        print(f"stages              {found['stages_s']}")


if __name__ == "__main__":
    main()
