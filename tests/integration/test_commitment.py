"""Storage commitment: success for what is on disk unaltered and for nothing else, told once, by either way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, MRImageStorage, generate_uid
from sqlalchemy import text
from typer.testing import CliRunner

from dicom_node.cli.commands import command_line
from dicom_node.cli.doctor import examine
from dicom_node.domain.commitments import STORAGE_COMMITMENT, CommitmentState
from dicom_node.domain.equipment import NODE_MODEL_NAME
from dicom_node.errors import StorageError
from dicom_node.pipeline.reporter import is_overdue
from dicom_node.pipeline.verification import data_set_sha256
from dicom_node.scp.notices.open_report import OpenReports
from dicom_node.storage import Database, InstanceFiles, commitments
from dicom_node.storage.request_files import RequestFolders
from tests.integration.commitment_peer import CommitmentHouse, action_information, ask_on, references, wait_until
from tests.phantoms import chest_series

LATER = timedelta(minutes=1)
STRANGER = (CTImageStorage, "1.2.3.4.5.6")


@pytest.fixture
def house(tmp_path: Path, database: Database, files: InstanceFiles) -> Iterator[CommitmentHouse]:
    built = CommitmentHouse(tmp_path, database, files)
    yield built
    built.close()


def doctor_says(house: CommitmentHouse) -> tuple[bool, str]:
    url = f"sqlite:///{house.files.data_dir.parent / 'node.db'}"
    node = house.configuration.node.model_copy(update={"database": url})
    [found] = [f for f in examine(house.configuration.model_copy(update={"node": node})) if f.check == "commitments"]
    return found.ok, found.message


def path_of(house: CommitmentHouse, uid: str) -> Path:
    [path] = house.files.studies.rglob(f"{uid}.dcm")
    return path


def test_all_on_disk_is_reported_as_success_on_a_new_association(house: CommitmentHouse) -> None:
    series = chest_series()[:5]
    house.store_and_index(series)
    house.peer.listen()
    uid = house.peer.ask(references(series))
    house.verify()
    house.report()
    assert house.peer.reports.got == [(uid, 1, {}, "new")]
    assert house.get(uid).state is CommitmentState.REPORTED
    assert house.get(uid).reported_by == "new association"


def test_each_instance_that_is_not_as_it_arrived_fails_with_its_reason(house: CommitmentHouse) -> None:
    series = chest_series()[:5]
    house.store_and_index(series)
    sound, deleted, altered, wrong_class, cut = (str(d.SOPInstanceUID) for d in series)
    path_of(house, deleted).unlink()
    content = bytearray(path_of(house, altered).read_bytes())
    content[-100] ^= 1
    path_of(house, altered).write_bytes(content)
    path_of(house, cut).write_bytes(path_of(house, cut).read_bytes()[:100])
    wanted = [(MRImageStorage if uid == wrong_class else sop_class, uid) for sop_class, uid in references(series)]
    house.peer.listen()
    uid = house.peer.ask([*wanted, STRANGER])
    house.verify()
    house.report()
    failed = {deleted: 0x0112, altered: 0x0110, wrong_class: 0x0119, cut: 0x0110, STRANGER[1]: 0x0112}
    assert house.peer.reports.got == [(uid, 2, failed, "new")]
    assert sound not in failed


def test_own_result_that_came_back_counts(house: CommitmentHouse) -> None:
    own = chest_series(ManufacturerModelName=NODE_MODEL_NAME)[:1]
    house.store_and_index(own)
    house.peer.listen()
    uid = house.peer.ask(references(own))
    house.verify()
    house.report()
    assert house.peer.reports.got == [(uid, 1, {}, "new")]


def test_different_object_under_the_same_uid_does_not_take_the_first_ones_place(house: CommitmentHouse) -> None:
    series = chest_series()[:1]
    house.store_and_index(series)
    series[0].PatientID = "OTHER"
    house.store_and_index(series)
    path_of(house, series[0].SOPInstanceUID).unlink()
    house.peer.listen()
    uid = house.peer.ask(references(series))
    house.verify()
    house.report()
    assert house.peer.reports.got == [(uid, 2, {str(series[0].SOPInstanceUID): 0x0112}, "new")]


def test_instance_acknowledged_but_not_indexed_yet_is_waited_for(house: CommitmentHouse) -> None:
    series = chest_series()[:3]
    house.peer.store(series)
    house.peer.listen()
    uid = house.peer.ask(references(series))
    house.verify()
    assert house.get(uid).state is CommitmentState.REQUESTED
    house.intake.index_pending(lambda: True)
    house.verify()
    house.report()
    assert house.peer.reports.got == [(uid, 1, {}, "new")]


def test_requestor_that_keeps_its_association_is_told_on_it_and_only_there(house: CommitmentHouse) -> None:
    series = chest_series()[:4]
    house.store_and_index(series)
    house.peer.listen()
    association = house.peer.associate()
    first, second = generate_uid(), generate_uid()
    assert ask_on(association, references(series), first) == 0
    assert ask_on(association, [STRANGER], second) == 0
    house.verify()
    house.report()
    wait_until(lambda: len(house.peer.reports.got) == 2)
    assert association.send_c_store(chest_series()[0]).Status == 0
    house.verify()
    association.release()
    house.report(LATER)
    assert sorted(house.peer.reports.got) == sorted([(first, 1, {}, "same"), (second, 2, {STRANGER[1]: 0x0112}, "same")])
    assert {house.get(uid).reported_by for uid in (first, second)} == {"same association"}


def test_report_refused_on_the_same_association_goes_over_a_new_one(house: CommitmentHouse) -> None:
    house.peer.reports.statuses = [0x0110, 0x0000]
    house.peer.listen()
    association = house.peer.associate()
    uid = generate_uid()
    assert ask_on(association, [STRANGER], uid) == 0
    house.verify()
    assert house.peer.reports.arrived.wait(5)
    wait_until(lambda: RequestFolders(house.files.data_dir).reports.concluded(uid))
    house.verify()
    house.report()
    association.release()
    assert house.peer.reports.got == [(uid, 2, {STRANGER[1]: 0x0112}, "new")]
    assert (house.get(uid).attempt, house.get(uid).state) == (1, CommitmentState.REPORTED)


def test_requestor_that_breaks_off_is_told_on_a_new_association(house: CommitmentHouse) -> None:
    house.peer.listen()
    association = house.peer.associate()
    uid = generate_uid()
    assert ask_on(association, [STRANGER], uid) == 0
    association.abort()
    house.verify()
    wait_until(lambda: not RequestFolders(house.files.data_dir).reports.held(uid))
    house.report()
    assert house.peer.reports.got == [(uid, 2, {STRANGER[1]: 0x0112}, "new")]


def test_peer_that_is_away_is_told_when_it_is_back(house: CommitmentHouse) -> None:
    uid = house.peer.ask([STRANGER])
    house.verify()
    house.report()
    waiting = house.get(uid)
    assert (waiting.state, waiting.attempt) == (CommitmentState.VERIFIED, 1)
    assert "nobody listens there" in waiting.reason
    assert house.reporter.next_due() == waiting.next_attempt_at
    house.restart()
    house.peer.listen()
    house.report(LATER)
    assert [got[0] for got in house.peer.reports.got] == [uid]


def test_refusal_of_one_report_holds_up_no_other(house: CommitmentHouse) -> None:
    house.peer.reports.statuses = [0x0112, 0x0000]
    house.peer.listen()
    refused, taken = house.peer.ask([STRANGER]), house.peer.ask([STRANGER])
    house.verify()
    house.report()
    assert [got[0] for got in house.peer.reports.got] == [taken]
    assert "0112" in house.get(refused).reason


def test_peer_without_an_address_is_shown_as_unreportable(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    house = CommitmentHouse(tmp_path, database, files, report_to=False)
    uid = house.peer.ask([STRANGER])
    house.verify()
    house.report()
    assert house.get(uid).state is CommitmentState.UNREPORTABLE
    assert "report_to names no address for ORTHANC" in house.get(uid).reason
    assert doctor_says(house) == (False, "0 result(s) overdue, 1 given up; asked for by ORTHANC")
    house.close()


def test_report_that_nobody_took_for_a_week_is_given_up_visibly_and_can_be_retried(house: CommitmentHouse) -> None:
    uid = house.peer.ask([STRANGER])
    house.verify()
    with house.database.transaction() as session:
        session.connection().execute(text("UPDATE commitment SET requested_at = '2024-01-01 00:00:00.000000'"))
    assert is_overdue(house.get(uid), datetime.now(UTC))
    assert doctor_says(house) == (False, "1 result(s) overdue, 0 given up; asked for by ORTHANC")
    house.report()
    assert house.get(uid).state is CommitmentState.UNREPORTABLE
    with house.database.transaction() as session:
        session.connection().execute(text("UPDATE commitment SET requested_at = verified_at"))
        assert commitments.reopen(session, uid, datetime.now(UTC))
    house.peer.listen()
    house.report()
    assert house.get(uid).state is CommitmentState.REPORTED
    with house.database.transaction() as session:
        assert not commitments.reopen(session, uid, datetime.now(UTC))


def test_reporter_does_not_spin_while_an_association_is_held(house: CommitmentHouse) -> None:
    association, uid = house.peer.associate(), generate_uid()
    assert ask_on(association, [STRANGER], uid) == 0
    lock = RequestFolders(house.files.data_dir).reports.lock(uid)
    assert lock is None
    house.commitments._offer_answers = lambda: None  # type: ignore[method-assign]  # the receiver is not told
    house.verify()
    house.report()
    assert house.get(uid).attempt == 0
    due = house.reporter.next_due()
    assert due is not None
    assert due > datetime.now(UTC) + timedelta(milliseconds=500)
    association.release()


@pytest.mark.parametrize("way", ["same", "new"])
def test_three_thousand_instances_in_one_request(tmp_path: Path, database: Database, files: InstanceFiles, way: str) -> None:
    """Request and report are several PDUs long, and other requests are answered meanwhile."""
    house = CommitmentHouse(tmp_path, database, files, max_references=3000)
    house.peer.listen()
    wanted = [(CTImageStorage, f"1.2.3.4.5.6.7.8.9.{number}") for number in range(3000)]
    association, uid = house.peer.associate(), generate_uid()
    assert ask_on(association, wanted, uid) == 0
    if way == "new":
        association.release()
        wait_until(lambda: not RequestFolders(files.data_dir).reports.held(uid))
    house.verify()
    if way == "new":
        house.report()
    wait_until(lambda: bool(house.peer.reports.got))
    assert house.peer.reports.got == [(uid, 2, {instance: 0x0112 for _, instance in wanted}, way)]
    if way == "same":
        assert association.send_c_store(chest_series()[0]).Status == 0
        association.release()
    house.close()


def test_commands_show_what_a_peer_was_told(house: CommitmentHouse, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run = partial(CliRunner().invoke, command_line(), env={"DICOM_NODE_CONFIG": str(tmp_path / "node.yaml")})
    assert "No peer has asked" in run(["commitments", "list"]).output
    uid = house.peer.ask([STRANGER])
    house.verify()
    house.report()
    listed = json.loads(run(["commitments", "list", "--json"]).output)
    assert (listed[0]["transaction_uid"], listed[0]["state"], listed[0]["attempt"]) == (uid, "VERIFIED", 1)
    assert "VERIFIED" in run(["commitments", "list"]).output
    shown = run(["commitments", "show", uid]).output
    assert f"0112 no such instance: {STRANGER[1]}" in shown
    assert "nobody listens there" in shown
    assert "asked by ORTHANC at 127.0.0.1, calling AINODE" in shown
    assert "due now" in run(["commitments", "retry", uid]).output
    house.peer.listen()
    house.report()
    assert json.loads(run(["commitments", "show", uid, "--json"]).output)["commitment"]["reported_by"] == "new association"
    assert isinstance(run(["commitments", "retry", uid]).exception, StorageError)


def test_pipeline_killed_after_every_step_still_reports_once(house: CommitmentHouse) -> None:
    series = chest_series()[:3]
    house.peer.store(series)
    uid = house.peer.ask(references(series))
    house.restart()
    house.intake.index_pending(lambda: True)
    house.commitments.turn(lambda: False)  # taken into the database, told to stop before the verification
    assert house.get(uid).state is CommitmentState.REQUESTED
    house.restart()
    house.verify()
    house.restart()
    house.verify()
    house.peer.listen()
    house.report()
    house.restart()
    house.report(LATER)
    assert house.peer.reports.got == [(uid, 1, {}, "new")]


def test_result_verified_before_a_kill_still_reaches_the_open_association(house: CommitmentHouse) -> None:
    association = house.peer.associate()
    uid = generate_uid()
    assert ask_on(association, [STRANGER], uid) == 0
    house.verify()
    house.files.data_dir.joinpath("commitment", "answers", uid).unlink(missing_ok=True)  # as if killed between database and file
    house.restart()
    wait_until(lambda: bool(house.verify() or house.peer.reports.got))
    house.verify()
    association.release()
    assert house.peer.reports.got == [(uid, 2, {STRANGER[1]: 0x0112}, "same")]


@pytest.mark.parametrize("when", ["in the spool", "in the database"])
def test_transaction_uid_in_use_is_refused_with_0131(house: CommitmentHouse, when: str) -> None:
    uid = house.peer.ask([STRANGER])
    if when == "in the database":
        house.verify()
    association = house.peer.associate()
    assert ask_on(association, [STRANGER], uid) == 0x0131
    association.release()


@pytest.mark.parametrize(
    ("wanted", "uid", "action_type", "status"),
    [
        ([STRANGER], "1.2.3", 2, 0x0123),
        ([], "1.2.3", 1, 0x0115),
        ([STRANGER], "", 1, 0x0115),
        ([(CTImageStorage, "../../etc")], "1.2.3", 1, 0x0115),
        ([STRANGER], "../1", 1, 0x0115),
        ([(CTImageStorage, f"1.2.{n}") for n in range(101)], "1.2.3", 1, 0x0213),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI:UserWarning")
def test_faulty_request_is_refused_with_its_status(
    house: CommitmentHouse, wanted: list[tuple[str, str]], uid: str, action_type: int, status: int
) -> None:
    association = house.peer.associate()
    assert ask_on(association, wanted, uid, action_type) == status
    assert association.is_established
    association.release()
    assert not RequestFolders(house.files.data_dir).commitments.pending()


def test_other_instance_than_the_well_known_one_is_refused(house: CommitmentHouse) -> None:
    association = house.peer.associate()
    status, _ = association.send_n_action(action_information("1.2.3", [STRANGER]), 1, STORAGE_COMMITMENT, "1.2.3.4")
    assert status.Status == 0x0112
    association.release()


def test_full_disk_is_answered_with_resource_limitation(house: CommitmentHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dicom_node.storage.spool.os.fsync", full)
    association = house.peer.associate()
    assert ask_on(association, [STRANGER], "1.2.3") == 0x0213
    monkeypatch.undo()
    assert ask_on(association, [STRANGER], "1.2.3") == 0
    association.release()


def test_request_is_on_disk_when_it_is_answered(house: CommitmentHouse) -> None:
    uid = house.peer.ask([STRANGER])
    assert [path.name for path in RequestFolders(house.files.data_dir).commitments.pending()] == [uid]


def test_lock_of_a_closed_association_is_free(house: CommitmentHouse) -> None:
    uid = house.peer.ask([STRANGER])
    reports = RequestFolders(house.files.data_dir).reports
    wait_until(lambda: not reports.held(uid))
    lock = reports.lock(uid)
    assert lock is not None
    assert reports.held(uid)
    reports.forget(uid)
    other = reports.lock(uid)  # the file was removed: a new one, and nobody takes the old one for it
    assert other is not None
    lock.release()
    other.release()


def test_digest_of_a_file_is_the_indexs(house: CommitmentHouse) -> None:
    series = chest_series()[:1]
    house.store_and_index(series)
    uid = str(series[0].SOPInstanceUID)
    with house.database.transaction() as session:
        [copy] = commitments.indexed_copies(session, [uid])[uid]
    assert data_set_sha256(copy.path) == copy.sha256


def test_association_that_asked_nothing_is_left_alone(house: CommitmentHouse) -> None:
    association = house.peer.associate()
    assert association.send_c_store(chest_series()[0]).Status == 0
    [served] = house.receiver._servers[0].active_associations
    assert served.dimse.get_msg.__func__ is not OpenReports._get_msg
    association.release()
