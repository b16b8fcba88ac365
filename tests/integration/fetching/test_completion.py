"""Rules that ask archives before they decide: from the question to the job, with real archives."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml
from pydicom.dataset import Dataset

from dicom_node.config import load_configuration
from dicom_node.domain.jobs import Job
from dicom_node.jobs import queue
from dicom_node.pipeline.closing import AvailableModel
from dicom_node.pipeline.fetching import Fetching, FetchThread
from dicom_node.pipeline.intake import Intake
from dicom_node.pipeline.surroundings import through_the_database
from dicom_node.storage import queries
from dicom_node.storage.visits import VisitFiles
from tests.acceptance.orthanc import Orthanc
from tests.integration.fetching.archives import archived
from tests.integration.fetching.node import FetchNode
from tests.integration.query_peers import Dcmqrscp
from tests.phantoms import chest_series


class DecidingNode(FetchNode):
    """A node whose intake decides."""

    def decide_by(self, **rule: object) -> None:
        common = {"name": "sure", "match": {"Modality": "CT"}, "model": "chest-ct-densitometry"}
        (self.folder / "rules.yaml").write_text(yaml.safe_dump({"rules": [{**common, **rule}]}, sort_keys=False))
        self.configuration = load_configuration(self.folder / "node.yaml")
        thread = self._thread = FetchThread(Fetching(self.configuration, self.database, self.files, lambda: None))
        models = {"chest-ct-densitometry": AvailableModel("1", "digest")}
        surroundings = through_the_database(VisitFiles(self.files.run), thread.look)
        self.intake = Intake(self.configuration, self.database, self.files, models, surroundings)

    def index(self) -> None:
        """Instead of the index alone: what the pipeline's loop does."""
        self.intake.index_pending(lambda: True)
        self.intake.close_due(datetime.now(UTC))

    def job_of(self, study: str) -> Job:
        """Wait for the study's job."""
        self.until(lambda: self._jobs(study))
        [job] = self._jobs(study)
        return job

    def waits(self, study: str) -> str:
        with self.database.transaction() as session:
            [found] = queries.studies(session, 1, study)
        return "; ".join(wait["reason"] for wait in found.waits)

    def _jobs(self, study: str) -> list[Job]:
        with self.database.transaction() as session:
            return [job for n in queries.job_ids(session, 10, study_instance_uid=study) if (job := queue.get(session, n))]


@pytest.fixture
def deciding(sources: list[dict[str, object]], node_port: int, tmp_path: Path) -> Iterator[DecidingNode]:
    running = DecidingNode(tmp_path, sources)
    running.listen(node_port)
    yield running
    running.close()


def when(**options: object) -> dict[str, object]:
    return {"quiet": "200ms", "max_wait": "1h", **options}


def uid_of(data_sets: list[Dataset]) -> str:
    return str(data_sets[0].StudyInstanceUID)


@pytest.mark.parametrize("source", ["get", "dcmqrscp"])
def test_rule_waits_until_what_the_archive_counts_has_come(
    deciding: DecidingNode, pacs: Orthanc, dcmqrscp: Dcmqrscp, tmp_path: Path, source: str
) -> None:
    slices = chest_series()[:5]
    archived(dcmqrscp if source == "dcmqrscp" else pacs, tmp_path / "archive", slices)
    deciding.decide_by(complete_when=when(expected_count=source))
    deciding.receive(slices[:3])
    deciding.until(lambda: deciding.waits(uid_of(slices)) == f"3 of 5 instances that {source} counts")
    deciding.receive(slices[3:])
    job = deciding.job_of(uid_of(slices))
    assert (job.key.revision, len(job.inputs[0].sop_instance_uids)) == (1, 5)


@pytest.mark.parametrize("source", ["get", "move", "web"])
def test_rule_has_missing_instances_fetched_and_runs_on_all(deciding: DecidingNode, pacs: Orthanc, tmp_path: Path, source: str) -> None:
    slices = chest_series()[:5]
    archived(pacs, tmp_path / "archive", slices)
    deciding.decide_by(complete_when=when(expected_count=source, fetch_missing=source))
    deciding.receive(slices[:3])
    job = deciding.job_of(uid_of(slices))
    assert (job.key.revision, len(job.inputs[0].sop_instance_uids)) == (1, 5)


def test_rule_runs_with_the_prior_that_was_fetched(deciding: DecidingNode, pacs: Orthanc, tmp_path: Path) -> None:
    now = chest_series(PatientID="GROWTH", StudyDate="20240102")[:4]
    before = chest_series(PatientID="GROWTH", StudyDate="20230102")[:4]
    archived(pacs, tmp_path / "archive", before)
    prior = {"within": "5y", "source": "get", "on_missing": "skip"}
    deciding.decide_by(inputs={"now": {}, "before": {"match": {"Modality": "CT"}, "prior": prior}}, complete_when=when())
    deciding.receive(now)
    job = deciding.job_of(uid_of(now))
    assert [(i.name, i.study_instance_uid) for i in job.inputs] == [("now", uid_of(now)), ("before", uid_of(before))]
