"""Which GPU is a worker's, and which models are left to workers with a larger one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from dicom_node.inference import ModelBundle
from dicom_node.inference.engines.probe import CudaDevice

_USABLE = 0.9
"""Share of a GPU's memory that models may take together; contexts and libraries take some of the rest."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A worker's place among the GPUs of the host; without any, all workers run on the CPU.

    Attributes:
        number: Of the worker, from 0.
        workers: How many there are.
        gpus: Every GPU, in the driver's order.
    """

    number: int = 0
    workers: int = 1
    gpus: Sequence[CudaDevice] = ()

    @property
    def gpu(self) -> CudaDevice | None:
        """The worker's own: one after the other, and from the first again where there are more workers."""
        return self._gpu_of(self.number)

    @property
    def device(self) -> str:
        """The worker's GPU as engines name it; `auto` if there is none."""
        return f"cuda:{self.gpu.index}" if self.gpu is not None else "auto"

    @property
    def memory_bytes(self) -> int:
        """What the models of this worker may take of its GPU, which others may share; 0 without a GPU."""
        return self._memory_of(self.number)

    def left_to_others(self, bundles: Iterable[ModelBundle]) -> frozenset[str]:
        """Name the digests of models whose declared device memory this worker's GPU does not have, and another worker's has."""
        if self.gpu is None:
            return frozenset()
        largest = max(self._memory_of(number) for number in range(self.workers))
        found = ((bundle.digest, bundle.manifest.resources.device_memory or 0) for bundle in bundles)
        return frozenset(digest for digest, wanted in found if self.memory_bytes < wanted <= largest)

    def too_small_for(self, bundle: ModelBundle) -> str:
        """Say why a model cannot be loaded on this worker's GPU; empty if it may be."""
        wanted = bundle.manifest.resources.device_memory or 0
        if self.gpu is None or wanted <= self.memory_bytes:
            return ""
        needs, has = (f"{size / (1 << 30):.3g} GiB" for size in (wanted, self.memory_bytes))
        return f"it needs {needs} of device memory, {has} of {self.gpu.name} are this worker's"

    def _gpu_of(self, number: int) -> CudaDevice | None:
        return self.gpus[number % len(self.gpus)] if self.gpus else None

    def _memory_of(self, number: int) -> int:
        gpu = self._gpu_of(number)
        if gpu is None:
            return 0
        sharing = sum(self._gpu_of(other) == gpu for other in range(max(self.workers, number + 1)))
        return int(gpu.memory_bytes * _USABLE / sharing)


def worker_count(configured: int, gpus: int) -> int:
    """Return how many workers run: as configured; else one a GPU, and one where there is none."""
    return configured or max(1, gpus)


def number_of(name: str) -> int:
    """Read the number at the end of a worker's name; 0 if there is none."""
    digits = name.rpartition("-")[2]
    return int(digits) if digits.isascii() and digits.isdigit() else 0
