"""Workers on a host with two GPUs, as a stand-in for the driver tells: whose jobs are whose, and who decodes on the device."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.app import Supervisor
from dicom_node.domain.jobs import JobState
from dicom_node.inference.engines.probe import CudaDevice, Probe
from dicom_node.pipeline import worker_process
from tests.integration.working.worker_house import WorkerHouse
from tests.unit.engines.test_probe import GCC, SOURCE
from tests.unit.test_config import NODE, load

pytestmark = pytest.mark.skipif(GCC is None, reason="gcc is not installed; it compiles the stand-in for the driver")

PLUGIN = """
import os
from pathlib import Path

def register():
    with (Path(os.environ["ODD_NOTES"]) / "registered").open("a") as notes:
        notes.write(f"{os.getpid()}\\n")
    if (Path(os.environ["ODD_NOTES"]) / "broken").exists():
        raise ValueError("no such device")
    return True
"""


def driver(folder: Path, count: int = 2) -> Path:
    """The folder of a driver with GPUs of 8 and 24 GiB."""
    folder.mkdir()
    macros = [f"-DCOUNT={count}", "-DFIRST_GIB=8"]
    subprocess.run([str(GCC), "-shared", "-fPIC", *macros, "-o", folder / "libcuda.so.1", SOURCE], check=True)
    return folder


@pytest.fixture
def house(tmp_path: Path) -> Iterator[WorkerHouse]:
    memory = {"odd-good": "2GiB", "odd-good-2": "16GiB"}
    bundles = {name: {"resources": {"device_memory": size}} for name, size in memory.items()}
    made = WorkerHouse(tmp_path, bundles, "count: 2")
    made.environment["LD_LIBRARY_PATH"] = str(driver(tmp_path / "driver"))
    plugin = tmp_path / "package" / "nvidia" / "nvimgcodec" / "tools" / "dicom"
    plugin.mkdir(parents=True)
    (plugin / "pydicom_plugin.py").write_text(PLUGIN)
    yield made
    made.close()


def test_job_waits_for_the_worker_whose_gpu_has_room_for_its_model(house: WorkerHouse) -> None:
    large = house.order("odd-good-2", house.study())
    small = [house.order("odd-good", house.study()) for _ in range(2)]
    house.start("worker-0")
    house.wait_for(lambda: all(house.job(n).state is JobState.DONE for n in small))
    assert (house.job(large).state, house.job(large).ahead_by) == (JobState.QUEUED, None)
    house.start("worker-1")
    house.wait_until_all_ended()
    assert house.job(large).state is JobState.DONE
    assert "event=job_started job=" + str(large) in house.log("worker-1").replace('"', "")
    assert "cuda:0 NVIDIA L4, cuda:1 NVIDIA L40S" in house.log("worker-0")
    pids = house.noted("registered")
    assert pids == [house._workers[name].pid for name in ("worker-0", "worker-1")], "once in each worker, in no host"


def test_decoders_that_cannot_be_registered_are_a_warning(house: WorkerHouse) -> None:
    (house.notes / "broken").touch()
    job = house.order("odd-good", house.study())
    house.start("worker-0")
    house.wait_until_all_ended()
    assert house.job(job).state is JobState.DONE
    assert 'device_decoders_unavailable reason="ValueError; the CPU decodes"' in house.log("worker-0")
    assert len(house.noted("registered")) == 1


def test_decoders_are_registered_once_and_only_after_the_probe(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    device = CudaDevice(0, "Test GPU", 8 << 30, (9, 0), "13.0")
    devices: list[CudaDevice] = []

    def probe() -> Probe:
        asked.append("probe")
        return Probe(tuple(devices), "" if devices else "none")

    def register(found: tuple[CudaDevice, ...]) -> bool:
        asked.append("register")
        return found == (device,)

    monkeypatch.setattr(worker_process, "cuda_devices_apart", probe)
    monkeypatch.setattr(worker_process, "register_device_decoders", register)
    assert worker_process.look_for_devices() == ()
    assert asked == ["probe"], "nothing of NVIDIA's is touched where the driver sees no device"
    devices.append(device)
    assert worker_process.look_for_devices() == (device,)
    assert asked == ["probe", "probe", "register"]


@pytest.mark.parametrize(("gpus", "section", "workers"), [(2, "", 2), (0, "", 1), (2, "workers: {count: 3}\n", 3)])
def test_node_runs_a_worker_a_gpu_unless_a_number_is_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gpus: int, section: str, workers: int
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", str(driver(tmp_path / "driver", gpus)))
    (tmp_path / "data").mkdir()
    supervisor = Supervisor(load(tmp_path, NODE + section), tmp_path / "node.yaml")
    assert [c.name for c in supervisor._children if c.command == "work"] == [f"worker-{n}" for n in range(workers)]
