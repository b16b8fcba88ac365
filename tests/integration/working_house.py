"""A node in one process: real files, database, intake, worker and models; nothing listens."""

from __future__ import annotations

import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pydicom
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dsutils import encode
from sqlmodel import col, select

from dicom_node.config import Configuration
from dicom_node.domain.durability import Durability
from dicom_node.domain.instances import AssociationPeer
from dicom_node.domain.jobs import Delivery, Job, JobState, StoredResult
from dicom_node.domain.studies import StudyState
from dicom_node.jobs import queue
from dicom_node.pipeline.closing import available_models
from dicom_node.pipeline.intake import Intake
from dicom_node.pipeline.worker import Worker
from dicom_node.scp.door import Door, DoorSettings, InstanceKind
from dicom_node.storage import Database, InstanceFiles, deliveries, index, queries, revisions
from dicom_node.storage.tables import JobRow
from tests.conftest import ROOT
from tests.unit.test_config import NODE, load

LATER = timedelta(hours=1)
DENSITOMETRY, SECOND = "chest-ct-densitometry", "second-look"


class WorkingHouse:
    """Two bundles of one network: `chest-ct-densitometry` and `second-look`."""

    def __init__(self, folder: Path, database: Database, files: InstanceFiles, rules: str, node: str = NODE) -> None:
        for name in (DENSITOMETRY, SECOND):
            copied = folder / "models" / name
            shutil.copytree(ROOT / "config" / "models" / DENSITOMETRY, copied, dirs_exist_ok=True)
            manifest = copied / "model.yaml"
            manifest.write_text(manifest.read_text("utf-8").replace(f"name: {DENSITOMETRY}", f"name: {name}"))
        self.configuration: Configuration = load(folder, node.replace("MODELS", str(folder / "models")), rules)
        self.database, self.files = database, files
        self._door = Door(files, DoorSettings("test", Durability.NONE, min_free_bytes=0))
        self._intake = Intake(self.configuration, database, files, available_models(self.configuration))
        self.worker = Worker("worker-0", self.configuration, database, files)

    def receive(self, data_sets: list[Dataset]) -> list[int]:
        """Take instances, let the study be complete, and return the ids of the jobs that follow."""
        for ds in data_sets:
            content = encode(ds, is_implicit_vr=False, is_little_endian=True)
            assert content is not None
            kind = InstanceKind(ds.SOPClassUID, ds.SOPInstanceUID, ExplicitVRLittleEndian)
            self._door.keep(AssociationPeer("PACS", "AINODE", "127.0.0.1"), kind, [content])
        self._intake.index_pending(lambda: True)
        return self._decided()

    def run_by_hand(self, study_instance_uid: str, rule: str) -> list[int]:
        """Let a rule decide on a study now, as `studies run` does; returns the ids of the jobs that follow."""
        with self.database.transaction() as session:
            revisions.ask_run(session, study_instance_uid, rule, datetime.now(UTC), even_held=False)
        return self._decided()

    def quarantine(self, study_instance_uid: str) -> None:
        """Let the study mix patients, as instances that came meanwhile may."""
        with self.database.transaction() as session:
            row = revisions.study_row(session, study_instance_uid)
            index.change_study(session, row, StudyState.QUARANTINED, datetime.now(UTC), "instances differ in PatientID")

    def _decided(self) -> list[int]:
        created = self._intake.close_due(datetime.now(UTC) + LATER)
        with self.database.transaction() as session:
            for row in session.exec(select(JobRow).where(col(JobRow.id).in_(created))):
                row.next_attempt_at = row.created_at = datetime.now(UTC)  # made later, and due now
        return created

    def work(self) -> list[Job]:
        """Run every job that is due; return all jobs, oldest first."""
        while self.worker.run_one():
            pass
        return self.jobs()

    def jobs(self) -> list[Job]:
        with self.database.transaction() as session:
            return [job for n in sorted(queries.job_ids(session, 1000)) if (job := queue.get(session, n))]

    def job_of(self, rule: str, revision: int = 1) -> Job:
        [job] = [j for j in self.jobs() if (j.key.rule, j.key.revision) == (rule, revision)]
        return job

    def results(self, job: Job) -> list[StoredResult]:
        with self.database.transaction() as session:
            return deliveries.results_of(session, job.id)

    def report(self, job: Job) -> pydicom.FileDataset:
        [path] = [r.path for r in self.results(job) if r.kind == "SR"]
        return pydicom.dcmread(path)

    def owed(self, job: Job) -> list[Delivery]:
        with self.database.transaction() as session:
            return deliveries.of_job(session, job.id)

    def reasons(self, job: Job) -> list[str]:
        with self.database.transaction() as session:
            return [e.reason for e in queries.job_events(session, job.id)]

    def traces(self, study_instance_uid: str, revision: int = 1) -> dict[str, tuple[str, str]]:
        """Outcome and reason by rule."""
        with self.database.transaction() as session:
            [found] = [r for r in queries.revisions(session, study_instance_uid) if r.revision == revision]
        return {t["rule"]: (t["outcome"], t["reason"]) for t in found.traces}

    def findings(self, job: Job) -> dict[str, object]:
        with self.database.transaction() as session:
            return queries.job_findings(session, job.id)

    def clear_shadow(self, job: Job) -> None:
        """Let the results of a shadow run be sent, as after a change of the rule."""
        with self.database.transaction() as session:
            session.exec(select(JobRow).where(JobRow.id == job.id)).one().shadow = False

    def states(self) -> dict[str, JobState]:
        return {job.key.rule: job.state for job in self.jobs()}
