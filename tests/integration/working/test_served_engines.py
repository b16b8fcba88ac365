"""Engines behind the gate in a running worker: a served network, verification in a process apart, and what happens when an engine goes."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from time import monotonic
from typing import Any

import numpy as np
import pytest
from onnx import helper

from dicom_node.domain.jobs import Job, JobState
from dicom_node.inference.gate.attempts import Attempts
from dicom_node.inference.gate.subject import Engine
from dicom_node.pipeline.model_engines import NodeEngines, engine_standings, unverified_engines
from dicom_node.storage import Database, InstanceFiles, queries
from tests.certificates import Authority
from tests.commands import dicom_node
from tests.conftest import ROOT
from tests.integration.working_house import WorkingHouse
from tests.kserve_server import Served, serving
from tests.phantoms import chest_series
from tests.unit.inference.steps.bundles import LUNG, ONE, write_bundle
from tests.unit.inference.steps.networks import mean_intensity, model, value
from tests.unit.test_config import NODE

RULES = "rules:\n  - {name: level, match: {Modality: CT}, model: level}\n"
LEVEL = {"id": "level", "label": "Level", "concept": LUNG, "unit": ONE, "of": "level"}
CASE = {
    "name": "ramp",
    "inputs": {"images": {"generator": "gradient", "parameters": {"size": [6, 24, 24], "low": 0, "high": 1003.3}}},
    "expect": {"measurements": {"level": {"value": 500, "within": 100}}},
}


class EngineHouse(WorkingHouse):
    """A model that measures the mean, in a worker that runs."""

    def run(self) -> tuple[Job, dict[str, Any]]:
        """Send a study and run its job; returns the job with its trace."""
        [job_id] = self.receive(chest_series())
        [job] = [job for job in self.work() if job.id == job_id]
        with self.database.transaction() as session:
            trace = queries.job_trace(session, job.id)
        return job, json.loads(json.dumps(trace)) if trace else {}

    def level(self, job: Job) -> float:
        return float(self.findings(job)["measurements"]["level"]["value"])  # type: ignore[index]

    def wait_for(self, condition: Callable[[], object], limit_s: float = 60.0) -> None:
        """Let the worker work until something holds."""
        deadline = monotonic() + limit_s
        while not condition():
            assert monotonic() < deadline
            self.worker._wake.wait(min(self.worker.step(), 0.1))


Make = Callable[..., EngineHouse]


@pytest.fixture
def house(tmp_path: Path, database: Database, files: InstanceFiles, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    made: list[EngineHouse] = []
    monkeypatch.setenv("DICOM_NODE_CONFIG", str(tmp_path / "node.yaml"))
    monkeypatch.setenv("COLUMNS", "400")

    def make(engines: dict[str, Any], *, verifies: bool, network: bytes | None = None, **sections: Any) -> EngineHouse:
        bundle = {"name": "level", "steps": {"infer": "whole"}, "outputs": {"measurements": [LEVEL]}, "engines": engines}
        write_bundle(tmp_path / "models" / "level", network or mean_intensity(), {**bundle, "verification": {"cases": [CASE]}, **sections})
        workers = f"workers: {{threads: 1, verify_engines: {str(verifies).lower()}}}\n"
        made.append(EngineHouse(tmp_path, database, files, RULES, NODE + workers))
        return made[-1]

    yield make
    for one in made:
        one.worker.close()


@pytest.fixture
def served() -> Iterator[Served]:
    pytest.importorskip("tritonclient.http", reason="the extra `triton` is not installed")
    with serving(Served("mean", mean_intensity(), versions=("2",))) as server:
        yield server


def on_server(served: Served) -> dict[str, Any]:
    return {"backends": ["triton"], "triton": {"url": served.address, "model": "mean", "version": "2", "timeout": "5s"}}


MEAN = float(np.mean([ds.pixel_array.astype(float) - 1024 for ds in chest_series()]))


def test_served_network_serves_jobs_after_the_gate_and_the_reference_whenever_the_server_is_away(served: Served, house: Make) -> None:
    node = house(on_server(served), verifies=False)
    job, trace = node.run()
    assert trace["backend"] == "onnxruntime"
    assert node.level(job) == pytest.approx(MEAN, abs=0.01)
    assert f"triton fp32 on {served.address} is not verified" in trace["fallback"]
    assert served.inferences == 0

    done = dicom_node("models", "verify", "level")
    assert done.code == 0, done.err
    assert "triton fp32" in done.out
    assert served.inferences > 0

    seen = served.inferences
    job, trace = node.run()  # the same worker and host: nothing was restarted
    assert (trace["backend"], trace["precision"], trace["device"], trace["fallback"]) == ("triton", "fp32", served.address, "")
    assert trace["verified"]
    assert node.level(job) == pytest.approx(MEAN, abs=0.01)
    assert served.inferences == seen + 1

    served.faults.add("error")
    job, trace = node.run()
    assert (job.state, job.attempt, trace["backend"]) == (JobState.DONE, 1, "onnxruntime")
    assert "triton fp32 on" in trace["fallback"]
    assert "it failed while it served" in trace["fallback"]
    assert node.level(job) == pytest.approx(MEAN, abs=0.01)

    served.faults.clear()
    served.ready = False
    node.worker.close()
    again = house(on_server(served), verifies=False)
    _, trace = again.run()
    assert trace["backend"] == "onnxruntime"
    assert "it cannot be loaded" in trace["fallback"]


def test_server_that_serves_another_network_never_serves_a_job(house: Make) -> None:
    pytest.importorskip("tritonclient.http", reason="the extra `triton` is not installed")
    with serving(Served("mean", _another(), versions=("2",))) as served:
        node = house(on_server(served), verifies=False)
        assert dicom_node("models", "verify", "level").code == 1
        job, trace = node.run()
        assert trace["backend"] == "onnxruntime"
        assert node.level(job) == pytest.approx(MEAN, abs=0.01)
        assert f"triton fp32 on {served.address} failed its verification" in trace["fallback"]
        listed = dicom_node("models", "list").out
        assert "triton fp32 failed its verification" in listed


def test_server_behind_tls_gets_the_token_and_shows_its_certificate(tmp_path: Path, house: Make) -> None:
    pytest.importorskip("tritonclient.http", reason="the extra `triton` is not installed")
    authority = Authority(tmp_path, "ca")
    (tmp_path / "token").write_text("s3cret\n")
    pair = authority.issue("server")
    with serving(Served("mean", mean_intensity(), versions=("2",), token="s3cret"), tls=(pair.certificate, pair.key)) as served:
        place = f"https://127.0.0.1:{served.address.rpartition(':')[2]}"
        triton = {"url": place, "model": "mean", "version": "2", "token_file": str(tmp_path / "token"), "timeout": "5s"}
        house({"backends": ["triton"], "triton": {**triton, "ca_file": str(authority.ca)}}, verifies=False)
        assert dicom_node("models", "verify", "level").code == 0
        assert served.refused == 0
        (tmp_path / "token").write_text("another")
        done = dicom_node("models", "build", "level", "--backend", "triton")
        assert (done.code, "another" in done.out + done.err) == (1, False)
        assert served.refused > 0
        house({"backends": ["triton"], "triton": triton}, verifies=False)  # its authority is not known to the host
        assert dicom_node("models", "build", "level", "--backend", "triton").code == 1


def _another() -> bytes:
    nodes = [helper.make_node("GlobalMaxPool", ["x"], ["pooled"]), helper.make_node("Flatten", ["pooled"], ["level"])]
    return model(nodes, [value("x", ["n", 1, "d", "h", "w"])], [value("level", ["n", 1])])


OPENVINO = {"backends": ["openvino"]}
needs_openvino = pytest.mark.skipif(find_spec("openvino") is None, reason="the extra `openvino` is not installed")


def recorded(node: EngineHouse) -> None:
    """Let the worker work until there are records of the reference and of the other engine, and it knows."""
    records = node.configuration.data_dir / "engines" / "records"
    node.wait_for(lambda: len(list(records.glob("*.json"))) == 2)
    node.wait_for(lambda: node.worker._models._keeper._process is None)  # type: ignore[union-attr]


@needs_openvino
def test_worker_has_an_engine_verified_beside_the_reference_and_takes_it_for_the_next_job(house: Make) -> None:
    node = house(OPENVINO, verifies=True)
    job, trace = node.run()
    assert (trace["backend"], trace["precision"]) == ("onnxruntime", "fp32")
    assert "openvino fp32 is not verified" in trace["fallback"]
    host = node.worker.host_pid
    recorded(node)
    second, trace = node.run()
    assert (trace["backend"], trace["precision"], trace["fallback"]) == ("openvino", "fp32", "")
    assert trace["verified"]
    assert node.worker.host_pid == host, "the host went on"
    assert node.level(second) == pytest.approx(node.level(job), rel=0.01)
    [listed] = [row for row in json.loads(dicom_node("models", "list", "--json").out) if row["name"] == "level"]
    assert (listed["serves"], listed["state"]) == ("openvino fp32", "ready")


@needs_openvino
def test_engine_that_fails_its_verification_leaves_the_reference_and_models_say_why(house: Make) -> None:
    """Sums over a thousand products in another order differ in their last bits, and none may."""
    node = house({**OPENVINO, "tolerance": {"max_error": 0.0, "measurements": 0.0}}, verifies=True, network=_sums())
    node.run()
    recorded(node)
    _, trace = node.run()
    assert (trace["backend"], "openvino fp32 failed its verification" in trace["fallback"]) == ("onnxruntime", True)
    assert "openvino fp32 failed its verification" in dicom_node("models", "list").out
    shown = dicom_node("models", "show", "level").out
    assert "Runs on onnxruntime fp32" in shown
    assert "openvino fp32 failed its verification (ramp: " in shown


def _sums() -> bytes:
    weights = np.random.default_rng(0).normal(1, 0.5, (1, 1, 5, 15, 15)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["sums"]),
        helper.make_node("GlobalAveragePool", ["sums"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["whole"]),
        helper.make_node("Div", ["whole", "count"], ["level"]),
    ]
    return model(nodes, [value("x", ["n", 1, "d", "h", "w"])], [value("level", ["n", 1])], w=weights, count=np.float32(1125))


@needs_openvino
@pytest.mark.parametrize(
    ("what", "words"),
    [("os.kill(os.getpid(), 6)", "its process was killed by signal 6"), ("time.sleep(60)", "it took longer than 0.0001 h and was stopped")],
)
def test_verification_that_dies_or_hangs_costs_nothing_but_itself_and_is_said(
    house: Make, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, what: str, words: str
) -> None:
    monkeypatch.setattr("dicom_node.pipeline.working.engine_keeper._LONGEST_S", 0.36)
    hook = tmp_path / "hook"
    hook.mkdir()
    (hook / "sitecustomize.py").write_text(
        f"import os, sys, time\nif 'dicom_node.pipeline.verifying_process' in sys.orig_argv:\n    {what}\n"
    )
    monkeypatch.setenv("PYTHONPATH", f"{hook}{os.pathsep}{ROOT}")
    node = house(OPENVINO, verifies=True)
    _, trace = node.run()
    assert trace["backend"] == "onnxruntime"
    attempts, digest = Attempts.of_node(node.configuration.data_dir), node.job_of("level").key.model_digest
    node.wait_for(lambda: attempts.find(digest, Engine("openvino", "fp32")))
    job, trace = node.run()
    assert (job.state, trace["backend"]) == (JobState.DONE, "onnxruntime")
    assert f"its verification came to nothing: {words}" in dicom_node("models", "show", "level").out


def test_half_precision_that_is_slower_than_the_reference_is_left_to_whoever_asks_for_it(tmp_path: Path) -> None:
    engines = {"backends": ["onnxruntime"], "precisions": ["fp16", "fp32"]}
    sections = {"name": "level", "steps": {"infer": "whole"}, "outputs": {"measurements": [LEVEL]}, "engines": engines}
    bundle, node = write_bundle(tmp_path / "level", mean_intensity(), sections), NodeEngines(tmp_path / "data", threads=1)
    assert [str(s.candidate.engine) for s in engine_standings(bundle, node) if s.state == "unverified"] == ["onnxruntime fp16"]
    assert unverified_engines(bundle, node) == ()
