"""The lifecycle that every back end shares: activate, infer, deactivate; arguments and answers are checked here once for all."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import perf_counter
from types import TracebackType
from typing import ClassVar, Self, final

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import BuildCancelledError, ModelError
from dicom_node.inference.network import BuildProgress, Network, NetworkFormat, Precision, SessionOptions, Shape

Tensors = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output of a network.

    Attributes:
        dtype: numpy's type; bfloat16 is `ml_dtypes.bfloat16`.
        shape: None for a length means any; None for the whole means that the file does not even say how many axes.
    """

    dtype: np.dtype[np.generic]
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True, slots=True)
class Signature:
    """Inputs and outputs by name, in the network's order.

    Attributes:
        equal: Groups of (input, axis) whose lengths must be the same, for example the batch of two inputs.
    """

    inputs: Mapping[str, TensorInfo]
    outputs: Mapping[str, TensorInfo]
    equal: tuple[tuple[tuple[str, int], ...], ...] = ()


class Session(ABC):
    """One network on one engine. One thread at a time calls it, any thread may; `cancel` may be called meanwhile.

    Memory: inputs stay the caller's, are not modified, and may be changed as soon as `infer` has returned. Outputs are new,
    contiguous, writable memory that the caller owns; no later run touches them. What the engine holds between runs
    (weights, work space, transfer buffers) is freed by `deactivate`.
    """

    backend: ClassVar[str]
    formats: ClassVar[frozenset[NetworkFormat]]

    def __init__(self, network: Network, precision: Precision, options: SessionOptions) -> None:
        """Name the network; `activate` loads it."""
        self.network = network
        self.precision = precision
        self.options = options
        self._active = False
        self._cancelled = threading.Event()
        self._signature = Signature({}, {})

    @property
    def inputs(self) -> Mapping[str, TensorInfo]:
        """What `infer` wants, by name.

        Raises:
            ModelError: not active.
        """
        self._demand_active()
        return self._signature.inputs

    @property
    def outputs(self) -> Mapping[str, TensorInfo]:
        """What `infer` gives, by name; empty before the first run of a network whose file does not say it (TorchScript).

        Raises:
            ModelError: not active.
        """
        self._demand_active()
        return self._signature.outputs

    @property
    def active(self) -> bool:
        """Whether the network is loaded."""
        return self._active

    @property
    @abstractmethod
    def device(self) -> str:
        """Where it runs: `cpu`, `cuda:0`, or the server's address."""

    @property
    @abstractmethod
    def memory_bytes(self) -> int:
        """Bytes that the network holds on its device, as far as the engine tells: at least its weights; 0 when not active or remote."""

    @final
    def activate(self) -> Mapping[str, TensorInfo]:
        """Load the network, building an engine first where one is needed; return its inputs.

        Raises:
            BuildCancelledError: `cancel` was called.
            EngineUnavailableError: the library, the device or the server is not there.
            ModelError: active already, or the engine refuses the network; the session stays inactive and may be tried again.
        """
        if self._active:
            raise ModelError("session is active already")
        try:
            self._signature = self._activate()
        except BaseException:
            self._deactivate()
            raise
        finally:
            self._cancelled.clear()
        self._active = True
        return self._signature.inputs

    @final
    def infer(self, inputs: Tensors) -> Tensors:
        """Run the network once.

        Args:
            inputs: Arrays by input name; any memory layout.

        Returns:
            Arrays by output name.

        Raises:
            ModelError: not active, or names, dtypes or shapes are not the network's; or the engine failed. The session stays usable.
        """
        self._demand_active()
        wanted = self._signature.inputs
        if inputs.keys() != wanted.keys():
            raise ModelError(f"inputs are {sorted(inputs)}, the network has {sorted(wanted)}")
        for name, info in wanted.items():
            _check("input", name, inputs[name], info)
        for group in self._signature.equal:
            _check_equal(group, inputs)
        outputs = {name: _owned(array, inputs) for name, array in self._infer(inputs).items()}
        if not self._signature.outputs:
            self._signature = replace(
                self._signature, outputs={name: TensorInfo(array.dtype, (None,) * array.ndim) for name, array in outputs.items()}
            )
        if outputs.keys() != self._signature.outputs.keys():
            raise ModelError(f"outputs are {sorted(outputs)}, the network has {sorted(self._signature.outputs)}")
        for name, info in self._signature.outputs.items():
            _check("output", name, outputs[name], info)
        return outputs

    @final
    def warm_up(self, shapes: Mapping[str, Shape] | None = None) -> float:
        """Run once on zeros, so that the first study does not pay for what engines do late.

        Args:
            shapes: By input name; where missing, the profile's best shape, or the network's own with 1 for an open length.

        Returns:
            Seconds it took.

        Raises:
            ModelError: as `infer`; or a shape is needed that neither the network nor a profile gives.
        """
        begin = perf_counter()
        self.infer({name: np.zeros(self._warm_shape(name, info, shapes or {}), info.dtype) for name, info in self.inputs.items()})
        return perf_counter() - begin

    @final
    def cancel(self) -> None:
        """Ask a build that `activate` is running to stop; without one, the next `activate` ends at once. From any thread."""
        self._cancelled.set()

    @final
    def deactivate(self) -> None:
        """Free the engine; may be called again."""
        if self._active:
            self._active = False
            self._signature = Signature({}, {})
            self._deactivate()

    @abstractmethod
    def _activate(self) -> Signature: ...

    @abstractmethod
    def _infer(self, inputs: Tensors) -> Tensors: ...

    @abstractmethod
    def _deactivate(self) -> None:
        """Free what there is; called also after an `_activate` that failed half way."""

    def _report(self, phase: str, fraction: float) -> None:
        """Tell about a build, and end it when it was cancelled."""
        if self.options.on_progress is not None:
            self.options.on_progress(BuildProgress(phase, fraction))
        if self._cancelled.is_set():
            raise BuildCancelledError(f"{self.network.path.name}: the build was cancelled during {phase!r}")

    def _demand_active(self) -> None:
        if not self._active:
            raise ModelError("session is not active")

    def _warm_shape(self, name: str, info: TensorInfo, shapes: Mapping[str, Shape]) -> Shape:
        if name in shapes:
            return shapes[name]
        if name in self.options.profiles:
            return self.options.profiles[name].opt
        if info.shape is None:
            raise ModelError(f"input {name}: the network does not say its shape", hint="Give a profile for it: engines.profiles.")
        return tuple(1 if length is None else length for length in info.shape)

    def __enter__(self) -> Self:
        self.activate()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.deactivate()


def _owned(array: NDArray[np.generic], inputs: Tensors) -> NDArray[np.generic]:
    """Copy what the caller could not keep: read-only or strided memory, or memory of an input."""
    kept = array.flags.writeable and array.flags.c_contiguous and not any(np.may_share_memory(array, given) for given in inputs.values())
    return array if kept else np.array(array, order="C")


def _check_equal(group: tuple[tuple[str, int], ...], inputs: Tensors) -> None:
    lengths = {inputs[name].shape[axis] for name, axis in group}
    if len(lengths) > 1:
        words = ", ".join(f"axis {axis} of {name} is {inputs[name].shape[axis]}" for name, axis in group)
        raise ModelError(f"inputs differ in shape where the network wants one length: {words}")


def _check(role: str, name: str, array: NDArray[np.generic], info: TensorInfo) -> None:
    if array.dtype != info.dtype:
        raise ModelError(f"{role} {name} is {array.dtype}, the network has {info.dtype}")
    if info.shape is None:
        return
    fits = array.ndim == len(info.shape) and all(want in (None, have) for want, have in zip(info.shape, array.shape, strict=True))
    if not fits:
        raise ModelError(f"{role} {name} has shape {array.shape}, the network has {info.shape}")
