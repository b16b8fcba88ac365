"""Instance Availability Notification: what a peer announces is on disk when it is answered, and in the database after."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom.dataset import Dataset

from dicom_node.domain.availability import INSTANCE_AVAILABILITY_NOTIFICATION, Availability
from dicom_node.storage import Database, InstanceFiles
from dicom_node.storage.availability import AnnouncedInstance, announced_instances, arrived_instances
from dicom_node.storage.request_files import RequestFolders
from tests.integration.commitment_peer import CommitmentHouse
from tests.phantoms import chest_series


@pytest.fixture
def house(tmp_path: Path, database: Database, files: InstanceFiles) -> Iterator[CommitmentHouse]:
    built = CommitmentHouse(tmp_path, database, files)
    yield built
    built.close()


def notice(series: list[Dataset], availability: str = "ONLINE") -> Dataset:
    data_set = Dataset()
    data_set.ReferencedPerformedProcedureStepSequence = []
    data_set.StudyInstanceUID = series[0].StudyInstanceUID
    items = []
    for instance in series:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = instance.SOPClassUID, instance.SOPInstanceUID
        item.InstanceAvailability, item.RetrieveAETitle = availability, "ORTHANC"
        items.append(item)
    one = Dataset()
    one.SeriesInstanceUID, one.ReferencedSOPSequence = series[0].SeriesInstanceUID, items
    data_set.ReferencedSeriesSequence = [one]
    return data_set


def send(house: CommitmentHouse, data_set: Dataset, uid: str | None = "1.2.3.4") -> int:
    association = house.peer.associate()
    status, _ = association.send_n_create(data_set, INSTANCE_AVAILABILITY_NOTIFICATION, uid)
    association.release()
    return int(status.Status)


def announced(house: CommitmentHouse, series: list[Dataset]) -> list[AnnouncedInstance]:
    house.verify()
    with house.database.transaction() as session:
        return announced_instances(session, str(series[0].StudyInstanceUID))


def test_announced_instances_are_known_before_they_arrive(house: CommitmentHouse) -> None:
    series = chest_series()[:3]
    assert send(house, notice(series)) == 0
    assert [path.name for path in RequestFolders(house.files.data_dir).notices.pending()] == ["1.2.3.4"]
    found = announced(house, series)
    assert [a.sop_instance_uid for a in found] == [str(d.SOPInstanceUID) for d in series]
    assert {(a.availability, a.retrieve_ae_title, a.announced_by) for a in found} == {(Availability.ONLINE, "ORTHANC", "ORTHANC")}
    house.store_and_index(series[:2])
    with house.database.transaction() as session:
        assert len(arrived_instances(session, str(series[0].StudyInstanceUID))) == 2


def test_later_notice_replaces_what_an_earlier_one_said(house: CommitmentHouse) -> None:
    series = chest_series()[:2]
    assert send(house, notice(series), "1.2.3.1") == 0
    assert send(house, notice(series[:1], "NEARLINE"), "1.2.3.2") == 0
    assert [a.availability for a in announced(house, series)] == [Availability.NEARLINE, Availability.ONLINE]


def test_notice_without_a_uid_gets_one(house: CommitmentHouse) -> None:
    assert send(house, notice(chest_series()[:1]), None) == 0
    [kept] = RequestFolders(house.files.data_dir).notices.pending()
    assert kept.name.startswith("2.25.")


def test_same_notice_again_is_a_duplicate_instance(house: CommitmentHouse) -> None:
    series = chest_series()[:1]
    assert [send(house, notice(series)) for _ in range(2)] == [0, 0x0111]
    assert len(announced(house, series)) == 1
    assert send(house, notice(series)) == 0x0111


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("no study", 0x0121),
        ("no series", 0x0121),
        ("no instance", 0x0121),
        ("word", 0x0106),
        ("title", 0x0121),
        ("uid", 0x0106),
        ("many", 0x0213),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR UI:UserWarning")
def test_faulty_notice_is_refused_with_its_status(house: CommitmentHouse, fault: str, status: int) -> None:
    data_set = notice(chest_series()[:2])
    items = data_set.ReferencedSeriesSequence[0].ReferencedSOPSequence
    match fault:
        case "no study":
            del data_set.StudyInstanceUID
        case "no series":
            data_set.ReferencedSeriesSequence = []
        case "no instance":
            data_set.ReferencedSeriesSequence[0].ReferencedSOPSequence = []
        case "word":
            items[0].InstanceAvailability = "SOON"
        case "title":
            del items[1].RetrieveAETitle
        case "uid":
            items[0].ReferencedSOPInstanceUID = "../x"
        case "many":
            data_set.ReferencedSeriesSequence[0].ReferencedSOPSequence = list(items) * 60
    assert send(house, data_set) == status
    assert not RequestFolders(house.files.data_dir).notices.pending()
