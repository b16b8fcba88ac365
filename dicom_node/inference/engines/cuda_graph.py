"""A run recorded once and replayed: a CUDA graph through torch, since pycuda has no graphs. Not run on a device yet (docs/engines.md)."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any


def graphs_available() -> bool:
    """Whether torch is installed; nothing is imported."""
    return find_spec("torch") is not None


class RecordedRun:
    """What one call queued on a stream, for the addresses and shapes it had then."""

    def __init__(self, enqueue: Callable[[int], None], stream_handle: int, device_index: int) -> None:
        """Record; the same call must have run once before, so that nothing is allocated now.

        Args:
            enqueue: Queues the run on the stream whose handle it gets.
            stream_handle: A stream of the device's primary context, not the default one.
            device_index: The device; torch shares its primary context.

        Raises:
            RuntimeError: torch sees no such device, or something in the call cannot be recorded.
        """
        import torch  # noqa: PLC0415

        cuda: Any = torch.cuda
        self._cuda = cuda
        self._device = device_index
        with cuda.device(device_index):
            self._stream = cuda.ExternalStream(stream_handle)
            self._graph = cuda.CUDAGraph()
            with cuda.graph(self._graph, stream=self._stream):
                enqueue(cuda.current_stream().cuda_stream)

    def replay(self) -> None:
        """Queue it again on its stream."""
        with self._cuda.device(self._device), self._cuda.stream(self._stream):
            self._graph.replay()
