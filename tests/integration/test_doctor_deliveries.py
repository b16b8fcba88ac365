"""What `doctor` says of deliveries: refused, given up, overdue, left alone; and what is no fault."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlmodel import select

from dicom_node.cli import doctor
from dicom_node.domain.jobs import CommitPolicy, DeliveryState
from dicom_node.storage import Database, InstanceFiles, deliveries, delivery_commitments
from dicom_node.storage.circuits import read_circuits
from dicom_node.storage.deliveries import Attempt
from dicom_node.storage.tables import DeliveryRow, ResultRow
from tests.integration.delivery_house import House

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


@pytest.fixture
def house(tmp_path: Path, database: Database, files: InstanceFiles) -> Iterator[House]:
    built = House(tmp_path, database)
    yield built
    built.sender.close()


def said(house: House, monkeypatch: pytest.MonkeyPatch) -> doctor.Finding:
    """The finding about deliveries; the other checks are not what this is about."""
    monkeypatch.setattr(doctor, "_models", lambda _: "none")
    [finding] = [f for f in doctor.examine(house.configuration) if f.check == "deliveries"]
    return finding


def answer(house: House, number: int, attempt: Attempt, now: datetime | None = None) -> None:
    with house.database.transaction() as session:
        deliveries.record_attempt(session, house.all()[number].id, attempt, now or datetime.now(UTC))


def test_nothing_wrong_is_said_of_what_is_only_owed(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    finding = said(house, monkeypatch)
    assert (finding.ok, finding.message) == (True, "none refused or given up, 0 waiting for commitment")


@pytest.mark.parametrize("state", [DeliveryState.REFUSED, DeliveryState.DEAD])
def test_refused_and_given_up_are_faults_for_a_month(house: House, monkeypatch: pytest.MonkeyPatch, state: DeliveryState) -> None:
    answer(house, 0, Attempt(state, 0xA900, "no", datetime.now(UTC)))
    finding = said(house, monkeypatch)
    assert (finding.ok, finding.message) == (False, "1 delivery(ies) refused or given up")
    assert "deliveries retry JOB" in finding.hint
    answer(house, 1, Attempt(state, 0xA900, "no", datetime.now(UTC)), datetime.now(UTC) - timedelta(days=31))
    assert said(house, monkeypatch).message == "1 delivery(ies) refused or given up"


def test_commitment_that_is_overdue_is_a_fault(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = datetime.now(UTC) - timedelta(hours=2)
    sent = Attempt(DeliveryState.SENT, 0, "", asked, commit=CommitPolicy.WAIT)
    for number, at in ((0, asked), (1, datetime.now(UTC))):
        answer(house, number, sent, at)
        with house.database.transaction() as session:
            delivery_commitments.record_asked(session, [house.all()[number].id], f"1.2.{number}", at)
    finding = said(house, monkeypatch)
    assert (finding.ok, finding.message) == (False, "1 object(s) whose commitment is overdue at pacs")


def test_destination_that_is_left_alone_is_a_fault_with_its_reason(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    for _ in range(2):
        house.turn(after_s=2)
    assert "pacs" in read_circuits(house.configuration.data_dir / "run")
    finding = said(house, monkeypatch)
    assert not finding.ok
    assert finding.message.startswith("pacs: left alone after 2 failures in a row: pacs: no association with 127.0.0.1:")


def test_refused_segmentation_whose_pictures_were_accepted_is_none(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    with house.database.transaction() as session:
        seg, capture = session.exec(select(ResultRow).order_by(ResultRow.id)).all()  # type: ignore[arg-type]
        seg.kind, seg.sop_class_uid, capture.sop_class_uid = "SEG", SEG, CAPTURE
    answer(house, 0, Attempt(DeliveryState.REFUSED, 0x0122, "not supported", datetime.now(UTC)))
    with house.database.transaction() as session:
        session.get_one(DeliveryRow, house.all()[0].id).went_as = "Secondary Capture"
    assert not said(house, monkeypatch).ok  # the pictures are not accepted yet
    answer(house, 1, Attempt(DeliveryState.SENT, 0, "", datetime.now(UTC)))
    assert said(house, monkeypatch).ok
    assert "SEG 1 (covered by Secondary Capture)" in house.show()
