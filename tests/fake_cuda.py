"""In the place of an absent GPU: pycuda's driver and TensorRT's runtime, as strict about their rules as the real ones.

Device memory is bytes under made-up addresses. Copies and runs are queued on a stream and happen when it is synchronised, so that
reading too early shows. Memory belongs to the thread whose context made it; freeing it elsewhere, twice or never is an error.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from types import ModuleType, SimpleNamespace

import numpy as np

from tests.networks import Arrays


class CudaError(Exception):
    """pycuda's Error is no RuntimeError."""


class CudaMemoryError(CudaError):
    pass


class FakeGpu:
    """One GPU; counts what is alive, and can be told to fail."""

    def __init__(self, memory_bytes: int = 1 << 30) -> None:
        self.memory_bytes = memory_bytes
        self.blocks: dict[int, bytearray] = {}
        self.pinned = 0
        self.contexts = 0
        self.allocations = 0
        self.fail_synchronize = False
        self.fail_stream = False
        self.fail_leaving = False
        self._addresses = itertools.count(0x7F0000000000, 1 << 24)
        self._current = threading.local()

    def stack(self) -> list[object]:
        if not hasattr(self._current, "stack"):
            self._current.stack = []
        return self._current.stack

    def demand_context(self, context: object | None = None) -> None:
        stack = self.stack()
        assert stack, "no context is current in this thread"
        assert context in (None, stack[-1]), "memory of another thread's context"

    def block(self, address: int) -> bytearray:
        self.demand_context()
        return self.blocks[address]


def fake_pycuda(gpu: FakeGpu) -> ModuleType:  # noqa: C901 - small classes that share one GPU
    """The module `pycuda.driver`."""

    class Context:
        def push(self) -> None:
            gpu.stack().append(self)

        def pop(self) -> None:
            assert gpu.stack().pop() is self
            if gpu.fail_leaving:
                raise CudaError("cuCtxPopCurrent failed: an illegal memory access was encountered")

        def detach(self) -> None:
            gpu.contexts -= 1

    class Device:
        def __init__(self, index: int) -> None:
            if index > 1:
                raise CudaError("cuDeviceGet failed: invalid device ordinal")

        def retain_primary_context(self) -> Context:
            gpu.contexts += 1
            return Context()

    class Allocation:
        def __init__(self, size: int) -> None:
            gpu.demand_context()
            if sum(map(len, gpu.blocks.values())) + size > gpu.memory_bytes:
                raise CudaMemoryError("cuMemAlloc failed: out of memory")
            self.context, self.address = gpu.stack()[-1], next(gpu._addresses)
            gpu.blocks[self.address] = bytearray(b"\xab" * size)
            gpu.allocations += 1

        def __int__(self) -> int:
            return self.address

        def free(self) -> None:
            gpu.demand_context(self.context)
            del gpu.blocks[self.address]

    class Pinned(np.ndarray):
        def free(self) -> None:
            gpu.pinned -= 1

    class Stream:
        def __init__(self) -> None:
            gpu.demand_context()
            if gpu.fail_stream:
                raise CudaError("cuStreamCreate failed: out of memory")
            self.handle, self.queue = id(self), []
            STREAMS[self.handle] = self

        def synchronize(self) -> None:
            gpu.demand_context()
            if gpu.fail_synchronize:
                self.queue.clear()
                raise CudaError("cuStreamSynchronize failed: an illegal memory access was encountered")
            while self.queue:
                self.queue.pop(0)()

    def pagelocked_empty(size: int, dtype: type) -> np.ndarray:
        gpu.demand_context()
        gpu.pinned += 1
        return np.full(size, 0xCD, dtype).view(Pinned).view()

    def to_device(target: Allocation, source: np.ndarray, stream: Stream) -> None:
        stream.queue.append(lambda: gpu.block(int(target)).__setitem__(slice(0, source.nbytes), source.tobytes()))

    def to_host(target: np.ndarray, source: Allocation, stream: Stream) -> None:
        def copy() -> None:
            target[...] = np.frombuffer(gpu.block(int(source)), np.uint8)[: target.nbytes]

        stream.queue.append(copy)

    module = ModuleType("pycuda.driver")
    for name, value in {
        "init": lambda: None, "Device": Device, "Stream": Stream, "mem_alloc": Allocation, "pagelocked_empty": pagelocked_empty,
        "memcpy_htod_async": to_device, "memcpy_dtoh_async": to_host, "Error": CudaError, "MemoryError": CudaMemoryError,
    }.items():  # fmt: skip
        setattr(module, name, value)
    return module


STREAMS: dict[int, object] = {}


class FakeTensorRt(ModuleType):
    """The runtime half of the library; a plan is any bytes, and `compute` is the network."""

    def __init__(  # noqa: C901 - small classes that share one GPU
        self, gpu: FakeGpu, inputs: Arrays, compute: Callable[[Arrays], Arrays], limits: tuple[int, int] = (1, 8)
    ) -> None:
        super().__init__("tensorrt")
        self.__version__ = "11.4.0.106"
        self.ILogger = type("ILogger", (), {"WARNING": 2, "ERROR": 1, "INTERNAL_ERROR": 0})
        self.TensorIOMode = SimpleNamespace(INPUT="in", OUTPUT="out")
        self.CudaGraphStrategy = SimpleNamespace(WHOLE_GRAPH_CAPTURE="whole")
        self.executions = 0
        self.fail_execution = False
        self.live = 0
        self.strategies: list[object] = []
        library = self
        tensors = [*inputs, *compute(inputs)]
        examples = {**inputs, **compute(inputs)}
        kinds = {"float32": "FLOAT", "bool": "BOOL", "float16": "HALF", "int64": "INT64"}

        class Counted:
            def __init__(self) -> None:
                gpu.demand_context()
                library.live += 1

            def __del__(self) -> None:
                library.live -= 1

        class Context(Counted):
            def __init__(self) -> None:
                super().__init__()
                self.shapes: dict[str, tuple[int, ...]] = {}
                self.addresses: dict[str, int] = {}

            def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
                self.shapes[name] = shape
                return limits[0] <= shape[0] <= limits[1]

            def set_tensor_address(self, name: str, address: int) -> bool:
                assert address in gpu.blocks
                self.addresses[name] = address
                return True

            def infer_shapes(self) -> list[str]:
                return [name for name in inputs if name not in self.shapes]

            def get_tensor_shape(self, name: str) -> tuple[int, ...]:
                return (self.shapes[next(iter(inputs))][0], *examples[name].shape[1:])

            def execute_async_v3(self, handle: int) -> bool:
                if library.fail_execution:
                    return False
                library.executions += 1
                shapes, addresses = dict(self.shapes), dict(self.addresses)

                def work() -> None:
                    given = {
                        n: np.frombuffer(gpu.block(addresses[n]), examples[n].dtype)[: int(np.prod(shapes[n]))].reshape(shapes[n])
                        for n in inputs
                    }
                    for name, array in compute(given).items():
                        gpu.block(addresses[name])[: array.nbytes] = array.tobytes()

                STREAMS[handle].queue.append(work)  # type: ignore[attr-defined]
                return True

        class Engine(Counted):
            num_io_tensors = len(tensors)
            device_memory_size_v2 = 4096

            def get_tensor_name(self, index: int) -> str:
                return tensors[index]

            def get_tensor_mode(self, name: str) -> str:
                return "in" if name in inputs else "out"

            def get_tensor_dtype(self, name: str) -> SimpleNamespace:
                return SimpleNamespace(name=kinds[examples[name].dtype.name])

            def get_tensor_shape(self, name: str) -> tuple[int, ...]:
                return (-1, *examples[name].shape[1:])

            def create_runtime_config(self) -> SimpleNamespace:
                return SimpleNamespace(cuda_graph_strategy=None)

            def create_execution_context(self, settings: SimpleNamespace | None = None) -> Context:
                library.strategies.append(settings and settings.cuda_graph_strategy)
                return Context()

        class Runtime(Counted):
            def __init__(self, logger: object) -> None:
                super().__init__()
                self.logger = logger

            def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
                if plan.startswith(b"plan"):
                    return Engine()
                self.logger.log(1, "The engine plan file is generated on an incompatible device")  # type: ignore[attr-defined]
                return None

        self.Runtime = Runtime
