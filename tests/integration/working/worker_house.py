"""A worker in a process of its own, with real bundles, files and database; jobs are made by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dsutils import encode
from sqlmodel import Session, col, select

from dicom_node.domain.durability import Durability
from dicom_node.domain.instances import AssociationPeer
from dicom_node.domain.jobs import Job, JobKey, JobState
from dicom_node.domain.routing import JobInput, RouteDecision
from dicom_node.domain.rules import Priority
from dicom_node.inference import find_bundles
from dicom_node.jobs import queue
from dicom_node.ops.wakeup import ring
from dicom_node.pipeline.intake import Intake
from dicom_node.scp.door import Door, DoorSettings, InstanceKind
from dicom_node.storage import Database, InstanceFiles, deliveries, queries
from dicom_node.storage.tables import JobRow
from tests import odd_models
from tests.conftest import ROOT
from tests.phantoms import chest_series
from tests.unit.test_config import load

NODE = """\
ae_title: AINODE
dicom: {{host: 127.0.0.1, port: 11112}}
data_dir: data
database: sqlite:///{folder}/node.db
destinations:
  - {{name: pacs, ae_title: ORTHANC, host: 127.0.0.1, port: 4242}}
models_dir: models
workers: {{threads: 1, model_attempts: 1, {workers}}}
"""
RULES = "rules:\n  - {{name: any, match: {{Modality: CT}}, model: {model}, send_to: [pacs]}}\n"
ENDED = (JobState.DONE, JobState.DELIVERING, JobState.FAILED, JobState.CANCELLED)


class WorkerHouse:
    def __init__(self, folder: Path, bundles: dict[str, dict[str, Any]], workers: str = "") -> None:
        self.folder, self.notes = folder, folder / "notes"
        self.notes.mkdir()
        package = folder / "package"
        package.mkdir()
        self.environment = {
            **os.environ,
            "PYTHONPATH": f"{odd_models.install(package)}{os.pathsep}{ROOT}",
            "ODD_NOTES": str(self.notes),
        }
        for name, sections in bundles.items():
            odd_models.write_bundle(folder / "models", name, **sections)
        node = NODE.format(folder=folder, workers=workers)
        self.configuration = load(folder, node, RULES.format(model=next(iter(bundles))))
        self.files = InstanceFiles(self.configuration.data_dir)
        self.files.prepare()
        self.database = Database(self.configuration.node.database)
        self.database.migrate()
        sys.path.append(str(package))  # bundles are checked against the models that are installed
        try:
            self.bundles = find_bundles(self.configuration.node.models_dir)
        finally:
            sys.path.remove(str(package))
        self._workers: dict[str, subprocess.Popen[bytes]] = {}

    def receive(self, series: list[Dataset]) -> JobInput:
        door = Door(self.files, DoorSettings("test", Durability.NONE, min_free_bytes=0))
        for data_set in series:
            content = encode(data_set, is_implicit_vr=False, is_little_endian=True)
            assert content is not None
            kind = InstanceKind(data_set.SOPClassUID, data_set.SOPInstanceUID, ExplicitVRLittleEndian)
            door.keep(AssociationPeer("PACS", "AINODE", "127.0.0.1"), kind, [content])
        Intake(self.configuration, self.database, self.files, {}).index_pending(lambda: True)
        uids = tuple(str(d.SOPInstanceUID) for d in series)
        return JobInput("image", str(series[0].StudyInstanceUID), str(series[0].SeriesInstanceUID), uids)

    def study(self, slices: int = 3) -> JobInput:
        return self.receive(chest_series()[:slices])

    def order(self, model: str, *inputs: JobInput, rule: str = "", priority: Priority = Priority.NORMAL) -> int:
        """Make a job; one second ago, so that jobs keep the order in which they are made."""
        key = JobKey(inputs[0].study_instance_uid, 1, rule or model, self.bundles[model].digest)
        new = queue.NewJob(key, RouteDecision(key.rule, model, inputs, (), priority), "1.0", 12)
        with self.database.transaction() as session:
            made = queue.create(session, new, datetime.now(UTC) - timedelta(seconds=1))
            assert made is not None
        ring(self.files.run, "worker")
        return made.id

    def start(self, name: str = "worker-0") -> None:
        (self.files.run / "configuration.json").write_text(self.configuration.model_dump_json())
        command = [sys.executable, "-m", "dicom_node", "work", "--config", str(self.folder / "node.yaml"), "--name", name]
        with (self.folder / f"{name}.log").open("ab") as log:
            self._workers[name] = subprocess.Popen(command, env=self.environment, stderr=log, stdin=subprocess.DEVNULL)

    def kill(self, name: str = "worker-0") -> None:
        self._workers[name].kill()
        self._workers[name].wait()

    def stop(self, name: str = "worker-0") -> int:
        self._workers[name].send_signal(signal.SIGTERM)
        return self._workers[name].wait(30)

    def close(self) -> None:
        for worker in self._workers.values():
            if worker.poll() is None:
                worker.kill()
                worker.wait()
        self.database.close()

    def log(self, name: str = "worker-0") -> str:
        return (self.folder / f"{name}.log").read_text()

    def noted(self, what: str) -> list[int]:
        path = self.notes / what
        return [int(line) for line in path.read_text().split()] if path.exists() else []

    def job(self, job_id: int) -> Job:
        with self.database.reading() as session:
            job = queue.get(session, job_id)
        assert job is not None
        return job

    def jobs(self) -> list[Job]:
        with self.database.reading() as session:
            return [job for n in sorted(queries.job_ids(session, 1000)) if (job := queue.get(session, n))]

    def read(self, question: Callable[[Session], Any]) -> Any:
        with self.database.reading() as session:
            return question(session)

    def results(self, job_id: int) -> list[str]:
        with self.database.reading() as session:
            return sorted(f"{r.kind}-{r.number}" for r in deliveries.results_of(session, job_id))

    def trace(self, job_id: int) -> dict[str, Any]:
        trace = self.read(lambda session: queries.job_trace(session, job_id))
        assert trace is not None
        return json.loads(json.dumps(trace))  # type: ignore[no-any-return]

    def timings(self, job_id: int) -> dict[str, float]:
        return self.read(lambda session: queries.job_timings(session, job_id))  # type: ignore[no-any-return]

    def wait_for(self, condition: Callable[[], object], limit_s: float = 30.0) -> None:
        deadline = time.monotonic() + limit_s
        while not condition():
            assert time.monotonic() < deadline, "\n".join(self.log(name)[-3000:] for name in self._workers) + str(self.jobs())
            time.sleep(0.01)

    def wait_until_all_ended(self, limit_s: float = 60.0) -> list[Job]:
        self.wait_for(lambda: not self.read(_unended), limit_s)
        return self.jobs()


def _unended(session: Session) -> int:
    return len(session.exec(select(JobRow.id).where(col(JobRow.state).not_in([str(s) for s in ENDED]))).all())
