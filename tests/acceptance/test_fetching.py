"""Fetching by the daemon as it runs, killed in the middle, from Orthanc over a slow line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_node.domain.fetches import Fetch, FetchState
from dicom_node.domain.rules import Prior
from dicom_node.domain.studies import StudyState
from dicom_node.storage import Database, fetches, index, queries
from tests.acceptance.daemon import MODEL, Daemon
from tests.acceptance.orthanc import Orthanc
from tests.conftest import free_port
from tests.integration.query_peers import SlowLine
from tests.phantoms import chest_series, write

pytestmark = [pytest.mark.acceptance, pytest.mark.timeout(600)]
PRIOR = Prior(timedelta(days=1000), ("BodyPartExamined",), 1, "archive", timedelta(minutes=3))
CURRENT = chest_series()[:2]
EARLIER = chest_series(StudyDate="20230101")
STUDY, PRIOR_STUDY = str(CURRENT[0].StudyInstanceUID), str(EARLIER[0].StudyInstanceUID)
KILLS = 2


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    """A node whose only rule takes nothing that comes here, beside an archive that has the current study and an earlier one."""
    port = free_port()
    pacs = Orthanc(tmp_path / "pacs", port, DicomAlwaysAllowFind=True, DicomAlwaysAllowGet=True)
    running = Daemon(tmp_path / "node", pacs.dicom_port, port=port)
    line = None
    try:
        pacs.start()
        pacs.add(write([*CURRENT, *EARLIER], tmp_path / "archived"))
        line = SlowLine(pacs.dicom_port, 60_000)
        running.node["query_sources"] = [{"name": "archive", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": line.port}]
        inputs = {"now": {}, "before": {"match": {"Modality": "CT"}, "prior": {"within": "3y", "source": "archive"}}}
        running.rules = {"rules": [{"name": "growth", "match": {"Modality": "MR"}, "inputs": inputs, "model": MODEL}]}
        running.write()
        running.start()
        yield running
    finally:
        running.close()
        if line is not None:
            line.close()
        pacs.close()


def test_pipeline_that_is_killed_while_it_fetches_goes_on(daemon: Daemon, tmp_path: Path) -> None:
    """The prior comes whole, is taken once, and starts nothing; the missing slice comes as an ordinary arrival."""
    [image, _] = write(CURRENT, tmp_path / "current")
    assert daemon.run("import", str(image)).returncode == 0
    database = Database(f"sqlite:///{daemon.folder / 'data' / 'node.db'}")
    try:
        until(lambda: STUDY in states(database))
        now = datetime.now(UTC)
        with database.transaction() as session:
            fetches.ask_prior(session, STUDY, "growth", "before", PRIOR, now)
        seen = 0
        for _ in range(KILLS):
            until(lambda seen=seen: came(daemon) > seen or request(database).state is FetchState.DONE)  # type: ignore[misc]
            seen = came(daemon)
            killed = daemon.child("pipeline-0")
            daemon.kill_child("pipeline-0")
            until(lambda killed=killed: daemon.child("pipeline-0") != killed)  # type: ignore[misc]
        daemon.kill()
        daemon.start()
        until(lambda: request(database).state.is_final)
        assert (request(database).state, request(database).reason) == (FetchState.DONE, "1 earlier study(ies) found")
        with database.transaction() as session:
            [found] = fetches.prior_searches(session, STUDY)
            assert [s.study_instance_uid for s in found.studies] == [PRIOR_STUDY]
            assert index.instances_by_series(session, PRIOR_STUDY) == {str(EARLIER[0].SeriesInstanceUID): len(EARLIER)}
            assert queries.job_ids(session, 10) == []
            fetches.ask_missing(session, STUDY, "archive", datetime.now(UTC), datetime.now(UTC) + timedelta(minutes=2))
        assert states(database)[PRIOR_STUDY] is StudyState.PRIOR
        until(lambda: request(database).state.is_final)
        assert request(database).reason == "1 missing instance(s) came by C-GET"
    finally:
        database.close()
    listed = json.loads(daemon.run("fetches", "list", "--json").stdout)
    assert [(f["kind"], f["state"]) for f in listed] == [("missing", "DONE"), ("prior", "DONE")]
    assert "prior for input before of rule growth" in daemon.run("fetches", "list").stdout
    assert f"earlier study {PRIOR_STUDY}: taken" in daemon.run("fetches", "show", str(listed[1]["id"])).stdout
    assert "asked for missing instances (archive): DONE" in daemon.run("studies", "show", STUDY).stdout
    assert daemon.run("fetches", "show", "4711").returncode == 1
    assert str(CURRENT[0].PatientID) not in daemon.log()


def request(database: Database) -> Fetch:
    with database.transaction() as session:
        return fetches.recent(session, 1)[0]


def states(database: Database) -> dict[str, StudyState]:
    with database.transaction() as session:
        return {s.study_instance_uid: s.state for s in queries.studies(session, 10)}


def came(daemon: Daemon) -> int:
    """Instances of the node's folders, indexed or not."""
    data = daemon.folder / "data"
    return len([*data.glob("incoming/*.dcm"), *data.glob("studies/*/*/*.dcm")])


def until(condition: Callable[[], bool]) -> None:
    Orthanc.wait_until(condition, 100)
