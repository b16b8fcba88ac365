"""TensorRT (10.16 to 11) and TensorRT-RTX on one NVIDIA GPU. The device half has not run on a GPU yet (docs/engines.md)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import EngineUnavailableError, ModelError
from dicom_node.inference.backends.availability import Availability
from dicom_node.inference.backends.owner_thread import OwnerThread
from dicom_node.inference.engines.build_engine import EngineMaker
from dicom_node.inference.engines.cuda_graph import RecordedRun, graphs_available
from dicom_node.inference.engines.device_memory import DeviceMemory
from dicom_node.inference.engines.probe import CudaDevice, cuda_devices_apart, probe
from dicom_node.inference.engines.tensorrt_library import Flavour, TensorRt, load_tensorrt
from dicom_node.inference.engines.tensorrt_logger import lines_logger
from dicom_node.inference.network import Network, NetworkFormat, Precision, SessionOptions, Shape
from dicom_node.inference.session import Session, Signature, TensorInfo, Tensors
from dicom_node.ops.logs import get_logger

_DTYPES: Mapping[str, np.dtype[np.generic]] = {
    "FLOAT": np.dtype(np.float32),
    "HALF": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "INT64": np.dtype(np.int64),
    "INT32": np.dtype(np.int32),
    "INT8": np.dtype(np.int8),
    "UINT8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}


def availability() -> Availability:
    """Ask the driver first: without a device no NVIDIA library is imported, some of them would end the process.

    It is asked in a process of its own, so that whoever only wants to know can still fork.
    """
    found = cuda_devices_apart()
    if not found.devices:
        return Availability(usable=False, reason=found.reason)
    try:
        library = load_tensorrt()
    except EngineUnavailableError as error:
        return Availability(usable=False, reason=str(error))
    names = ", ".join(device.name for device in found.devices)
    return Availability(usable=True, reason=f"{library.flavour} {library.version} on {names}")


class TensorRtSession(Session):
    """An engine, one context and one stream. All of it lives on one thread, which alone touches CUDA.

    Host memory for transfers is page-locked and kept; inputs are copied into it, outputs out of it.
    """

    backend = "tensorrt"
    formats = frozenset({NetworkFormat.ONNX})

    def __init__(self, network: Network, precision: Precision, options: SessionOptions) -> None:
        """Name the network; `activate` builds or loads its engine."""
        super().__init__(network, precision, options)
        self._thread: OwnerThread | None = None
        self._memory: DeviceMemory | None = None
        self._library: TensorRt | None = None
        self._logger: Any = None
        self._runtime: Any = None
        self._engine: Any = None
        self._context: Any = None
        self._recorded: RecordedRun | None = None
        self._last_addresses: tuple[Any, ...] = ()
        self._records = False
        self._plan_bytes = 0
        self.notes: tuple[str, ...] = ()

    @property
    def device(self) -> str:
        """`cuda:N`; the first GPU unless another is named."""
        return "cuda:0" if self.options.device == "auto" else self.options.device

    @property
    def memory_bytes(self) -> int:
        """Plan, the context's work space, and transfer buffers."""
        if self._engine is None or self._memory is None:
            return 0
        return self._plan_bytes + int(self._engine.device_memory_size_v2) + self._memory.size_bytes

    def _activate(self) -> Signature:
        device = self._found_device()
        self._library = load_tensorrt()
        self._report("load", 0.0)
        built = EngineMaker(self._library, device, (self.network, self.precision, self.options), self._cancelled.is_set).make()
        self.notes = built.notes
        self._thread = OwnerThread("tensorrt")
        outputs = self._thread.call(self._open, built.plan, device.index)
        return Signature(*outputs, built.equal_lengths)

    def _found_device(self) -> CudaDevice:
        if not self.device.startswith("cuda:"):
            raise EngineUnavailableError(f"tensorrt runs on a GPU, {self.device} was asked for")
        found, index = probe(), int(self.device.removeprefix("cuda:"))
        if index >= len(found.devices):
            raise EngineUnavailableError(f"{self.device} is not there: {found.reason or f'{len(found.devices)} devices are'}")
        return found.devices[index]

    def _open(self, plan: bytes, device_index: int) -> tuple[dict[str, TensorInfo], dict[str, TensorInfo]]:
        self._memory = DeviceMemory(device_index)
        library = self._library
        if library is None:
            raise ModelError("session is not active")
        trt = library.module
        self._logger = lines_logger(trt)
        self._runtime = trt.Runtime(self._logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise ModelError(f"{library.flavour} {library.version} does not load the engine: {self._logger.last_error()}")
        self._context = self._new_context(library)
        self._plan_bytes = len(plan)
        self._records = self.options.cuda_graphs and library.flavour is Flavour.FULL and graphs_available()
        return self._described(trt.TensorIOMode.INPUT), self._described(trt.TensorIOMode.OUTPUT)

    def _new_context(self, library: TensorRt) -> Any:
        if library.flavour is Flavour.FULL or not self.options.cuda_graphs:
            context = self._engine.create_execution_context()
        else:
            settings = self._engine.create_runtime_config()
            settings.cuda_graph_strategy = library.module.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
            context = self._engine.create_execution_context(settings)
        if context is None:
            raise ModelError("the GPU has no memory for the engine's context", hint="Fewer sessions, or smaller profiles, need less.")
        return context

    def _described(self, mode: Any) -> dict[str, TensorInfo]:
        described = {}
        for name in (self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)):
            if self._engine.get_tensor_mode(name) == mode:
                kind = self._engine.get_tensor_dtype(name).name
                if kind not in _DTYPES:
                    raise ModelError(f"{name} is {kind}; inputs and outputs may be {', '.join(sorted(_DTYPES))}")
                shape = tuple(None if length < 0 else int(length) for length in self._engine.get_tensor_shape(name))
                described[name] = TensorInfo(_DTYPES[kind], shape)
        return described

    def _infer(self, inputs: Tensors) -> Tensors:
        if self._thread is None:
            raise ModelError("session is not active")
        for name, array in inputs.items():
            self._refuse_outside(name, array.shape)
        return self._thread.call(self._run, inputs)

    def _refuse_outside(self, name: str, shape: Shape) -> None:
        profile = self.options.profiles.get(name)
        if profile is not None and not profile.holds(shape):
            raise ModelError(
                f"input {name} has shape {shape}, the engine was built for {profile.min} to {profile.max}",
                hint="Smaller batches or windows, or another profile, for which a new engine is built.",
            )

    def _run(self, inputs: Tensors) -> Tensors:
        memory = self._memory
        if memory is None:
            raise ModelError("session is not active")
        try:
            addresses = [*(self._bind_input(memory, name, array) for name, array in inputs.items())]
            missing = self._context.infer_shapes()
            if missing:
                raise ModelError(f"TensorRT lacks the shapes of {', '.join(missing)}")
            outputs = {name: (info.dtype, self._output_shape(name)) for name, info in self._signature.outputs.items()}
            for name, (dtype, shape) in outputs.items():
                addresses.append((name, shape, memory.reserve(name, dtype, shape)))
                self._context.set_tensor_address(name, addresses[-1][-1])
            self._execute(memory, tuple(addresses))
            return memory.download(outputs)
        finally:
            memory.synchronize()  # also after an error: the next run writes into the same memory

    def _bind_input(self, memory: DeviceMemory, name: str, array: NDArray[np.generic]) -> tuple[Any, ...]:
        if not self._context.set_input_shape(name, tuple(array.shape)):
            raise ModelError(f"TensorRT refuses shape {array.shape} for input {name}")
        address = memory.reserve(name, array.dtype, array.shape)
        memory.upload(name, array)
        self._context.set_tensor_address(name, address)
        return name, array.shape, address

    def _output_shape(self, name: str) -> Shape:
        shape = tuple(int(length) for length in self._context.get_tensor_shape(name))
        if any(length < 0 for length in shape):
            raise ModelError(f"output {name} has a shape that depends on the data: {shape}; TensorRT sessions do not support that")
        return shape

    def _execute(self, memory: DeviceMemory, addresses: tuple[Any, ...]) -> None:
        """Run; from the second run with the same shapes in the same memory on, as a recorded graph."""
        repeated, self._last_addresses = addresses == self._last_addresses, addresses
        if not repeated:
            self._recorded = None
        elif self._records and self._recorded is None:
            self._record(memory)
        if self._recorded is not None:
            self._recorded.replay()
        else:
            self._enqueue(memory.stream_handle)

    def _record(self, memory: DeviceMemory) -> None:
        memory.synchronize()
        try:
            self._recorded = RecordedRun(self._enqueue, memory.stream_handle, int(self.device.removeprefix("cuda:")))
        except (ModelError, RuntimeError, ImportError) as error:
            self._records = False
            get_logger().warning("cuda_graph_unavailable", network=self.network.path.name, error=type(error).__name__)

    def _enqueue(self, stream_handle: int) -> None:
        if not self._context.execute_async_v3(stream_handle):
            raise ModelError(f"TensorRT failed to run the engine: {self._logger.last_error()}")

    def _deactivate(self) -> None:
        if self._thread is None:
            return
        try:
            self._thread.call(self._close)
        except ModelError as error:  # a GPU that failed cannot even be tidied up; the error that said so came before
            get_logger().warning("gpu_not_freed", network=self.network.path.name, error=str(error))
        self._thread.stop()
        self._thread = None

    def _close(self) -> None:
        """Free in the order of dependence, while the context is still current."""
        self._recorded = None
        self._last_addresses = ()
        self._context = None
        self._engine = None
        self._runtime = None
        self._logger = None
        self._plan_bytes = 0
        memory, self._memory = self._memory, None
        if memory is not None:
            memory.close()
