"""The one door to pycuda: a GPU's primary context, one stream, and for every tensor page-locked host memory beside device memory.

Everything here belongs to the thread that made it (pycuda refuses to free memory from another) and is used by it alone.
The primary context is the one that torch and TensorRT use; pycuda's `autoinit` would make a private one beside it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import EngineUnavailableError, ModelError


@dataclass(slots=True)
class _Buffer:
    host: Any
    device: Any
    size_bytes: int


class DeviceMemory:
    """Buffers of one network on one GPU. They grow when a larger tensor comes and are kept until `close`."""

    def __init__(self, device_index: int) -> None:
        """Make the GPU's primary context current in this thread.

        Raises:
            EngineUnavailableError: pycuda is not installed, or finds no such device.
        """
        try:
            import pycuda.driver as cuda  # noqa: PLC0415
        except ImportError as error:
            raise EngineUnavailableError(f"pycuda cannot be imported: {error}", hint="Install the extra `gpu`.") from error
        self._cuda = cuda
        self._buffers: dict[str, _Buffer] = {}
        try:
            cuda.init()
            self._context = cuda.Device(device_index).retain_primary_context()
        except cuda.Error as error:
            raise EngineUnavailableError(f"GPU {device_index} cannot be used: {error}") from error
        self._context.push()
        try:
            self._stream = cuda.Stream()
        except cuda.Error as error:
            self._leave()
            raise EngineUnavailableError(f"GPU {device_index} cannot be used: {error}") from error

    @property
    def stream_handle(self) -> int:
        """The stream's address; never the default stream, which would wait for everything else on the GPU."""
        return int(self._stream.handle)

    @property
    def size_bytes(self) -> int:
        """Device memory held."""
        return sum(buffer.size_bytes for buffer in self._buffers.values())

    def reserve(self, name: str, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> int:
        """Have memory for a tensor.

        Returns:
            Its device address; another one than before only when the buffer had to grow.

        Raises:
            ModelError: not enough memory.
        """
        needed = max(1, dtype.itemsize * int(np.prod(shape, dtype=np.int64)))
        held = self._buffers.get(name)
        if held is None or held.size_bytes < needed:
            if held is not None:
                self._free(self._buffers.pop(name))
            self._buffers[name] = held = self._allocate(name, needed)
        return int(held.device)

    def upload(self, name: str, array: NDArray[np.generic]) -> None:
        """Queue a copy to the device; the array itself may be changed at once, it went through page-locked memory."""
        held = self._buffers[name]
        view = held.host[: array.nbytes].view(array.dtype).reshape(array.shape)
        np.copyto(view, array)
        with self._errors():
            self._cuda.memcpy_htod_async(held.device, held.host[: array.nbytes], self._stream)

    def download(self, shapes: dict[str, tuple[np.dtype[np.generic], tuple[int, ...]]]) -> dict[str, NDArray[np.generic]]:
        """Queue copies to the host, wait for everything queued, and give new arrays."""
        views = {}
        for name, (dtype, shape) in shapes.items():
            size = dtype.itemsize * int(np.prod(shape, dtype=np.int64))
            held = self._buffers[name]
            with self._errors():
                self._cuda.memcpy_dtoh_async(held.host[:size], held.device, self._stream)
            views[name] = held.host[:size].view(dtype).reshape(shape)
        self.synchronize()
        return {name: np.array(view) for name, view in views.items()}

    def synchronize(self) -> None:
        """Wait for everything queued.

        Raises:
            ModelError: something queued failed; the GPU may not be usable again by this process.
        """
        with self._errors():
            self._stream.synchronize()

    def close(self) -> None:
        """Free all memory and leave the context.

        Raises:
            ModelError: the GPU failed before and cannot be tidied up.
        """
        with self._errors():
            for buffer in self._buffers.values():
                self._free(buffer)
            self._buffers.clear()
            self._stream = None
            self._leave()

    def _leave(self) -> None:
        self._context.pop()
        self._context.detach()

    def _allocate(self, name: str, size_bytes: int) -> _Buffer:
        host = None
        try:
            host = self._cuda.pagelocked_empty(size_bytes, np.uint8)
            return _Buffer(host, self._cuda.mem_alloc(size_bytes), size_bytes)
        except self._cuda.MemoryError as error:
            if host is not None:
                host.base.free()
            raise ModelError(
                f"the GPU has no {size_bytes} bytes for {name}: {error}", hint="Smaller batches or windows need less."
            ) from error

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except self._cuda.Error as error:
            raise ModelError(f"the GPU failed: {error}", hint="Restart the worker if it goes on.") from error

    def _free(self, buffer: _Buffer) -> None:
        buffer.device.free()
        buffer.host.base.free()
