"""The probe never raises and never ends the process that asks apart, whatever the driver is like."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from dicom_node.inference.engines import probe as module
from dicom_node.inference.engines.probe import CudaDevice, cuda_devices, cuda_devices_apart, probe

SOURCE = Path(__file__).parent / "stub_libcuda.c"
GCC = shutil.which("gcc")

pytestmark = pytest.mark.skipif(GCC is None, reason="gcc is not installed; it compiles the stand-in for the driver")


@pytest.fixture
def driver(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process started from here finds this driver first."""
    subprocess.run([str(GCC), "-shared", "-fPIC", *request.param, "-o", tmp_path / "libcuda.so.1", SOURCE], check=True)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))


@pytest.mark.parametrize("driver", [["-DCOUNT=2"]], indirect=True)
def test_devices_are_named(driver: None) -> None:
    found = cuda_devices_apart()
    assert found.reason == ""
    assert found.devices == (
        CudaDevice(0, "NVIDIA L4", 24 << 30, (8, 9), "13.0"),
        CudaDevice(1, "NVIDIA L40S", 24 << 30, (8, 9), "13.0"),
    )


@pytest.mark.parametrize(
    ("driver", "words"),
    [
        (["-DINIT=100"], "sees no device (CUDA_ERROR_NO_DEVICE)"),
        (["-DINIT=803"], "cuInit failed with CUDA error 803"),
        (["-DCOUNT=0"], "sees no device"),
        (["-DCOUNT=-5"], "says that there are -5 devices"),
        (["-DCOUNT=1000000"], "says that there are 1000000 devices"),
        (["-DCOUNT=1", "-DFAIL_ATTRIBUTE"], "cuDeviceGetAttribute failed with CUDA error 1"),
        (["-DCOUNT=1", "-DNO_NAME"], "has no cuDeviceGetName: it is no CUDA driver"),
        (["-DCRASH"], "ended the process that asked it (exit status -6)"),
    ],
    indirect=["driver"],
)
def test_drivers_without_devices_are_said_to_be_so(driver: None, words: str) -> None:
    found = cuda_devices_apart()
    assert found.devices == ()
    assert words in found.reason


@pytest.mark.parametrize("driver", [["-DHANG"]], indirect=True)
def test_driver_that_hangs_is_given_up(driver: None) -> None:
    assert "did not answer within 0.3 s" in cuda_devices_apart(0.3).reason


@pytest.mark.parametrize("driver", [["-DCOUNT=1", "-DGARBAGE_NAME"]], indirect=True)
def test_name_that_is_no_text_does_no_harm(driver: None) -> None:
    [device] = cuda_devices_apart().devices
    assert device.compute_capability == (8, 9)
    assert device.name.isprintable()


def test_file_that_is_no_library_is_no_driver(tmp_path: Path) -> None:
    (tmp_path / "libcuda.so.1").write_bytes(b"no library")
    found = probe(str(tmp_path / "libcuda.so.1"))
    assert found.devices == ()
    assert "no NVIDIA driver" in found.reason


def test_host_without_a_driver_has_no_devices(tmp_path: Path) -> None:
    assert probe(str(tmp_path / "libcuda.so.1")).devices == ()
    if not Path("/dev/nvidiactl").exists():
        assert cuda_devices() == ()


def test_probe_needs_the_standard_library_alone() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([sys.executable, "-I", "-S", module.__file__], capture_output=True, env=environment, check=True)
    assert b'"devices"' in done.stdout
