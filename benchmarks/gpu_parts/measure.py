"""Latency, throughput, agreement, overlap of host and device, and how busy the device is."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Run = Callable[[Array], Array]


@dataclass(frozen=True, slots=True)
class Speed:
    """Milliseconds of one study at a time, and studies a second in batches."""

    latency_ms: float
    latency_p90_ms: float
    throughput: float


def speed(run: Run, one: Array, batch: Array, repeats: int) -> Speed:
    """Measure after three runs that do not count."""
    for _ in range(3):
        run(one)
        run(batch)
    times = [_seconds(run, one) for _ in range(repeats)]
    batches = [_seconds(run, batch) for _ in range(max(3, repeats // 3))]
    return Speed(median(times) * 1e3, quantiles(times, n=10)[-1] * 1e3, len(batch) / median(batches))


@dataclass(frozen=True, slots=True)
class Agreement:
    """Against the reference: largest difference, relative to the largest output, and share of equal classes."""

    max_error: float
    argmax: float


def agreement(found: Array, reference: Array) -> Agreement:
    """Compare two outputs, classes along axis 1."""
    error = float(np.abs(found - reference).max() / np.abs(reference).max())
    return Agreement(error, float((found.argmax(1) == reference.argmax(1)).mean()))


@dataclass(frozen=True, slots=True)
class Queue:
    """A queue of studies.

    Attributes:
        one_after_another_s: Prepare, run, prepare, run.
        overlapped_s: The next is prepared while one runs.
        busy_share: Share of the overlapped time in which the device worked, as the driver says; None where nobody tells.
        run_share: Share of the overlapped time spent in the run, transfers included.
    """

    studies: int
    one_after_another_s: float
    overlapped_s: float
    busy_share: float | None
    run_share: float


def queue(run: Run, shape: tuple[int, ...], studies: int) -> Queue:
    """Run a queue twice; preparing is what a study needs: integers to floats, window, clip."""
    stored = np.random.default_rng(1).integers(-1024, 1024, (1, *shape), dtype=np.int16)

    def prepare(_: int) -> Array:
        values = stored.astype(np.float32)
        values -= values.mean()
        values /= values.std()
        return np.clip(values, -3, 3, out=values)

    run(prepare(0))
    begin = perf_counter()
    for number in range(studies):
        run(prepare(number))
    one_after_another = perf_counter() - begin
    running = 0.0
    with ThreadPoolExecutor(1) as pool, _busy_samples() as samples:
        begin = perf_counter()
        ahead: Future[Array] = pool.submit(prepare, 0)
        for number in range(studies):
            ready = ahead.result()
            ahead = pool.submit(prepare, number + 1)
            running += _seconds(run, ready)
        overlapped = perf_counter() - begin
    busy = sum(samples) / len(samples) / 100 if samples else None
    return Queue(studies, one_after_another, overlapped, busy, running / overlapped)


@contextmanager
def _busy_samples() -> Iterator[list[float]]:
    """Ask nvidia-smi ten times a second while the block runs; an empty list where there is none."""
    samples: list[float] = []
    command = ["nvidia-smi", "--query-gpu=utilization.gpu", "--format=csv,noheader,nounits", "--loop-ms=100", "--id=0"]
    try:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    except OSError:
        yield samples
        return

    def collect() -> None:
        samples.extend(float(line) for line in process.stdout or () if line.strip().isdigit())

    reader = threading.Thread(target=collect, daemon=True)
    reader.start()
    try:
        yield samples
    finally:
        process.terminate()
        process.wait()
        reader.join(5)


def _seconds(run: Run, x: Array) -> float:
    begin = perf_counter()
    run(x)
    return perf_counter() - begin
