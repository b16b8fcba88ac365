"""Rules that follow a result, with the real model on the phantom."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from pydicom.uid import CTImageStorage
from pynetdicom import AE, evt
from pynetdicom.sop_class import _STORAGE_CLASSES  # type: ignore[attr-defined]

from dicom_node.config import dump_snapshot
from dicom_node.domain.jobs import DeliveryState, JobState
from dicom_node.jobs import queue
from dicom_node.pipeline.result_files import write_results
from dicom_node.pipeline.sender import Sender
from dicom_node.pipeline.worker import Worker
from dicom_node.pipeline.working import recording
from dicom_node.storage import Database, InstanceFiles
from tests.conftest import ROOT, free_port
from tests.integration.working_house import DENSITOMETRY, SECOND, WorkingHouse
from tests.phantoms import chest_series
from tests.unit.test_config import NODE

WARD = "  - {name: ward, ae_title: WARD, host: 127.0.0.1, port: 4243}\nmodels_dir"
TWO_DESTINATIONS = NODE.replace("models_dir", WARD)
FIRST = """\
rules:
  - name: chest
    match: {Modality: CT}
    model: chest-ct-densitometry
    send_to: [pacs]
"""
LOW_DENSITY_TO_WARD = """\
  - name: low-density-to-ward
    match: {BodyPartExamined: CHEST}
    after: {model: chest-ct-densitometry, when: 'result.measurements["mean_hu"].value < -800.0'}
    send_to: [ward]
"""
SECOND_LOOK = """\
  - name: second-look
    match: {Modality: CT}
    after: {model: chest-ct-densitometry, when: 'result.finding("Both lungs").present && result.segments["lungs"].volume_ml > 100.0'}
    model: second-look
    priority: stat
"""
SECOND_TO_WARD = """\
  - name: second-to-ward
    match: {Modality: CT}
    after: {model: second-look}
    send_to: [ward]
"""
CLEAR_LUNGS_LOOK = """\
  - name: clear-lungs-look
    match: {Modality: CT}
    after: {model: chest-ct-densitometry, when: '!result.finding("below -950 HU").present'}
    model: second-look
"""


def house_with(folder: Path, database: Database, files: InstanceFiles, *rules: str) -> WorkingHouse:
    return WorkingHouse(folder, database, files, FIRST + "".join(rules), TWO_DESTINATIONS)


def where(house: WorkingHouse, rule: str) -> set[str]:
    return {d.destination for d in house.owed(house.job_of(rule))}


def test_result_sends_to_a_second_destination_and_starts_a_second_model(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    house = house_with(tmp_path, database, files, LOW_DENSITY_TO_WARD, SECOND_LOOK, SECOND_TO_WARD, CLEAR_LUNGS_LOOK)
    series = chest_series()
    study = series[0].StudyInstanceUID
    house.receive(series)
    assert [j.key.rule for j in house.jobs()] == ["chest"]
    assert {rule: outcome for rule, (outcome, _) in house.traces(study).items() if rule != "chest"} == dict.fromkeys(
        ["low-density-to-ward", "second-look", "second-to-ward", "clear-lungs-look"], "after"
    )
    first, second = house.work()
    assert (second.key.rule, second.model, second.priority) == ("second-look", SECOND, "stat")
    assert second.inputs == first.inputs
    assert (where(house, "chest"), where(house, "second-look")) == ({"pacs", "ward"}, {"ward"})
    assert (first.state, second.state) == (JobState.DELIVERING, JobState.DELIVERING)
    assert len(house.owed(first)) == 2 * len(house.results(first)) == 18
    assert "rule low-density-to-ward sends them to ward" in first.reason
    traces = house.traces(study)
    assert traces["low-density-to-ward"] == ("run", f"after job {first.id}: sends the result of {DENSITOMETRY} to ward")
    assert traces["second-look"] == ("run", f"after job {first.id}: runs {SECOND} on 24 instances")
    assert traces["second-to-ward"][0] == "run"
    assert traces["clear-lungs-look"][0] == "no-match"
    assert "did not meet `after.when`: the expression is false" in traces["clear-lungs-look"][1]


def test_images_go_on_when_a_result_asks_for_it(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    images_to_ward = LOW_DENSITY_TO_WARD.replace("send_to", "forward_to").replace("low-density", "images")
    house = house_with(tmp_path, database, files, images_to_ward, images_to_ward.replace("images", "never").replace("< -800", "> 800"))
    series = chest_series()
    house.receive(series)
    assert [j.key.rule for j in house.jobs()] == ["chest"]
    house.work()
    [first, images] = house.jobs()
    assert (images.key.rule, images.model, images.state) == ("images-to-ward", "forward", JobState.DELIVERING)
    assert {d.result.sop_instance_uid for d in house.owed(images)} == {str(ds.SOPInstanceUID) for ds in series}
    traces = house.traces(series[0].StudyInstanceUID)
    assert traces["images-to-ward"] == ("run", f"after job {first.id}: forwards 24 instances of 1 series to ward")
    assert traces["never-to-ward"][0] == "no-match"
    assert where(house, "chest") == {"pacs"}


def test_findings_are_on_record_without_anything_of_the_patient(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    house = house_with(tmp_path, database, files)
    house.receive(chest_series())
    [job] = house.work()
    found = house.findings(job)
    assert found["model"] == DENSITOMETRY
    assert set(found["measurements"]) == {"lung_volume", "laa_950", "laa_910", "perc15_hu", "mean_hu"}  # type: ignore[call-overload]
    assert found["measurements"]["lung_volume"]["value"] == pytest.approx(found["segments"]["lungs"]["volume_ml"])  # type: ignore[index]
    written = json.dumps(found)
    assert not [value for value in ("Phantom", "PH-4711", "19600229", "ACC-0815") if value in written]


def test_study_that_a_following_rule_does_not_match_is_traced(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    house = house_with(tmp_path, database, files, SECOND_LOOK.replace("match: {Modality: CT}", "match: {BodyPartExamined: HEAD}"))
    series = chest_series()
    house.receive(series)
    [job] = house.work()
    outcome, reason = house.traces(series[0].StudyInstanceUID)["second-look"]
    assert outcome == "no-match"
    assert f"after job {job.id}" in reason
    assert "BodyPartExamined" in reason


REFUSED_TO_WARD = """\
  - name: refused-to-ward
    match: {Modality: CT}
    after: {model: chest-ct-densitometry, when: 'result.outcome == "not-analysed"'}
    send_to: [ward]
"""


def test_run_that_analysed_nothing_is_followed_only_by_the_rule_that_asks_for_it(
    tmp_path: Path, database: Database, files: InstanceFiles
) -> None:
    house = house_with(tmp_path, database, files, CLEAR_LUNGS_LOOK, REFUSED_TO_WARD)
    series = chest_series()[:3]
    house.receive(series)
    [job] = house.work()
    assert job.reason.startswith("not analysed: ")
    assert where(house, "chest") == {"pacs", "ward"}
    traces = house.traces(series[0].StudyInstanceUID)
    assert traces["clear-lungs-look"] == ("no-match", f"job {job.id} analysed nothing, and `after.when` does not ask for that")
    assert traces["refused-to-ward"][0] == "run"


def test_two_runs_of_a_model_start_a_following_rule_once(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    other = FIRST.partition("\n")[2].replace("name: chest", "name: chest-again")
    house = house_with(tmp_path, database, files, other, SECOND_LOOK, LOW_DENSITY_TO_WARD)
    house.receive(chest_series())
    assert sorted(j.key.rule for j in house.work()) == ["chest", "chest-again", "second-look"]
    assert where(house, "chest") == where(house, "chest-again") == {"pacs", "ward"}


def test_worker_killed_in_the_last_transaction_leaves_one_following_job(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    """Killed by signal 9 after everything that follows was written and before the commit."""
    house = house_with(tmp_path, database, files, LOW_DENSITY_TO_WARD, SECOND_LOOK)
    series = chest_series()
    house.receive(series)
    (tmp_path / "snapshot.json").write_text(dump_snapshot(house.configuration))
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from dicom_node.config import load_snapshot\n"
        "from dicom_node.jobs import queue\n"
        "from dicom_node.pipeline.worker import Worker\n"
        "from dicom_node.storage import Database, InstanceFiles\n"
        "finish = queue.finish\n"
        "def killed(session, *rest):\n"
        "    finish(session, *rest)\n"
        "    session.flush()\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
        "queue.finish = killed\n"
        "snapshot, url, folder = sys.argv[1:]\n"
        "Worker('worker-0', load_snapshot(Path(snapshot).read_text()), Database(url), InstanceFiles(Path(folder))).run_one()\n"
    )
    arguments = [str(tmp_path / "snapshot.json"), database.url, str(tmp_path / "data")]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", program, *arguments], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == -9, done.stderr
    assert house.states() == {"chest": JobState.RUNNING}
    assert house.traces(series[0].StudyInstanceUID)["second-look"][0] == "after"
    house.worker = Worker("worker-0", house.configuration, database, files)
    first, second = house.work()
    assert (first.attempt, second.key.rule) == (2, "second-look")
    assert where(house, "chest") == {"pacs", "ward"}
    assert len(house.owed(first)) == 18


def test_results_of_a_shadow_run_start_shadow_rules_only(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    shadowed = FIRST.replace("model: chest", "shadow: true\n    model: chest")
    quiet = SECOND_LOOK.replace("name: second-look", "name: quiet-look\n    shadow: true")
    house = WorkingHouse(tmp_path, database, files, shadowed + LOW_DENSITY_TO_WARD + SECOND_LOOK + quiet, TWO_DESTINATIONS)
    series = chest_series()
    house.receive(series)
    first, second = house.work()
    assert (second.key.rule, second.shadow) == ("quiet-look", True)
    assert house.owed(first) == house.owed(second) == []
    assert {j.state for j in (first, second)} == {JobState.DONE}
    traces = house.traces(series[0].StudyInstanceUID)
    for rule in ("low-density-to-ward", "second-look"):
        assert traces[rule] == ("held-back", f"job {first.id} is a shadow run, which starts shadow rules only")


def test_rule_that_ignores_late_instances_does_not_follow_again(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    ignoring = SECOND_LOOK.replace("priority: stat", "on_late: ignore")
    replacing = SECOND_LOOK.replace("name: second-look", "name: replacing").replace("priority: stat", "on_late: replace")
    house = house_with(tmp_path, database, files, ignoring, replacing)
    series = chest_series()
    study = series[0].StudyInstanceUID
    for part in (series[:20], series[20:]):
        house.receive(part)
        house.work()
    assert sorted((j.key.rule, j.key.revision) for j in house.jobs() if j.key.rule != "chest") == [
        ("replacing", 1),
        ("replacing", 2),
        ("second-look", 1),
    ]
    assert house.traces(study, 2)["second-look"] == ("late", "the rule ran on revision 1 and ignores what came later")
    assert [house.job_of("replacing", revision).replaces for revision in (1, 2)] == [False, True]


def test_job_is_done_when_every_destination_has_everything(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    ports = {name: free_port() for name in ("ORTHANC", "WARD")}
    node = TWO_DESTINATIONS.replace("4242", str(ports["ORTHANC"])).replace("4243", str(ports["WARD"]))
    house = WorkingHouse(tmp_path, database, files, FIRST + LOW_DENSITY_TO_WARD + SECOND_LOOK + SECOND_TO_WARD, node)
    house.receive(chest_series())
    first, second = house.work()
    received: dict[str, list[str]] = {name: [] for name in ports}
    servers = []
    for title, port in ports.items():
        ae = AE(title)
        for uid in (*_STORAGE_CLASSES.values(), CTImageStorage):
            ae.add_supported_context(uid)

        def store(event: evt.Event, title: str = title) -> int:
            received[title].append(str(event.request.AffectedSOPInstanceUID))
            return 0

        servers.append(ae.start_server(("127.0.0.1", port), block=False, evt_handlers=[(evt.EVT_C_STORE, store)]))
    through = threading.Semaphore(0)
    sender = Sender(house.configuration, database, through.release)
    sender.start_due(datetime.now(UTC))
    for _ in ports:
        assert through.acquire(timeout=60)
    sender.close()
    for server in servers:
        server.shutdown()
    assert house.states() == {"chest": JobState.DONE, "second-look": JobState.DONE}
    objects = [[r.sop_instance_uid for r in house.results(job)] for job in (first, second)]
    assert sorted(received["ORTHANC"]) == sorted(objects[0])
    assert sorted(received["WARD"]) == sorted(objects[0] + objects[1])
    assert {d.state for job in (first, second) for d in house.owed(job)} == {DeliveryState.SENT}


def test_bundle_that_is_gone_costs_the_following_job_and_not_the_results(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    house = house_with(tmp_path, database, files, SECOND_LOOK)
    series = chest_series()
    house.receive(series)
    shutil.rmtree(tmp_path / "models" / "second-look")
    [job] = house.work()
    assert job.state is JobState.DELIVERING
    outcome, reason = house.traces(series[0].StudyInstanceUID)["second-look"]
    assert (outcome, f"no bundle of model {SECOND}" in reason) == ("unfit", True)


def test_run_that_lost_its_lease_starts_nothing(
    tmp_path: Path, database: Database, files: InstanceFiles, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = house_with(tmp_path, database, files, SECOND_LOOK)
    series = chest_series()
    house.receive(series)
    read_ahead: list[int] = []

    def lose(*arguments: Any) -> Any:
        with database.transaction() as session:
            queue.recover(session, datetime.now(UTC), owner="worker-0")
        for _ in range(3):  # the worker looks ahead meanwhile, and finds its own job in the queue
            looked, deadline = house.worker._looked_at_s, monotonic() + 2
            while house.worker._looked_at_s == looked and monotonic() < deadline:
                threading.Event().wait(0.01)
        read_ahead.extend(house.worker._ahead)
        return write_results(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(recording, "write_results", lose)
        assert house.worker.run_one()
    assert read_ahead == [], "two runs of one job would be taken for each other"
    assert house.states() == {"chest": JobState.QUEUED}
    assert house.traces(series[0].StudyInstanceUID)["second-look"][0] == "after"
    assert sorted(j.key.rule for j in house.work()) == ["chest", "second-look"]


def test_decision_by_hand_leaves_what_has_followed_as_it_is(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    house = house_with(tmp_path, database, files, LOW_DENSITY_TO_WARD, SECOND_LOOK)
    series = chest_series()
    study = series[0].StudyInstanceUID
    house.receive(series)
    house.work()
    before = house.traces(study)
    assert [house.run_by_hand(study, rule) for rule in before] == [[], [], []]
    after = house.traces(study)
    assert {rule: after[rule] for rule in ("low-density-to-ward", "second-look")} == {
        rule: before[rule] for rule in ("low-density-to-ward", "second-look")
    }
    assert len(house.work()) == 2


def test_nothing_follows_on_a_study_that_was_quarantined_meanwhile(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    house = house_with(tmp_path, database, files, LOW_DENSITY_TO_WARD, SECOND_LOOK)
    series = chest_series()
    study = series[0].StudyInstanceUID
    house.receive(series)
    house.quarantine(study)
    [job] = house.work()
    assert where(house, "chest") == {"pacs"}
    reason = f"the study was quarantined before job {job.id} had a result"
    assert [house.traces(study)[rule] for rule in ("low-density-to-ward", "second-look")] == [("quarantined", reason)] * 2


def test_worker_takes_an_off_peak_job_in_its_hours_only(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    """The hours begin two hours from now; a reload lets any hour do."""
    begin, end = (datetime.now(UTC) + timedelta(hours=n) for n in (2, 3))
    hours = f"workers: {{time_zone: UTC, off_peak: ['{begin:%H:%M}-{end:%H:%M}']}}\n"
    house = WorkingHouse(tmp_path, database, files, FIRST + "    priority: off-peak\n", TWO_DESTINATIONS + hours)
    house.receive(chest_series())
    assert [job.state for job in house.work()] == [JobState.QUEUED]
    node = house.configuration.node
    free = node.workers.model_copy(update={"off_peak": ()})
    house.worker.reconfigure(house.configuration.model_copy(update={"node": node.model_copy(update={"workers": free})}))
    assert [job.state for job in house.work()] == [JobState.DELIVERING]
