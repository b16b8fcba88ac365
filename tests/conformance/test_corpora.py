"""Files of other projects, every transfer syntax and every storage SOP class, through a real association."""

from __future__ import annotations

import itertools
import os
import subprocess
import threading
import zlib
from collections.abc import Iterator, Sequence
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    RLELossless,
)
from pynetdicom import build_context
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.dsutils import encode
from pynetdicom.sop_class import _STORAGE_CLASSES, CTImageStorage

from dicom_node.errors import StudyError
from dicom_node.pipeline.headers import received_instance
from dicom_node.storage import InstanceFiles
from tests.acceptance.orthanc import Orthanc
from tests.conformance.corpora import SentFile, corpora
from tests.conftest import ROOT
from tests.integration.test_receiver import Running
from tests.phantoms import chest_series, write

TABLE = ROOT / "docs" / "conformance" / "received-files.md"
WRITE = "DICOM_NODE_WRITE_DOCS"
DEFLATED = {str(DeflatedExplicitVRLittleEndian), "1.2.840.10008.1.2.4.95", "1.2.840.10008.1.2.4.205"}
HEAD = f"""# Received files

The DICOM files that come inside pydicom 3.0.2 (`data/test_files`), pynetdicom 3.0.4 (`tests/dicom_files`) and pydicom-data 1.0.0
(`data_store`), sent to the receiver, each as its own SOP class and transfer syntax. Stored means: the data set on disk is the sent
one, byte for byte. `index` says whether the pipeline can read it; what it cannot goes to `incoming/.unreadable` with an ERROR line.

Written by `tests/conformance/test_corpora.py`, which fails when the receiver answers otherwise;
`{WRITE}=1 pytest tests/conformance` writes it anew.

"""
pause = threading.Event()


@pytest.fixture
def running(files: InstanceFiles) -> Iterator[Running]:
    node = Running(files)
    yield node
    node.receiver.drain(2)


def store(association: Association, sent: SentFile) -> tuple[int, str]:
    """Status and error comment of one C-STORE whose data set nobody checked on the way out."""
    request = C_STORE()
    request.MessageID, request.Priority = 7, 2
    request.AffectedSOPClassUID, request.AffectedSOPInstanceUID = sent.sop_class_uid, sent.sop_instance_uid
    request.DataSet = BytesIO(sent.data_set)
    wanted = (sent.sop_class_uid, sent.transfer_syntax_uid)
    context = next(c for c in association.accepted_contexts if (c.abstract_syntax, c.transfer_syntax[0]) == wanted)
    association._reactor_checkpoint.clear()  # as pynetdicom itself does, or its own thread may take the response
    pause.wait(0.01)  # its flag `_is_paused` can be stale
    association.dimse.send_msg(request, context.context_id)
    _, response = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    assert response is not None
    return int(response.Status), str(getattr(response, "ErrorComment", None) or "")


def associations(running: Running, sent: Sequence[SentFile]) -> Iterator[tuple[Association, list[SentFile]]]:
    """As few associations as 128 contexts each allow."""
    kinds = list(dict.fromkeys((s.sop_class_uid, s.transfer_syntax_uid) for s in sent))
    for batch in (
        itertools.batched(kinds, 128) if hasattr(itertools, "batched") else (kinds[i : i + 128] for i in range(0, len(kinds), 128))
    ):
        association = running.associate([build_context(*kind) for kind in batch])
        assert association.is_established
        yield association, [s for s in sent if (s.sop_class_uid, s.transfer_syntax_uid) in batch]
        association.release()


def is_stored_as_sent(path: Path, sent: SentFile) -> bool:
    content = path.read_bytes()
    start = 144 + int.from_bytes(content[140:144], "little")
    meta = pydicom.filereader.read_file_meta_info(path)
    kinds = (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID)
    return content[start:] == sent.data_set and kinds == (sent.sop_class_uid, sent.sop_instance_uid, sent.transfer_syntax_uid)


def outcome(running: Running, association: Association, sent: SentFile) -> tuple[str, str, str]:
    """Status, why, and whether it can be indexed."""
    accepted = {(c.abstract_syntax, c.transfer_syntax[0]) for c in association.accepted_contexts}
    if (sent.sop_class_uid, sent.transfer_syntax_uid) not in accepted:
        return "-", "presentation context not accepted", ""
    before = set(running.files.pending())
    status, why = store(association, sent)
    new = set(running.files.pending()) - before
    if status:
        assert not new
        return f"{status:04X}", why, ""
    [path] = new
    assert is_stored_as_sent(path, sent), sent.name
    try:
        received_instance(path)
    except StudyError as error:
        return "0000", "", str(error).rsplit(": ", 1)[-1]
    return "0000", "", "yes"


@pytest.mark.filterwarnings("ignore")
def test_files_of_other_projects_are_stored_byte_for_byte_or_refused_as_the_table_says(running: Running) -> None:
    everything = list(corpora())
    rows: dict[str, str] = {}
    sendable = [s for s in everything if s.sop_class_uid and s.sop_instance_uid and s.transfer_syntax_uid]
    for sent in everything:
        rows[sent.name] = f"| `{sent.name}` | {' | '.join(sent.names)} | - | says too little of itself to be sent | |"
    for association, batch in associations(running, sendable):
        for sent in batch:
            status, why, index = outcome(running, association, sent)
            rows[sent.name] = f"| `{sent.name}` | {' | '.join(sent.names)} | {status} | {why} | {index} |"
        assert association.is_established
    columns = "| file | SOP class | transfer syntax | status | why | index |\n|---|---|---|---|---|---|\n"
    text = HEAD + columns + "".join(f"{row}\n" for row in rows.values())
    if os.environ.get(WRITE):
        TABLE.write_text(text, "utf-8")
    assert TABLE.read_text("utf-8") == text


def made_up(syntax: str) -> SentFile:
    """One CT slice in a transfer syntax; where that is a compression, the pixels are a frame of it in name only."""
    ds: Dataset = chest_series()[0]
    if UID(syntax).is_encapsulated:
        ds.PixelData = pydicom.encaps.encapsulate([bytes(range(64))])
        ds["PixelData"].VR = "OB"
        ds["PixelData"].is_undefined_length = True
    content = encode(ds, syntax == ImplicitVRLittleEndian, syntax != ExplicitVRBigEndian)
    assert content is not None
    if syntax in DEFLATED:
        packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
        content = packer.compress(content) + packer.flush()
        content += bytes(len(content) % 2)
    return SentFile(syntax, str(ds.SOPClassUID), str(ds.SOPInstanceUID), syntax, content)


@pytest.mark.filterwarnings("ignore")  # pydicom's, about made-up compressions
def test_every_transfer_syntax_is_accepted_stored_as_sent_and_indexable(running: Running) -> None:
    sent = [made_up(str(syntax)) for syntax in ALL_TRANSFER_SYNTAXES]
    assert len(sent) == 45
    for association, batch in associations(running, sent):
        assert [outcome(running, association, one) for one in batch] == [("0000", "", "yes")] * 45


def test_every_storage_class_is_accepted_private_ones_too(running: Running) -> None:
    classes = [*map(str, _STORAGE_CLASSES.values()), "1.3.12.2.1107.5.9.1", "1.2.840.113619.4.27", "2.25.1"]
    assert len(classes) > 150
    plain = made_up(str(ExplicitVRLittleEndian))
    own = [SentFile(c, c, plain.sop_instance_uid, ExplicitVRLittleEndian, _as_class(plain, c)) for c in classes]
    for association, batch in associations(running, own):
        for one in batch:
            assert outcome(running, association, one) == ("0000", "", "yes"), UID(one.name).name


def _as_class(plain: SentFile, sop_class_uid: str) -> bytes:
    ds = pydicom.dcmread(BytesIO(plain.data_set), force=True)
    ds.SOPClassUID = sop_class_uid
    content = encode(ds, is_implicit_vr=False, is_little_endian=True)
    assert content is not None
    return content


def in_syntax(syntax: str, folder: Path) -> Path:
    """A slice of the phantom in a real compression."""
    [path] = write(chest_series()[:1], folder)
    if syntax == ExplicitVRLittleEndian:
        return path
    ds = pydicom.dcmread(path)
    if syntax == ImplicitVRLittleEndian:
        ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        ds.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=True)
        return path
    ds.compress(syntax, generate_instance_uid=False)
    ds.save_as(path, enforce_file_format=True)
    return path


def data_set_of(path: Path) -> bytes:
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


def check_same(running: Running, path: Path, syntax: str) -> None:
    [stored] = running.files.pending()
    assert pydicom.filereader.read_file_meta_info(stored).TransferSyntaxUID == syntax
    assert data_set_of(stored) == data_set_of(path)


REAL = [str(s) for s in (ImplicitVRLittleEndian, ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless)]
STORESCU = {str(ImplicitVRLittleEndian): "-xi", str(ExplicitVRLittleEndian): "-x=", str(RLELossless): "-xr", str(JPEG2000Lossless): "-xv"}


@pytest.mark.parametrize("syntax", REAL)
def test_storescu_gets_its_own_first_choice(running: Running, tmp_path: Path, syntax: str) -> None:
    path = in_syntax(syntax, tmp_path / "ct")
    command = ["/usr/bin/storescu", "-aet", "PACS", "-aec", "AINODE", STORESCU[syntax], "127.0.0.1", str(running.port), str(path)]
    subprocess.run(command, check=True)
    check_same(running, path, syntax)


@pytest.mark.parametrize("syntax", REAL[1:])  # an implicit file it offers to convert itself: Explicit VR stands first in its list
def test_dcmsend_is_not_made_to_convert(running: Running, tmp_path: Path, syntax: str) -> None:
    path = in_syntax(syntax, tmp_path / "ct")
    subprocess.run(["/usr/bin/dcmsend", "-aet", "PACS", "-aec", "AINODE", "127.0.0.1", str(running.port), str(path)], check=True)
    check_same(running, path, syntax)


def test_orthanc_is_not_made_to_convert(files: InstanceFiles, tmp_path: Path) -> None:
    running = Running(files)
    pacs = Orthanc(tmp_path / "pacs", running.port, DicomAet="PACS")
    pacs.start()
    try:
        for syntax in REAL:
            path = in_syntax(syntax, tmp_path / UID(syntax).name)
            pacs.push(pacs.add([path]))
            check_same(running, path, syntax)
            running.files.pending()[0].unlink()
    finally:
        pacs.close()
        running.receiver.drain(5)


def test_first_syntax_of_the_requestors_list_is_taken(running: Running) -> None:
    for order in itertools.permutations([ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit]):
        association = running.associate([build_context(CTImageStorage, list(order))])
        assert [c.transfer_syntax for c in association.accepted_contexts] == [[order[0]]]
        association.release()
