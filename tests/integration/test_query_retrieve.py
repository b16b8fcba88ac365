"""Query and retrieval against Orthanc, DCMTK's archive, and a scripted one."""

from __future__ import annotations

import socket
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import evt
from pynetdicom.pdu_primitives import P_DATA
from pynetdicom.sop_class import StudyRootQueryRetrieveInformationModelFind, StudyRootQueryRetrieveInformationModelGet

from dicom_node.config import Peer
from dicom_node.domain.durability import Durability
from dicom_node.domain.sources import QuerySource
from dicom_node.errors import (
    OutOfResourcesError,
    SourceError,
    SourceRefusedError,
    SourceSilentError,
    SourceUnreachableError,
    SubOperationsFailedError,
)
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.scp.listener import ListenOn
from dicom_node.scp.places import Places
from dicom_node.scp.policy import AccessPolicy
from dicom_node.scp.query_retrieve.counts import CountedBy, count_instances, count_series
from dicom_node.scp.query_retrieve.query import FindQuery, QueryLevel, QueryModel, find
from dicom_node.scp.query_retrieve.retrieval import Progress, RetrieveRequest, Watcher
from dicom_node.scp.query_retrieve.retrieve import get, move, retrieve, sop_classes_at
from dicom_node.scp.query_retrieve.sources import echo
from dicom_node.scp.server import Receiver
from dicom_node.storage import InstanceFiles
from tests.acceptance.orthanc import Orthanc
from tests.conftest import free_port
from tests.integration.query_peers import Dcmqrscp, Scripted, SlowLine, source
from tests.phantoms import chest_series, write

NODE = "AINODE"
STUDY, OTHER_STUDY, GREEK_STUDY = generate_uid(), generate_uid(), generate_uid()
FIRST, SECOND, OTHER, GREEK = (chest_series(s)[:n] for s, n in ((STUDY, 5), (STUDY, 3), (OTHER_STUDY, 2), (GREEK_STUDY, 1)))
JAPANESE_NAME, GREEK_NAME = "Yamada^Tarou=山田^太郎=やまだ^たろう", "Διονυσιος^Ω"
for _ds in OTHER:
    _ds.SpecificCharacterSet, _ds.PatientName, _ds.PatientID = ["", "ISO 2022 IR 87"], JAPANESE_NAME, "JP-1"
for _ds in GREEK:
    _ds.SpecificCharacterSet, _ds.PatientName, _ds.PatientID = "ISO_IR 192", GREEK_NAME, "GR-1"
EVERYTHING = FIRST + SECOND + OTHER + GREEK


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("archive")
    write(EVERYTHING, written)
    return written


@pytest.fixture(scope="module")
def node_port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def pacs(folder: Path, node_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    running = Orthanc(
        tmp_path_factory.mktemp("orthanc") / "pacs",
        node_port,
        DicomAlwaysAllowFind=True,
        DicomAlwaysAllowGet=True,
        DicomAlwaysAllowMove=True,
        DicomCheckCalledAet=True,
        DefaultEncoding="Utf8",
    )
    running.start()
    running.add(sorted(folder.iterdir()))
    yield running
    running.close()


@pytest.fixture(scope="module")
def orthanc(pacs: Orthanc) -> QuerySource:
    return orthanc_source(pacs)


@pytest.fixture(scope="module")
def dcmqrscp(folder: Path, node_port: int, tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuerySource]:
    archive = Dcmqrscp(tmp_path_factory.mktemp("dcmqrscp") / "archive", node_port)
    archive.add(folder)
    yield source("dcmqrscp", "DCMQRSCP", archive.port)
    archive.close()


@pytest.fixture(params=["orthanc", "dcmqrscp"])
def archive(request: pytest.FixtureRequest) -> QuerySource:
    found: QuerySource = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    running = Scripted()
    yield running
    running.close()


@pytest.fixture
def door(files: InstanceFiles) -> Door:
    return Door(files, DoorSettings("test", Durability.NONE, 0))


def orthanc_source(pacs: Orthanc) -> QuerySource:
    return source("orthanc", "ORTHANC", pacs.dicom_port)


def encoded(path: Path) -> bytes:
    """The data set of a Part 10 file."""
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


def by_uid(paths: list[Path]) -> dict[str, bytes]:
    return {str(pydicom.dcmread(p, stop_before_pixels=True).SOPInstanceUID): encoded(p) for p in paths}


def sent(folder: Path, data_sets: list[Dataset]) -> dict[str, bytes]:
    uids = {d.SOPInstanceUID for d in data_sets}
    return {uid: content for uid, content in by_uid(sorted(folder.iterdir())).items() if uid in uids}


def uids(data_sets: list[Dataset], keyword: str = "SOPInstanceUID") -> set[str]:
    return {str(d[keyword].value) for d in data_sets}


# --- C-FIND


def test_each_level_lists_what_belongs_to_it(archive: QuerySource) -> None:
    studies = find(NODE, archive, FindQuery(QueryLevel.STUDY, {"PatientID": "PH-4711"})).matches
    series = find(NODE, archive, FindQuery(QueryLevel.SERIES, {"StudyInstanceUID": STUDY})).matches
    key = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": FIRST[0].SeriesInstanceUID}
    images = find(NODE, archive, FindQuery(QueryLevel.IMAGE, key)).matches
    assert {m["StudyInstanceUID"][0] for m in studies} == {STUDY}
    assert {m["SeriesInstanceUID"][0] for m in series} == uids(FIRST + SECOND, "SeriesInstanceUID")
    assert {m["SOPInstanceUID"][0] for m in images} == uids(FIRST)


def test_patient_root_lists_patients(archive: QuerySource) -> None:
    query = FindQuery(QueryLevel.PATIENT, {"PatientID": "PH-*"}, model=QueryModel.PATIENT_ROOT)
    assert [m["PatientID"] for m in find(NODE, archive, query).matches] == [("PH-4711",)]


def test_names_in_other_scripts_come_back_right(archive: QuerySource) -> None:
    found = {m["PatientID"][0]: m["PatientName"][0] for m in find(NODE, archive, FindQuery(QueryLevel.STUDY, {"PatientID": "*-1"})).matches}
    assert found == {"JP-1": JAPANESE_NAME, "GR-1": GREEK_NAME}


def test_names_in_other_scripts_can_be_looked_for(orthanc: QuerySource) -> None:
    found = find(NODE, orthanc, FindQuery(QueryLevel.STUDY, {"PatientName": GREEK_NAME})).matches
    assert [m["PatientID"] for m in found] == [("GR-1",)]


def test_no_match_is_an_answer(archive: QuerySource) -> None:
    assert find(NODE, archive, FindQuery(QueryLevel.STUDY, {"StudyInstanceUID": "1.2.3"})).matches == ()


def test_limit_cancels_and_says_so(archive: QuerySource) -> None:
    key = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": FIRST[0].SeriesInstanceUID}
    result = find(NODE, archive, FindQuery(QueryLevel.IMAGE, key, limit=2))
    assert (len(result.matches), result.truncated) == (2, True)


def test_as_many_matches_as_the_limit_are_all_there_is(archive: QuerySource) -> None:
    key = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": FIRST[0].SeriesInstanceUID}
    result = find(NODE, archive, FindQuery(QueryLevel.IMAGE, key, limit=len(FIRST)))
    assert (len(result.matches), result.truncated) == (len(FIRST), False)


@pytest.mark.parametrize(
    ("level", "match", "words"),
    [
        (QueryLevel.SERIES, {"PatientID": "1"}, "needs StudyInstanceUID"),
        (QueryLevel.IMAGE, {"StudyInstanceUID": "1"}, "needs SeriesInstanceUID"),
        (QueryLevel.PATIENT, {"PatientID": "1"}, "Patient Root"),
        (QueryLevel.STUDY, {"PatentID": "1"}, "no DICOM keyword"),
        (QueryLevel.IMAGE, {"StudyInstanceUID": "1", "SeriesInstanceUID": "1", "InstanceNumber": "x"}, "InstanceNumber"),
    ],
)
def test_question_that_no_source_could_answer_is_not_sent(level: QueryLevel, match: dict[str, str], words: str) -> None:
    with pytest.raises(SourceError, match=words):
        FindQuery(level, match).identifier()


def test_counts_say_where_they_come_from(orthanc: QuerySource, dcmqrscp: QuerySource) -> None:
    from_orthanc, from_dcmtk = count_instances(NODE, orthanc, STUDY), count_instances(NODE, dcmqrscp, STUDY)
    assert (from_orthanc.instances, from_orthanc.counted_by) == (8, CountedBy.STUDY_ATTRIBUTE)
    assert (from_dcmtk.instances, from_dcmtk.counted_by) == (8, CountedBy.LISTED)


def test_series_are_counted_one_by_one(archive: QuerySource) -> None:
    counted = count_series(NODE, archive, STUDY).series
    assert {s.series_instance_uid: s.instances for s in counted} == {FIRST[0].SeriesInstanceUID: 5, SECOND[0].SeriesInstanceUID: 3}
    assert {s.modality for s in counted} == {"CT"}


def test_unknown_study_counts_nothing(archive: QuerySource) -> None:
    assert count_instances(NODE, archive, "1.2.3").instances == 0


# --- C-GET and C-MOVE


def test_study_comes_byte_for_byte_by_c_get(archive: QuerySource, door: Door, files: InstanceFiles, folder: Path) -> None:
    seen: list[Progress] = []
    result = retrieve(NODE, archive, RetrieveRequest(STUDY), door, Watcher(seen.append))
    result.require_complete(archive.name)
    assert by_uid(files.pending()) == sent(folder, FIRST + SECOND)
    assert (result.status, result.completed, result.failed, result.refused) == (0, 8, 0, ())
    assert [p.completed for p in seen] == sorted(p.completed for p in seen)
    assert seen[-1].completed == 8


def test_fetched_file_names_the_source_as_its_sender(archive: QuerySource, door: Door, files: InstanceFiles) -> None:
    get(NODE, archive, RetrieveRequest(GREEK_STUDY), door)
    [path] = files.pending()
    meta = pydicom.dcmread(path).file_meta
    assert (meta.SourceApplicationEntityTitle, meta.ReceivingApplicationEntityTitle) == (archive.ae_title, NODE)


def test_one_series_comes_alone(archive: QuerySource, door: Door, files: InstanceFiles, folder: Path) -> None:
    request = RetrieveRequest(STUDY, (str(SECOND[0].SeriesInstanceUID),))
    assert get(NODE, archive, request, door).completed == 3
    assert by_uid(files.pending()) == sent(folder, SECOND)


def test_missing_instances_come_by_name(archive: QuerySource, door: Door, files: InstanceFiles, folder: Path) -> None:
    missing = FIRST[1:3]
    request = RetrieveRequest(STUDY, (str(FIRST[0].SeriesInstanceUID),), tuple(str(d.SOPInstanceUID) for d in missing))
    assert get(NODE, archive, request, door).completed == 2
    assert by_uid(files.pending()) == sent(folder, missing)


def test_move_sends_to_our_receiver(archive: QuerySource, door: Door, files: InstanceFiles, node_port: int, folder: Path) -> None:
    receiver = Receiver(door, AccessPolicy(NODE, [Peer(name="archive", ae_title=archive.ae_title, host="localhost")], 5), Places(files.run))
    receiver.start(ListenOn("127.0.0.1", node_port, 131072, 10, 30))
    try:
        result = move(NODE, archive, RetrieveRequest(STUDY, (str(FIRST[0].SeriesInstanceUID),)))
    finally:
        receiver.drain(5)
    assert (result.status, result.completed, result.failed) == (0, 5, 0)
    assert by_uid(files.pending()) == sent(folder, FIRST)


def test_move_to_a_title_that_the_source_does_not_know_is_refused(archive: QuerySource) -> None:
    with pytest.raises((SourceRefusedError, SourceUnreachableError)) as caught:
        move("STRANGER", archive, RetrieveRequest(STUDY))
    assert caught.value.hint


def test_source_may_say_which_classes_a_study_holds(orthanc: QuerySource, dcmqrscp: QuerySource) -> None:
    assert set(sop_classes_at(NODE, orthanc, RetrieveRequest(STUDY))) == uids(FIRST, "SOPClassUID")
    assert sop_classes_at(NODE, dcmqrscp, RetrieveRequest(STUDY)) == ()  # it returns no SOP class at any level


def test_what_the_door_refuses_is_answered_with_its_status(orthanc: QuerySource, files: InstanceFiles) -> None:
    full = Door(files, DoorSettings("test", Durability.NONE, 1 << 60))
    result = get(NODE, orthanc, RetrieveRequest(STUDY), full)
    assert files.pending() == []
    assert (result.completed, result.failed, {r.status for r in result.refused}) == (0, 8, {OutOfResourcesError.dimse_status})
    with pytest.raises(SubOperationsFailedError, match=r"8 instance.*status A702") as caught:
        result.require_complete(orthanc.name)
    assert "free space" in caught.value.hint


@pytest.mark.parametrize("name", ["JPEG2000.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_RLE.dcm", "SC_rgb_jpeg_dcmtk.dcm"])
def test_compressed_instances_come_as_they_are_stored(
    orthanc: QuerySource, pacs: Orthanc, door: Door, files: InstanceFiles, name: str
) -> None:
    path = Path(get_testdata_file(name, read=False))
    pacs.add([path])
    original = pydicom.dcmread(path)
    get(NODE, orthanc, RetrieveRequest(str(original.StudyInstanceUID)), door)
    [fetched] = [p for p in map(pydicom.dcmread, files.pending()) if p.SOPInstanceUID == original.SOPInstanceUID]
    assert fetched.file_meta.TransferSyntaxUID == original.file_meta.TransferSyntaxUID
    assert fetched.PixelData == original.PixelData


def large_instance(folder: Path, megabytes: int) -> Path:
    [data_set] = chest_series()[:1]
    data_set.NumberOfFrames, data_set.Rows, data_set.Columns = megabytes * 2, 512, 512
    data_set.PixelData = bytes(megabytes << 20)
    [path] = write([data_set], folder)
    return path


def test_memory_does_not_grow_with_the_instance(
    orthanc: QuerySource, pacs: Orthanc, door: Door, files: InstanceFiles, tmp_path: Path
) -> None:
    path = large_instance(tmp_path / "large", 64)
    pacs.add([path])
    study = str(pydicom.dcmread(path, stop_before_pixels=True).StudyInstanceUID)
    tracemalloc.start()
    try:
        get(NODE, orthanc_source(pacs), RetrieveRequest(study), door)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 8 << 20
    assert by_uid(files.pending()) == by_uid([path])


def test_slow_line_is_no_silence(pacs: Orthanc, door: Door, tmp_path: Path) -> None:
    path = large_instance(tmp_path / "slow", 4)
    pacs.add([path])
    data_set = pydicom.dcmread(path, stop_before_pixels=True)
    request = RetrieveRequest(str(data_set.StudyInstanceUID), sop_classes=(str(data_set.SOPClassUID),))
    line = SlowLine(pacs.dicom_port, bytes_a_second=3 << 20)
    began = monotonic()
    result = get(NODE, source("slow", "ORTHANC", line.port, timeout_s=0.7), request, door)
    line.close()
    assert result.completed == 1
    assert monotonic() - began > 1.0


def test_source_that_only_gives_is_fetched_from_all_the_same(door: Door, files: InstanceFiles) -> None:
    only_get = Scripted([StudyRootQueryRetrieveInformationModelGet])

    def one(_event: evt.Event) -> Iterator[object]:
        yield 1
        yield 0xFF00, FIRST[0]

    only_get.get = one
    result = get(NODE, only_get.source(), RetrieveRequest(STUDY), door)
    only_get.close()
    assert (result.completed, len(files.pending())) == (1, 1)


def test_library_logs_no_patient_data(orthanc: QuerySource, door: Door, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    find(NODE, orthanc, FindQuery(QueryLevel.STUDY, {"PatientID": "PH-4711", "AccessionNumber": "ACC-0815"}))
    get(NODE, orthanc, RetrieveRequest(STUDY), door)
    assert caplog.text
    assert not [word for word in ("Phantom", "PH-4711", "ACC-0815", "19600229") if word in caplog.text]


# --- peers that misbehave


def test_wrong_called_title_is_said_in_words(archive: QuerySource) -> None:
    wrong = source(archive.name, "NOBODY", archive.port)
    with pytest.raises(SourceUnreachableError, match=r"called AE title not recognised") as caught:
        echo(NODE, wrong)
    assert caught.value.hint


def test_nobody_listening_is_said_in_words() -> None:
    with pytest.raises(SourceUnreachableError, match="nobody listens"):
        find(NODE, source("gone", "GONE", free_port()), FindQuery(QueryLevel.STUDY, {"PatientID": "1"}))


def test_host_without_address_is_said_in_words() -> None:
    with pytest.raises(SourceUnreachableError, match="cannot be looked up"):
        echo(NODE, source("gone", "GONE", 104, host="no-such-host.invalid"))


def test_something_that_listens_and_is_no_dicom_is_said_in_words() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute, pytest.raises(SourceUnreachableError, match="was not answered within 1 s"):
        echo(NODE, source("mute", "MUTE", mute.getsockname()[1], timeout_s=1))


def test_source_without_get_names_the_other_way(files: InstanceFiles, door: Door) -> None:
    only_find = Scripted([StudyRootQueryRetrieveInformationModelFind])
    with pytest.raises(SourceUnreachableError, match=r"GET.*not accepted") as caught:
        get(NODE, only_find.source(), RetrieveRequest(STUDY), door)
    only_find.close()
    assert "retrieve: move" in caught.value.hint


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (0xA700, "A700: out of resources"),
        (0xA900, "A900: identifier does not match"),
        (0xC001, "C001: unable to process"),
        (0x0122, "0122: SOP class not supported"),
        (0xFE00, "FE00: cancelled by the source"),
    ],
)
def test_failed_find_names_status_and_meaning(scripted: Scripted, status: int, words: str) -> None:
    scripted.find = lambda _event: iter([(status, None)])
    with pytest.raises(SourceRefusedError, match=words) as caught:
        find(NODE, scripted.source(), FindQuery(QueryLevel.STUDY, {"PatientID": "1"}))
    assert caught.value.status == status
    assert caught.value.hint


def studies(count: int, status: int = 0xFF00) -> Iterator[tuple[int, Dataset | None]]:
    for number in range(count):
        match = Dataset()
        match.QueryRetrieveLevel, match.StudyInstanceUID = "STUDY", f"1.2.{number}"
        yield status, match


def test_ignored_keys_are_reported(scripted: Scripted) -> None:
    scripted.find = lambda _event: studies(2, 0xFF01)
    result = find(NODE, scripted.source(), FindQuery(QueryLevel.STUDY, {"PatientID": "1"}))
    assert (len(result.matches), result.keys_ignored) == (2, True)


def test_source_that_ignores_the_cancel_is_left_after_its_timeout(scripted: Scripted) -> None:
    def endless(_event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        while not scripted.let_go.wait(0.01):
            yield from studies(1)

    scripted.find = endless
    result = find(NODE, scripted.source(timeout_s=0.5), FindQuery(QueryLevel.STUDY, {"PatientID": "1"}, limit=3))
    assert (len(result.matches), result.truncated) == (3, True)


def test_silence_in_a_find_ends_by_the_timeout(scripted: Scripted) -> None:
    def hang(_event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield from studies(1)
        scripted.let_go.wait(20)

    scripted.find = hang
    with pytest.raises(SourceSilentError, match=r"no answer to C-FIND within 0\.5 s"):
        find(NODE, scripted.source(timeout_s=0.5), FindQuery(QueryLevel.STUDY, {"PatientID": "1"}))


def test_abort_in_a_find_is_no_empty_answer(scripted: Scripted) -> None:
    def abort(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        yield from studies(1)
        event.assoc.abort()

    scripted.find = abort
    with pytest.raises(SourceSilentError, match="ended before C-FIND was answered"):
        find(NODE, scripted.source(), FindQuery(QueryLevel.STUDY, {"PatientID": "1"}))


def test_message_that_cannot_be_read_ends_the_association_at_once(scripted: Scripted) -> None:
    def garbage(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        message = P_DATA()
        message.presentation_data_value_list = [[1, b"\x03\x00\x00\x00\x01\xff\xff\xff\xffgarbage"]]
        event.assoc.dul.send_pdu(message)
        scripted.let_go.wait(20)
        yield from studies(1)

    scripted.find = garbage
    with pytest.raises(SourceSilentError, match="cannot be read"):
        find(NODE, scripted.source(), FindQuery(QueryLevel.STUDY, {"PatientID": "1"}))


ONLY_CT = RetrieveRequest(STUDY, sop_classes=(str(FIRST[0].SOPClassUID),))


def test_failed_sub_operations_are_counted_and_named(scripted: Scripted, door: Door, files: InstanceFiles) -> None:
    broken = chest_series(STUDY)[0]
    broken.SOPInstanceUID = "1.2.3"

    def partly(_event: evt.Event) -> Iterator[object]:
        yield 3
        yield 0xFF00, FIRST[0]
        yield 0xFF00, broken  # its file meta names another UID, so that the door finds a difference
        yield 0xFF00, FIRST[1]

    broken.StudyInstanceUID = ""
    scripted.get = partly
    result = get(NODE, scripted.source(), ONLY_CT, door)
    assert (result.status, result.completed, result.failed) == (0xB000, 2, 1)
    assert result.failed_sop_instance_uids == ("1.2.3",)
    assert [(r.sop_instance_uid, r.status) for r in result.refused] == [("1.2.3", 0xA900)]
    assert len(files.pending()) == 2
    with pytest.raises(SubOperationsFailedError, match="1 instance"):
        result.require_complete(scripted.source().name)


@pytest.mark.parametrize(("status", "words"), [(0xA701, "A701"), (0xA702, "A702"), (0xA900, "A900"), (0xC000, "C000")])
def test_failed_get_names_status_and_what_had_come(scripted: Scripted, door: Door, files: InstanceFiles, status: int, words: str) -> None:
    def fail(_event: evt.Event) -> Iterator[object]:
        yield 3
        yield 0xFF00, FIRST[0]
        yield status, None

    scripted.get = fail
    with pytest.raises(SourceRefusedError, match=f"{words}.*1 instance"):
        get(NODE, scripted.source(), ONLY_CT, door)
    assert len(files.pending()) == 1


def test_unknown_move_destination_says_what_to_register(scripted: Scripted) -> None:
    scripted.move = lambda _event: iter(((None, None),))
    with pytest.raises(SourceRefusedError, match="A801") as caught:
        move(NODE, scripted.source(), RetrieveRequest(STUDY))
    assert "register this node" in caught.value.hint


def test_abort_in_a_get_keeps_what_was_acknowledged_and_nothing_else(scripted: Scripted, door: Door, files: InstanceFiles) -> None:
    def abort(event: evt.Event) -> Iterator[object]:
        yield 3
        yield 0xFF00, FIRST[0]
        event.assoc.abort()

    scripted.get = abort
    with pytest.raises(SourceSilentError, match="ended before C-GET was answered; 1 of 3"):
        get(NODE, scripted.source(), ONLY_CT, door)
    assert len(files.pending()) == 1
    assert not list(files.incoming.glob(".*.partial"))


def test_silence_in_a_get_ends_by_the_timeout(scripted: Scripted, door: Door) -> None:
    def hang(_event: evt.Event) -> Iterator[object]:
        yield 3
        yield 0xFF00, FIRST[0]
        scripted.let_go.wait(20)

    scripted.get = hang
    with pytest.raises(SourceSilentError, match=r"no answer to C-GET within 0\.5 s; 1 of 3"):
        get(NODE, scripted.source(timeout_s=0.5), ONLY_CT, door)


def test_cancelling_stops_the_source(scripted: Scripted, door: Door, files: InstanceFiles) -> None:
    def until_cancelled(event: evt.Event) -> Iterator[object]:
        yield 24
        for data_set in chest_series(STUDY):
            if event.is_cancelled:
                yield 0xFE00, None
                return
            yield 0xFF00, data_set

    scripted.get = until_cancelled
    stop = threading.Event()
    result = get(NODE, scripted.source(), ONLY_CT, door, Watcher(lambda p: stop.set() if p.completed == 2 else None, stop.is_set))
    assert result.is_cancelled
    assert 2 <= result.completed == len(files.pending()) < 24
    with pytest.raises(SubOperationsFailedError, match="cancelled"):
        result.require_complete(scripted.source().name)


def test_source_that_ignores_the_cancel_of_a_get_is_left_after_its_timeout(scripted: Scripted, door: Door) -> None:
    def deaf(_event: evt.Event) -> Iterator[object]:
        yield 3
        scripted.let_go.wait(20)

    scripted.get = deaf
    result = get(NODE, scripted.source(timeout_s=0.5), ONLY_CT, door, Watcher(cancelled=lambda: True))
    assert (result.is_cancelled, result.completed) == (True, 0)
