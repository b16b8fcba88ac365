"""PyTorch: TorchScript and torch.export files, on a GPU or the CPU. ONNX files are for the other engines.

Both forms may run any code when they are loaded: TorchScript is a program, and torch.export's archive falls back to pickle
(torch 2.13 reads its tensors with weights_only=False). They are loaded only when the options say that the file is trusted.
"""

from __future__ import annotations

import io
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import EngineUnavailableError, ModelError
from dicom_node.inference.backends.availability import Availability
from dicom_node.inference.network import Network, NetworkFormat, Precision, SessionOptions
from dicom_node.inference.session import Session, Signature, TensorInfo, Tensors

_BF16 = np.dtype(ml_dtypes.bfloat16)
_NAMES: Mapping[np.dtype[np.generic], str] = {
    **{
        np.dtype(n): n
        for n in ("float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint64", "uint32", "uint16", "uint8", "bool")
    },
    _BF16: "bfloat16",
}


def availability() -> Availability:
    """Tell whether torch is installed; nothing is imported."""
    try:
        return Availability(usable=True, reason=f"torch {version('torch')}")
    except PackageNotFoundError:
        return Availability(usable=False, reason="the package torch is not installed (extra `torch`)")


class TorchSession(Session):
    """A TorchScript or torch.export network.

    A TorchScript file says neither types nor shapes: its inputs are taken to be of its weights' type and of their profiles' shape,
    and outputs are described by the first run. Outputs are named by `output_names`, by the keys of the dictionary that the
    network returns, or `output` (`output_0`, `output_1`, ... where there are several).
    """

    backend = "torch"
    formats = frozenset({NetworkFormat.TORCHSCRIPT, NetworkFormat.PT2})

    def __init__(self, network: Network, precision: Precision, options: SessionOptions) -> None:
        """Name the network; `activate` loads it."""
        super().__init__(network, precision, options)
        self._device = options.device
        self._torch: Any = None
        self._module: Any = None
        self._positional = 0
        self._graph: _RecordedRun | None = None

    @property
    def device(self) -> str:
        """`cpu` or `cuda:N`; `auto` until it is active."""
        return self._device

    @property
    def memory_bytes(self) -> int:
        """Weights and buffers; on a GPU also what torch's allocator holds for this process."""
        if self._module is None:
            return 0
        held = sum(t.numel() * t.element_size() for t in (*self._module.parameters(), *self._module.buffers()))
        return int(held if self._device == "cpu" else max(held, self._torch.cuda.memory_reserved(self._device)))

    def _activate(self) -> Signature:
        if not self.options.trusted:
            raise ModelError(
                f"{self.network.path}: a {self.network.format} file runs code when it is loaded, and this one is not said to be trusted",
                hint="Use ONNX, or mark the bundle as trusted after looking where the file comes from.",
            )
        self._torch = torch = _import_torch()
        self._device = self._chosen_device(torch)
        content = self.network.read()
        self._report("load", 0.0)
        if self.options.threads:
            torch.set_num_threads(self.options.threads)
        if self._device != "cpu" and self.precision is Precision.FP32:
            torch.backends.cudnn.conv.fp32_precision = torch.backends.cuda.matmul.fp32_precision = "ieee"
        try:
            return self._load_pt2(content) if self.network.format is NetworkFormat.PT2 else self._load_torchscript(content)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"{self.network.path}: torch refuses the network: {type(error).__name__}: {_first_line(error)}") from error

    def _chosen_device(self, torch: Any) -> str:
        if self.options.device == "cpu":
            return "cpu"
        if self.options.device == "auto":
            return "cuda:0" if torch.cuda.is_available() else "cpu"
        if not torch.cuda.is_available() or int(self.options.device.removeprefix("cuda:")) >= torch.cuda.device_count():
            raise EngineUnavailableError(f"{self.options.device} was asked for, torch {torch.__version__} sees no such device")
        return self.options.device

    def _load_pt2(self, content: bytes) -> Signature:
        with _LOADING:
            program = self._torch.export.load(io.BytesIO(content))
        if self._device != "cpu":
            from torch.export.passes import move_to_device_pass  # noqa: PLC0415

            program = move_to_device_pass(program, self._device)
        self._module = self._laid_out(program.module())
        nodes = {node.name: node.meta["val"] for node in program.graph.nodes if "val" in node.meta}
        arguments, keywords = program.call_spec.in_spec.children()
        self._positional = arguments.num_children
        names = [*program.graph_signature.user_inputs[: self._positional], *(keywords.context or ())]
        inputs = {name: self._info(nodes[node]) for name, node in zip(names, program.graph_signature.user_inputs, strict=True)}
        out = program.call_spec.out_spec
        keys = tuple(map(str, out.context)) if out.type is dict else ()
        results = [self._info(nodes[node]) for node in program.graph_signature.user_outputs]
        return Signature(inputs, dict(zip(self._output_names(keys, len(results)), results, strict=True)))

    def _load_torchscript(self, content: bytes) -> Signature:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # the form is deprecated, and still what people have
            self._module = self._laid_out(self._torch.jit.load(io.BytesIO(content), map_location=self._device).eval())
        arguments = self._module.forward.schema.arguments[1:]
        odd = [a.name for a in arguments if str(a.type) != "Tensor"]
        if odd:
            raise ModelError(f"{self.network.path}: argument {odd[0]} of forward is no tensor")
        self._positional = len(arguments)
        first = next(self._module.parameters(), None)
        dtype = np.dtype(np.float32) if first is None else _dtype(first.dtype)
        return Signature({a.name: TensorInfo(dtype, self._profiled(a.name)) for a in arguments}, {})

    def _profiled(self, name: str) -> tuple[int | None, ...] | None:
        """The shape of an input that the file does not tell, from its profile: what is the same in min and max is fixed."""
        profile = self.options.profiles.get(name)
        return None if profile is None else tuple(a if a == b else None for a, b in zip(profile.min, profile.max, strict=True))

    def _laid_out(self, module: Any) -> Any:
        """Channels last on a GPU: its tensor cores read 16-bit images so without turning them first."""
        if self._device == "cpu":
            return module
        for parameter in module.parameters():
            if parameter.ndim in _CHANNELS_LAST:
                parameter.data = parameter.data.contiguous(memory_format=getattr(self._torch, _CHANNELS_LAST[parameter.ndim]))
        return module

    def _info(self, value: Any) -> TensorInfo:
        return TensorInfo(_dtype(value.dtype), tuple(n if isinstance(n, int) else None for n in value.shape))

    def _infer(self, inputs: Tensors) -> Tensors:
        try:
            with self._torch.inference_mode(), self._on_device():
                tensors = [self._to_device(inputs[name]) for name in self._signature.inputs]
                return self._to_host(self._run(tensors))
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(f"torch failed: {type(error).__name__}: {_first_line(error)}") from error

    def _run(self, tensors: Sequence[Any]) -> Mapping[str, Any]:
        if self._device == "cpu" or not self.options.cuda_graphs:
            return self._forward(tensors)
        if self._graph is None or not self._graph.fits(tensors):
            self._graph = None  # frees its memory before the next is recorded
            self._graph = _RecordedRun(self._torch, self._forward, tensors)
        return self._graph.replay(tensors)

    def _forward(self, tensors: Sequence[Any]) -> Mapping[str, Any]:
        names = list(self._signature.inputs)[self._positional :]
        with self._autocast():
            result = self._module(*tensors[: self._positional], **dict(zip(names, tensors[self._positional :], strict=True)))
        if isinstance(result, dict):
            return dict(zip(self._output_names(tuple(result), len(result)), result.values(), strict=True))
        several = list(result) if isinstance(result, list | tuple) else [result]
        return dict(zip(self._output_names((), len(several)), several, strict=True))

    def _on_device(self) -> AbstractContextManager[None]:
        """Streams and recordings are made on the current device, which is another one than ours unless it is set."""
        return nullcontext() if self._device == "cpu" else self._torch.cuda.device(self._device)

    @contextmanager
    def _autocast(self) -> Iterator[None]:
        with ExitStack() as stack:
            if self.precision is not Precision.FP32:
                half = self._torch.float16 if self.precision is Precision.FP16 else self._torch.bfloat16
                stack.enter_context(self._torch.autocast(self._device.split(":")[0], dtype=half))
            yield

    def _to_device(self, array: NDArray[np.generic]) -> Any:
        """Copy: the network may write into its inputs, and the caller's array may be read-only."""
        copied = np.array(array, order="C")
        tensor = (
            self._torch.from_numpy(copied.view(np.uint16)).view(self._torch.bfloat16)
            if array.dtype == _BF16
            else self._torch.from_numpy(copied)
        )
        if self._device == "cpu":
            return tensor
        tensor = tensor.pin_memory().to(self._device, non_blocking=True)
        layout = _CHANNELS_LAST.get(tensor.ndim)
        return tensor if layout is None else tensor.contiguous(memory_format=getattr(self._torch, layout))

    def _to_host(self, outputs: Mapping[str, Any]) -> Tensors:
        arrays = {}
        for name, tensor in outputs.items():
            declared = self._signature.outputs.get(name)
            if declared is not None:
                tensor = tensor.to(getattr(self._torch, _NAMES[declared.dtype]))  # noqa: PLW2901 - autocast may have narrowed it
            elif self.precision is not Precision.FP32 and tensor.is_floating_point():
                tensor = tensor.float()  # noqa: PLW2901
            tensor = tensor.detach().cpu().contiguous()  # noqa: PLW2901
            arrays[name] = tensor.view(self._torch.uint16).numpy().view(_BF16) if tensor.dtype == self._torch.bfloat16 else tensor.numpy()
        # A network that returns one of its weights or the same tensor twice must not hand out shared memory.
        return {name: np.array(array) for name, array in arrays.items()}

    def _output_names(self, keys: tuple[str, ...], count: int) -> tuple[str, ...]:
        names = self.options.output_names or keys or (("output",) if count == 1 else tuple(f"output_{i}" for i in range(count)))
        if len(names) != count:
            raise ModelError(f"{self.network.path}: {len(names)} output names are given, the network has {count} outputs")
        return names

    def _deactivate(self) -> None:
        self._graph = None
        self._module = None
        if self._torch is not None and self._device not in ("cpu", "auto"):
            self._torch.cuda.empty_cache()


_LOADING = threading.Lock()
"""torch.export.load is not safe in two threads at once."""
_CHANNELS_LAST = {4: "channels_last", 5: "channels_last_3d"}


class _RecordedRun:
    """A CUDA graph of the network for one set of shapes; inputs are copied into its memory and outputs read from it."""

    def __init__(self, torch: Any, forward: Any, tensors: Sequence[Any]) -> None:
        self._inputs = [tensor.clone() for tensor in tensors]
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):  # libraries choose and allocate before the recording
                forward(self._inputs)
        torch.cuda.current_stream().wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph):
            self._outputs = forward(self._inputs)

    def fits(self, tensors: Sequence[Any]) -> bool:
        return [t.shape for t in tensors] == [t.shape for t in self._inputs]

    def replay(self, tensors: Sequence[Any]) -> Mapping[str, Any]:
        for held, given in zip(self._inputs, tensors, strict=True):
            held.copy_(given)
        self._graph.replay()
        return dict(self._outputs)


def _import_torch() -> Any:
    try:
        import torch  # noqa: PLC0415
    except ImportError as error:
        raise EngineUnavailableError(f"torch cannot be imported: {error}", hint="Install the extra `torch`.") from error
    return torch


def _dtype(kind: Any) -> np.dtype[np.generic]:
    name = str(kind).removeprefix("torch.")
    if name not in _NAMES.values():
        raise ModelError(f"torch type {name} has no counterpart in numpy")
    return next(dtype for dtype, known in _NAMES.items() if known == name)


def _first_line(error: Exception) -> str:
    return next((line for line in str(error).splitlines() if line.strip()), "")
