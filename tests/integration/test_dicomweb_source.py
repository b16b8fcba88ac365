"""DICOMweb as a query source: Orthanc's plugin, and a server that does what a test tells it."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dicom_node.config import Configuration, load_configuration
from dicom_node.domain.durability import Durability
from dicom_node.errors import (
    SourceCancelledError,
    SourceError,
    SourceRefusedError,
    SourceSilentError,
    SourceUnreachableError,
    SubOperationsFailedError,
)
from dicom_node.pipeline.headers import received_instance
from dicom_node.pipeline.sources import Archive, opened
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.scp.query_retrieve.counts import CountedBy, counted, counted_by_series, listed_instances
from dicom_node.scp.query_retrieve.query import FindQuery, QueryLevel
from dicom_node.scp.query_retrieve.retrieval import Progress, RetrieveRequest, Watcher
from dicom_node.storage import InstanceFiles
from tests.acceptance.orthanc import Orthanc
from tests.certificates import Authority
from tests.conftest import ROOT, free_port
from tests.integration.query_peers import DICOMWEB
from tests.phantoms import chest_series, write

FIRST = chest_series()[:5]
STUDY = str(FIRST[0].StudyInstanceUID)
SECOND = chest_series(STUDY)[:3]
OTHER = chest_series(SpecificCharacterSet="ISO_IR 192", PatientName="Yamada^Tarou=山田^太郎", PatientID="JP-1")[:2]
Answer = Callable[[BaseHTTPRequestHandler], None]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    written = tmp_path_factory.mktemp("archive")
    write(FIRST + SECOND + OTHER, written)
    return written


@pytest.fixture(scope="module")
def pacs(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Orthanc]:
    running = Orthanc(tmp_path_factory.mktemp("orthanc") / "pacs", free_port(), DefaultEncoding="Utf8", **DICOMWEB)
    running.start()
    running.add(sorted(folder.iterdir()))
    yield running
    running.close()


@pytest.fixture
def archive(pacs: Orthanc, tmp_path: Path) -> Archive:
    return opened(configuration(tmp_path, f"http://127.0.0.1:{pacs.http_port}/dicom-web/"), "web")


@pytest.fixture
def door(files: InstanceFiles) -> Door:
    return Door(files, DoorSettings("test", Durability.NONE, 0))


def configuration(folder: Path, url: str, **options: str) -> Configuration:
    (folder / "rules.yaml").write_text("rules: []\n")
    lines = "".join(f"\n    {name}: {value}" for name, value in options.items())
    (folder / "node.yaml").write_text(
        f"ae_title: AINODE\ndata_dir: data\ndatabase: sqlite:///node.db\nmodels_dir: {ROOT / 'config' / 'models'}\n"
        f"query_sources:\n  - name: web\n    url: {url}\n    timeout: 5s{lines}\n".replace("timeout: 5s\n    timeout", "timeout")
    )
    return load_configuration(folder / "node.yaml")


class Server:
    """An HTTP server on loopback whose answers a test writes."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.answer: Answer = lambda request: send(request, 404)
        self.seen: list[tuple[str, str]] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.seen.append((self.path, self.headers.get("Authorization", "")))
                outer.answer(self)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.port = self._server.server_address[1]
        self.let_go = threading.Event()
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def close(self) -> None:
        self.let_go.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def send(request: BaseHTTPRequestHandler, status: int, body: bytes = b"", media_type: str = "application/dicom+json") -> None:
    request.send_response(status)
    request.send_header("Content-Type", media_type)
    request.send_header("Content-Length", str(len(body)))
    request.end_headers()
    request.wfile.write(body)


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


def at(server: Server, folder: Path, **options: str) -> Archive:
    return opened(configuration(folder, f"http://127.0.0.1:{server.port}/web", **options), "web")


def data_set(path: Path) -> bytes:
    content = path.read_bytes()
    return content[144 + int.from_bytes(content[140:144], "little") :]


def test_orthanc_is_asked_at_every_level(archive: Archive) -> None:
    studies = archive.find(FindQuery(QueryLevel.STUDY, {"PatientID": "PH-4711"}))
    assert [m["StudyInstanceUID"] for m in studies.matches] == [(STUDY,)]
    assert not studies.truncated
    [named] = archive.find(FindQuery(QueryLevel.STUDY, {"PatientID": "JP-1"})).matches
    assert named["PatientName"] == ("Yamada^Tarou=山田^太郎",)
    with archive.asking() as ask:
        series = ask(FindQuery(QueryLevel.SERIES, {"StudyInstanceUID": STUDY}))
        assert {m["SeriesInstanceUID"] for m in series} == {(str(s[0].SeriesInstanceUID),) for s in (FIRST, SECOND)}
        assert len(listed_instances(ask, STUDY)) == 8
        assert ask(FindQuery(QueryLevel.STUDY, {"StudyInstanceUID": "1.2.3"})) == ()
    assert "answers QIDO-RS" in archive.check()


def test_orthanc_counts(archive: Archive) -> None:
    with archive.asking() as ask:
        assert counted(ask, STUDY).instances == 8
        by_series = counted_by_series(ask, STUDY)
        assert (by_series.instances, by_series.counted_by) == (8, CountedBy.SERIES_ATTRIBUTE)
        assert counted(ask, "1.2.3").instances == 0


def test_limit_says_that_there_is_more(archive: Archive) -> None:
    keys = {"StudyInstanceUID": STUDY, "SeriesInstanceUID": str(FIRST[0].SeriesInstanceUID)}
    cut = archive.find(FindQuery(QueryLevel.IMAGE, keys, limit=2))
    assert (len(cut.matches), cut.truncated) == (2, True)
    whole = archive.find(FindQuery(QueryLevel.IMAGE, keys, limit=5))
    assert (len(whole.matches), whole.truncated) == (5, False)


def test_study_comes_bit_for_bit(archive: Archive, door: Door, files: InstanceFiles, folder: Path) -> None:
    seen: list[Progress] = []
    result = archive.retrieve(RetrieveRequest(STUDY), door, Watcher(seen.append))
    result.require_complete(archive.name)
    assert (result.completed, seen[-1].completed) == (8, 8)
    sent = {data_set(p) for p in folder.iterdir()}
    assert {data_set(p) for p in files.pending()} <= sent
    assert len(files.pending()) == 8
    peer = received_instance(files.pending()[0]).peer
    assert (peer.calling_ae_title, peer.called_ae_title, peer.address) == ("web", "AINODE", "127.0.0.1")


def test_series_and_instances_come_alone(archive: Archive, door: Door, files: InstanceFiles) -> None:
    series = str(SECOND[0].SeriesInstanceUID)
    assert archive.retrieve(RetrieveRequest(STUDY, (series,)), door, Watcher()).completed == 3
    uids = tuple(str(ds.SOPInstanceUID) for ds in FIRST[:2])
    result = archive.retrieve(RetrieveRequest(STUDY, (str(FIRST[0].SeriesInstanceUID),), uids), door, Watcher())
    assert result.completed == 2
    assert {received_instance(p).sop_instance_uid for p in files.pending()} == {*uids, *(str(ds.SOPInstanceUID) for ds in SECOND)}


def test_cancelling_ends_early_and_keeps_what_came(archive: Archive, door: Door, files: InstanceFiles) -> None:
    result = archive.retrieve(RetrieveRequest(STUDY), door, Watcher(cancelled=lambda: bool(files.pending())))
    assert result.is_cancelled
    assert 1 <= result.completed == len(files.pending()) < 8
    with pytest.raises(SubOperationsFailedError, match="cancelled"):
        result.require_complete(archive.name)


def test_what_the_door_refuses_is_told(archive: Archive, files: InstanceFiles) -> None:
    narrow = Door(files, DoorSettings("test", Durability.NONE, 0, max_instance_bytes=100))
    result = archive.retrieve(RetrieveRequest(STUDY), narrow, Watcher())
    assert (result.completed, result.failed) == (0, 8)
    assert {r.status for r in result.refused} == {0xA700}
    assert files.pending() == []


def test_study_that_the_source_lacks_is_refused_in_words(archive: Archive, door: Door) -> None:
    with pytest.raises(SourceRefusedError, match="HTTP 404"):
        archive.retrieve(RetrieveRequest("1.2.3"), door, Watcher())


def test_pages_are_asked_for_until_nothing_new_comes(server: Server, tmp_path: Path) -> None:
    def answer(request: BaseHTTPRequestHandler) -> None:
        """At most two a page, and from some offset on always the last: neither may end in too few or in an endless loop."""
        offset = int(request.path.partition("offset=")[2].partition("&")[0])
        uids = ["1.1", "1.2", "1.3"][min(offset, 2) :][:2]
        body = ",".join(f'{{"0020000D": {{"vr": "UI", "Value": ["{uid}"]}}}}' for uid in uids)
        send(request, 200, f"[{body}]".encode())

    server.answer = answer
    found = at(server, tmp_path).find(FindQuery(QueryLevel.STUDY, {"PatientID": "PH-4711"}))
    assert [m["StudyInstanceUID"] for m in found.matches] == [("1.1",), ("1.2",), ("1.3",)]


def test_token_is_sent_and_read_anew(server: Server, tmp_path: Path) -> None:
    server.answer = lambda request: send(request, 200, b"[]")
    (tmp_path / "token").write_text("first-secret\n")
    archive = at(server, tmp_path, token_file="token")
    archive.check()
    (tmp_path / "token").write_text("second-secret\n")
    archive.check()
    assert [authorization for _, authorization in server.seen] == ["Bearer first-secret", "Bearer second-secret"]


@pytest.mark.parametrize(
    ("status", "body", "words"),
    [
        (401, b"", "HTTP 401"),
        (500, b"PH-4711", "HTTP 500"),
        (200, b"<html>PH-4711</html>", "cannot be read"),
        (200, b'{"0020000D": 3}', "cannot be read"),
        (200, b'["PH-4711"]', "cannot be read"),
    ],
)
def test_faults_are_worded_without_what_was_asked(server: Server, tmp_path: Path, status: int, body: bytes, words: str) -> None:
    server.answer = lambda request: send(request, status, body)
    with pytest.raises(SourceError, match=words) as raised:
        at(server, tmp_path).find(FindQuery(QueryLevel.STUDY, {"PatientID": "PH-4711"}))
    assert "PH-4711" not in str(raised.value) + raised.value.hint


def test_silence_is_told_from_nobody_there(server: Server, tmp_path: Path) -> None:
    server.answer = lambda request: server.let_go.wait(30) and None
    with pytest.raises(SourceSilentError, match=r"nothing came for 0\.3 s"):
        at(server, tmp_path, timeout="300ms").check()
    nobody = opened(configuration(tmp_path, f"http://127.0.0.1:{free_port()}"), "web")
    with pytest.raises(SourceUnreachableError, match="nobody listens"):
        nobody.check()


def test_instances_that_are_cut_off_are_not_kept(server: Server, tmp_path: Path, door: Door, files: InstanceFiles, folder: Path) -> None:
    head = b"--b\r\nContent-Type: application/dicom\r\n\r\n"
    whole = [head + path.read_bytes() + b"\r\n" for path in sorted(folder.iterdir())]

    def answer(request: BaseHTTPRequestHandler) -> None:
        body = b"".join(whole)[:-5000]
        request.send_response(200)
        request.send_header("Content-Type", 'multipart/related; type="application/dicom"; boundary=b')
        request.send_header("Content-Length", str(len(body) + 100))
        request.end_headers()
        request.wfile.write(body)
        request.close_connection = True

    server.answer = answer
    with pytest.raises(SourceSilentError):
        at(server, tmp_path).retrieve(RetrieveRequest(""), door, Watcher())
    assert 1 <= len(files.pending()) < len(whole)
    assert [p for p in files.incoming.iterdir() if p not in files.pending()] == []


def test_instances_of_another_study_are_not_taken(server: Server, tmp_path: Path, door: Door, files: InstanceFiles, folder: Path) -> None:
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + sorted(folder.iterdir())[0].read_bytes() + b"\r\n--b--\r\n"
    server.answer = lambda request: send(request, 200, body, 'multipart/related; type="application/dicom"; boundary=b')
    result = at(server, tmp_path).retrieve(RetrieveRequest("1.2.3"), door, Watcher())
    assert (result.completed, result.failed) == (0, 1)
    assert files.pending() == []


def test_answer_that_is_no_multipart_body_is_refused(server: Server, tmp_path: Path, door: Door) -> None:
    server.answer = lambda request: send(request, 200, b"<html/>", "text/html")
    with pytest.raises(SourceError, match="no multipart body"):
        at(server, tmp_path).retrieve(RetrieveRequest(STUDY), door, Watcher())


def test_a_question_that_is_given_up_is_not_asked(server: Server, tmp_path: Path) -> None:
    archive = opened(configuration(tmp_path, f"http://127.0.0.1:{server.port}"), "web", lambda: True)
    with pytest.raises(SourceCancelledError):
        archive.check()
    assert server.seen == []


def test_certificate_must_be_signed_by_the_named_authority(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path / "ours", "Ours"), Authority(tmp_path / "theirs", "Theirs", 3)
    issued = authority.issue("localhost")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.certificate, issued.key)
    server = Server(context)
    server.answer = lambda request: send(request, 200, b"[]")
    try:
        url = f"https://127.0.0.1:{server.port}"
        assert "answers" in opened(configuration(tmp_path, url, ca=str(authority.ca)), "web").check()
        with pytest.raises(SourceUnreachableError, match="TLS failed"):
            opened(configuration(tmp_path, url, ca=str(stranger.ca)), "web").check()
    finally:
        server.close()
