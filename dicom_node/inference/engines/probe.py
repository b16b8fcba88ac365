"""Which NVIDIA GPUs are here, asked of the driver alone, before any other library of NVIDIA's is touched.

On a host without a device some of those libraries end the process instead of raising (TensorRT's lean runtime does), so
this comes first. It needs nothing but the standard library, and `cuda_devices_apart` runs this file as a program: for
a process that will fork, since CUDA cannot be used on both sides of a fork.
"""

from __future__ import annotations

import ctypes
import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

LIBRARY = "libcuda.so.1"
_NO_DEVICE = 100
_MOST_DEVICES = 256
_NAME_BYTES = 256
_COMPUTE_CAPABILITY_MAJOR, _COMPUTE_CAPABILITY_MINOR = 75, 76


@dataclass(frozen=True, slots=True)
class CudaDevice:
    """One GPU, as the driver tells.

    Attributes:
        index: Number under CUDA_VISIBLE_DEVICES; `cuda:index` in options.
        name: For example `NVIDIA L4`.
        memory_bytes: All of its memory.
        compute_capability: Major and minor.
        driver: Newest CUDA version that the driver serves, for example `13.0`.
    """

    index: int
    name: str
    memory_bytes: int
    compute_capability: tuple[int, int]
    driver: str


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found.

    Attributes:
        devices: In the driver's order.
        reason: Why there are none, or which call failed; empty when all is well.
    """

    devices: tuple[CudaDevice, ...]
    reason: str


class _DriverError(Exception):
    """A call of the driver failed, or gave what cannot be."""


def probe(library: str = LIBRARY) -> Probe:
    """Ask the driver; never raises.

    Args:
        library: Name or path of the driver's library.

    Returns:
        Devices, and in words why there are none.
    Source: CUDA driver API, initialisation and device management.
    """
    try:
        driver = ctypes.CDLL(library)
    except OSError as error:
        return Probe((), f"no NVIDIA driver: {error}")
    try:
        return Probe(_devices(driver), "")
    except _DriverError as error:
        return Probe((), str(error))


def cuda_devices() -> tuple[CudaDevice, ...]:
    """Name the GPUs of this process; empty without driver or device."""
    return probe().devices


def cuda_devices_apart(timeout_s: float = 60.0) -> Probe:
    """Ask in a process of its own: this one stays free to fork, and outlives a driver that crashes or hangs.

    Args:
        timeout_s: Longest wait; a driver that wakes eight cards without persistence mode takes half a minute.
    """
    try:
        done = subprocess.run([sys.executable, "-I", str(Path(__file__))], capture_output=True, timeout=timeout_s, check=False)
        found = json.loads(done.stdout)
        devices = (CudaDevice(**{**entry, "compute_capability": tuple(entry["compute_capability"])}) for entry in found["devices"])
        return Probe(tuple(devices), str(found["reason"]))
    except subprocess.TimeoutExpired:
        return Probe((), f"the driver did not answer within {timeout_s:g} s")
    except (OSError, ValueError, KeyError, TypeError):
        return Probe((), f"the driver ended the process that asked it (exit status {done.returncode})")


def _devices(driver: ctypes.CDLL) -> tuple[CudaDevice, ...]:
    status = _function(driver, "cuInit")(ctypes.c_uint(0))
    if status == _NO_DEVICE:
        raise _DriverError("the driver sees no device (CUDA_ERROR_NO_DEVICE)")
    if status != 0:
        raise _DriverError(f"cuInit failed with CUDA error {status}")
    count, version = _number(driver, "cuDeviceGetCount"), _number(driver, "cuDriverGetVersion")
    if not 0 <= count <= _MOST_DEVICES:
        raise _DriverError(f"the driver says that there are {count} devices")
    if count == 0:
        raise _DriverError("the driver sees no device")
    return tuple(_device(driver, index, f"{version // 1000}.{version % 1000 // 10}") for index in range(count))


def _device(driver: ctypes.CDLL, index: int, version: str) -> CudaDevice:
    handle = _number(driver, "cuDeviceGet", index)
    name = ctypes.create_string_buffer(_NAME_BYTES)
    memory = ctypes.c_size_t(0)
    _call(driver, "cuDeviceGetName", name, ctypes.c_int(_NAME_BYTES - 1), ctypes.c_int(handle))
    _call(driver, "cuDeviceTotalMem_v2", ctypes.byref(memory), ctypes.c_int(handle))
    major = _number(driver, "cuDeviceGetAttribute", _COMPUTE_CAPABILITY_MAJOR, handle)
    minor = _number(driver, "cuDeviceGetAttribute", _COMPUTE_CAPABILITY_MINOR, handle)
    words = "".join(c for c in name.value.decode("utf-8", "replace") if c.isprintable())
    return CudaDevice(index, words, memory.value, (major, minor), version)


def _number(driver: ctypes.CDLL, function: str, *arguments: int) -> int:
    value = ctypes.c_int(0)
    _call(driver, function, ctypes.byref(value), *(ctypes.c_int(argument) for argument in arguments))
    return value.value


def _call(driver: ctypes.CDLL, function: str, *arguments: object) -> None:
    status = _function(driver, function)(*arguments)
    if status != 0:
        raise _DriverError(f"{function} failed with CUDA error {status}")


def _function(driver: ctypes.CDLL, name: str) -> Callable[..., int]:
    try:
        function: Callable[..., int] = getattr(driver, name)
    except AttributeError:
        raise _DriverError(f"{driver._name} has no {name}: it is no CUDA driver") from None
    return function


if __name__ == "__main__":
    sys.stdout.write(json.dumps(asdict(probe())))
