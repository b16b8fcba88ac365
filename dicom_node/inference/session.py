"""The lifecycle that every back end shares: activate, infer, deactivate; arguments are checked here once for all."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self, final

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import ModelError

Tensors = Mapping[str, NDArray[np.generic]]


@dataclass(frozen=True, slots=True)
class TensorInfo:
    """An input or output; None in the shape means any length."""

    dtype: np.dtype[np.generic]
    shape: tuple[int | None, ...]


class Session(ABC):
    """One network on one engine.

    Inputs stay the caller's and are not modified; outputs are new memory that the caller owns.
    """

    backend: str
    precision: str

    def __init__(self) -> None:
        self._active = False

    @final
    def activate(self) -> Mapping[str, TensorInfo]:
        """Load the network; return its inputs.

        Raises:
            ModelError: active already, or the engine refuses the network.
        """
        if self._active:
            raise ModelError("session is active already")
        self._inputs = self._activate()
        self._active = True
        return self._inputs

    @final
    def infer(self, inputs: Tensors) -> Tensors:
        """Run the network once.

        Args:
            inputs: Arrays by input name.

        Raises:
            ModelError: not active, or names, dtypes or shapes are not the network's; or the engine failed.
        """
        if not self._active:
            raise ModelError("session is not active")
        if inputs.keys() != self._inputs.keys():
            raise ModelError(f"inputs are {sorted(inputs)}, the network has {sorted(self._inputs)}")
        for name, info in self._inputs.items():
            _check(name, inputs[name], info)
        return self._infer(inputs)

    @final
    def deactivate(self) -> None:
        """Free the engine; may be called again."""
        if self._active:
            self._active = False
            self._deactivate()

    @abstractmethod
    def _activate(self) -> Mapping[str, TensorInfo]: ...

    @abstractmethod
    def _infer(self, inputs: Tensors) -> Tensors: ...

    @abstractmethod
    def _deactivate(self) -> None: ...

    def __enter__(self) -> Self:
        self.activate()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.deactivate()


def _check(name: str, array: NDArray[np.generic], info: TensorInfo) -> None:
    if array.dtype != info.dtype:
        raise ModelError(f"input {name} is {array.dtype}, the network wants {info.dtype}")
    fits = array.ndim == len(info.shape) and all(want in (None, have) for want, have in zip(info.shape, array.shape, strict=True))
    if not fits:
        raise ModelError(f"input {name} has shape {array.shape}, the network wants {info.shape}")
