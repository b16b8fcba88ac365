"""A GPU whose memory runs out above a number of pixels in a call, or that is lost, in a real worker; torch on the CPU stands in for it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dicom_node.domain.jobs import Job, JobState
from dicom_node.storage import queries
from tests.integration.working.test_devices import driver
from tests.integration.working.worker_house import WorkerHouse
from tests.networks import write_torchscript
from tests.unit.engines.test_probe import GCC
from tests.unit.inference.steps.bundles import SEGMENT, whole_manifest

torch = pytest.importorskip("torch", reason="the extra `torch` is not installed")
pytestmark = pytest.mark.skipif(GCC is None, reason="gcc is not installed; it compiles the stand-in for the driver")

STAND_IN = '''
"""In the node's processes torch's sessions say that they run on the GPU they were asked for, and run on the CPU."""

import os
import sys
from pathlib import Path

if any("dicom_node" in word for word in sys.orig_argv):
    from dicom_node.inference.backends.torch_session import TorchSession

    on_cpu = TorchSession._infer

    def infer(self, inputs):
        pixels = next(iter(inputs.values())).size
        notes = Path(os.environ["ODD_NOTES"])
        if self.options.device.startswith("cuda"):
            limit, lost = (notes / f"{what}-{self.network.path.parent.name}" for what in ("pixels", "lost"))
            if lost.exists():
                raise RuntimeError("CUDA error: device-side assert triggered")
            with (notes / "calls").open("a") as calls:
                calls.write(f"{pixels}\\n")
            if limit.exists() and pixels > int(limit.read_text()):
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return on_cpu(self, inputs)

    TorchSession._infer = infer
    TorchSession._chosen_device = lambda self, torch: "cpu"
    TorchSession.device = property(lambda self: self.options.device)
'''
ML = {"value": "mL", "scheme": "UCUM", "meaning": "milliliter"}
VOLUME = {"id": "volume", "label": "Volume", "concept": {"value": "118565006", "scheme": "SCT", "meaning": "Volume"}, "unit": ML}
WINDOW = 8 * 32 * 32
CASE = {
    "name": "bodies",
    "inputs": {
        "images": {
            "generator": "ellipsoids",
            "parameters": {"size": [16, 48, 48], "spacing_mm": [5, 5, 5], "bodies": [{"radii_mm": [30, 30, 30], "value": 1000}]},
        }
    },
    "expect": {"segments": {"ball": {"volume_ml": 113, "within": 20}}},
}


class Brighter(torch.nn.Module):  # type: ignore[name-defined, misc]
    """Logits of two classes, pixel by pixel."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([0.5 - x, x - 0.5], dim=1)


def write_model(models: Path, name: str, *, cpu_fallback: bool) -> None:
    folder = models / name
    folder.mkdir(parents=True)
    steps = {
        "preprocess": [{"normalise": {"kind": "scale", "scale": 0.02}}],
        "infer": {"sliding_window": {"size": [8, 32, 32], "overlap": 0.25, "multiple": 8}, "batch": 4},
        "postprocess": [{"argmax": {}}],
    }
    outputs = {
        "segments": [{**SEGMENT, "label_value": 1}],
        "measurements": [{**VOLUME, "of": "volume_ml", "segment": "ball"}],
    }
    shapes = {"min": [1, 1, 8, 8, 8], "opt": [4, 1, 8, 32, 32], "max": [4, 1, 8, 64, 64]}
    engines = {"backends": ["torch"], "cpu_fallback": cpu_fallback, "profiles": {"x": shapes}}
    manifest = whole_manifest({"name": name, "steps": steps, "outputs": outputs, "engines": engines, "verification": {"cases": [CASE]}})
    manifest["network"] = {"file": "network.pt", "format": "torchscript", "inputs": {"x": "images"}, "outputs": ["y"]}
    write_torchscript(Brighter(), folder / "network.pt")
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest))


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WorkerHouse]:
    """A worker with one GPU; the models' engines are verified there before any job comes."""
    folder = tmp_path_factory.mktemp("memory")
    for name, allowed in (("shrinks", False), ("falls", True), ("fails", False)):
        write_model(folder / "models", name, cpu_fallback=allowed)
    made = WorkerHouse(folder, {"odd-good": {}}, "verify_engines: false")
    hook = folder / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(STAND_IN)
    made.environment["PYTHONPATH"] = f"{hook}:{made.environment['PYTHONPATH']}"
    made.environment["LD_LIBRARY_PATH"] = str(driver(folder / "driver", 1))
    command = [sys.executable, "-m", "dicom_node", "models", "verify", "--config", str(folder / "node.yaml")]
    done = subprocess.run(command, env=made.environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr + done.stdout
    (made.notes / "calls").unlink()
    made.start()
    yield made
    made.close()


def run(house: WorkerHouse, model: str, limit: int, rule: str = "") -> tuple[Job, dict[str, Any]]:
    """Run a job where the GPU takes as many pixels in one call."""
    (house.notes / f"pixels-{model}").write_text(str(limit))
    job = house.order(model, house.study(16), rule=rule)
    house.wait_until_all_ended()
    ended = house.job(job)
    return ended, house.trace(job) if ended.state is JobState.DONE else {}


def volume(house: WorkerHouse, job: Job) -> float:
    found = house.read(lambda session: queries.job_findings(session, job.id))["measurements"]["volume"]["value"]
    assert found > 0
    return float(found)


def test_job_whose_batch_is_too_large_for_the_gpu_ends_well_with_smaller_ones(house: WorkerHouse) -> None:
    whole, trace = run(house, "shrinks", 4 * WINDOW, "whole")
    assert (trace["device"].startswith("NVIDIA L4"), trace["fallback"]) == (True, "")
    smaller, trace = run(house, "shrinks", WINDOW, "smaller")
    assert (smaller.state, smaller.attempt) == (JobState.DONE, 1), smaller.reason
    assert trace["device"].startswith("NVIDIA L4")
    assert trace["fallback"] == "memory ran out; inferred again in smaller pieces"
    batches = [p.removeprefix("batch=") for s in trace["steps"] if s["name"] == "sliding_window" for p in s["parameters"] if "batch=" in p]
    assert batches == ["4", "2", "1"], "each try is in the trace"
    assert volume(house, smaller) == volume(house, whole), "a smaller batch changes nothing"


def test_job_whose_window_is_too_large_ends_well_with_smaller_windows(house: WorkerHouse) -> None:
    whole, _ = run(house, "shrinks", 4 * WINDOW, "whole-window")
    smaller, trace = run(house, "shrinks", WINDOW // 4, "smaller-window")
    assert (smaller.state, smaller.attempt) == (JobState.DONE, 1), smaller.reason
    sizes = [p for s in trace["steps"] if s["name"] == "sliding_window" for p in s["parameters"] if p.startswith("size=")]
    assert sizes[0] != sizes[-1]
    assert volume(house, smaller) == volume(house, whole)
    _, trace = run(house, "shrinks", 4 * WINDOW, "whole-again")
    assert trace["fallback"] == "", "the next job has pieces of the usual size"


def test_gpu_that_has_no_room_for_the_smallest_piece_gives_way_to_the_cpu_where_the_bundle_allows_it(house: WorkerHouse) -> None:
    job, trace = run(house, "falls", 1)
    assert (job.state, job.attempt) == (JobState.DONE, 1), job.reason
    assert not trace["device"].startswith("NVIDIA")
    assert trace["fallback"].startswith("the device had too little memory for it a short while ago")
    assert volume(house, job) > 0
    again, trace = run(house, "falls", 1, "again")
    assert (again.state, trace["device"].startswith("NVIDIA")) == (JobState.DONE, False)
    assert "model_on_cpu" in house.log()


def test_gpu_that_has_no_room_fails_the_job_with_the_reason_where_the_cpu_is_not_allowed(house: WorkerHouse) -> None:
    job, _ = run(house, "fails", 1)
    assert job.state is JobState.FAILED
    assert job.reason.startswith("out-of-memory: NVIDIA L4")
    assert "too little memory for the model, in the smallest pieces that it can take too" in job.reason
    assert "engines.cpu_fallback of model.yaml would let it run on the CPU" in job.reason
    assert house.results(job.id) == []


def test_gpu_that_is_lost_gives_way_to_the_cpu_where_the_bundle_allows_it(house: WorkerHouse) -> None:
    """The last test of the module: the worker leaves the device alone from here on."""
    (house.notes / "lost-shrinks").touch()
    job_id = house.order("shrinks", house.study(16), rule="lost")
    house.wait_for(lambda: "the device failed in" in house.job(job_id).reason)
    assert (house.job(job_id).state, house.job(job_id).attempt) == (JobState.QUEUED, 1)
    (house.notes / "lost-shrinks").unlink()
    (house.notes / "pixels-falls").unlink(missing_ok=True)
    on_cpu = house.order("falls", house.study(16), rule="lost")
    house.wait_until_all_ended(90)
    job, trace = house.job(job_id), house.trace(job_id)
    assert (job.state, job.attempt, trace["device"].startswith("NVIDIA")) == (JobState.DONE, 2, True), "it may run nowhere else"
    job, trace = house.job(on_cpu), house.trace(on_cpu)
    assert (job.state, job.attempt, trace["device"].startswith("NVIDIA")) == (JobState.DONE, 1, False)
    assert trace["fallback"].startswith("the device was lost a short while ago")
