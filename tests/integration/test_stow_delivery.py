"""STOW-RS towards Orthanc's plug-in, this node's own server, and one that answers what a test tells it."""

from __future__ import annotations

import ssl
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path

import pydicom
import pytest
from pydicom.uid import BasicTextSRStorage, Comprehensive3DSRStorage, ExplicitVRLittleEndian, RLELossless

from dicom_node.delivery import stow_request
from dicom_node.delivery.channel import channel_to
from dicom_node.delivery.outcomes import Outcome
from dicom_node.domain.destinations import Origin, StowServer
from dicom_node.domain.jobs import DeliveryState, JobState
from dicom_node.errors import DeliveryError
from dicom_node.storage import Database, deliveries
from tests.acceptance.orthanc import Orthanc
from tests.arrivals import Web, data_set_of
from tests.certificates import Authority
from tests.conftest import free_port
from tests.integration.delivery_house import House, result_of
from tests.integration.query_peers import DICOMWEB
from tests.integration.stow_server import Request, StowServerPeer, named, store_all
from tests.phantoms import chest_series, write
from tests.unit.test_config import load

SLICES = chest_series()[:4]
STUDY = str(SLICES[0].StudyInstanceUID)


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(SLICES, tmp_path_factory.mktemp("slices"))


@pytest.fixture(scope="module")
def uids(paths: list[Path]) -> list[str]:
    return [str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID) for path in paths]


@pytest.fixture
def server() -> Iterator[StowServerPeer]:
    running = StowServerPeer()
    yield running
    running.close()


def to(url: str, timeout_s: float = 5.0, **options: object) -> StowServer:
    return StowServer("cloud", Origin(url, timeout_s, **options), "orthanc")  # type: ignore[arg-type]


def send(destination: StowServer, paths: list[Path]) -> dict[int, Outcome]:
    found: dict[int, Outcome] = {}

    def answered(index: int, outcome: Outcome) -> None:
        assert index not in found, "answered twice"
        found[index] = outcome

    channel_to("AINODE", destination).send(paths, answered)
    return found


def verdicts(found: dict[int, Outcome]) -> list[tuple[str, int | None]]:
    return [(str(found[index].verdict), found[index].status) for index in sorted(found)]


def test_orthanc_stores_every_byte_and_names_what_it_does_not(tmp_path: Path, paths: list[Path], uids: list[str]) -> None:
    pacs = Orthanc(tmp_path / "pacs", free_port(), **DICOMWEB)
    pacs.start()
    try:
        destination = to(f"http://127.0.0.1:{pacs.http_port}/dicom-web")
        assert channel_to("AINODE", destination).probe() == "cloud answers QIDO-RS"
        assert verdicts(send(destination, paths)) == [("stored", 0)] * 4
        kept = {str(ds.SOPInstanceUID): ds for ds in pacs.read(STUDY, "CT")}
        assert {uid: kept[uid].PixelData for uid in uids} == {str(s.SOPInstanceUID): s.PixelData for s in SLICES}
        broken = tmp_path / "broken.dcm"
        broken.write_bytes(paths[0].read_bytes()[:400])
        assert [v for v, _ in verdicts(send(destination, [broken]))] == ["refused"]
        assert [v for v, _ in verdicts(send(destination, [paths[0], broken, paths[1]]))] == ["stored", "refused", "stored"]
    finally:
        pacs.close()


def test_the_nodes_own_server_takes_instances_and_gives_reasons(tmp_path: Path, paths: list[Path], uids: list[str]) -> None:
    web = Web(tmp_path / "node")
    try:
        destination = to(f"http://127.0.0.1:{web.port}/dicom-web", token_file=web.folder / "token")
        assert "answers, but not to QIDO-RS" in channel_to("AINODE", destination).probe()
        content = bytearray(paths[1].read_bytes())
        at = content.find(uids[1].encode(), 400)  # in the data set, behind the file meta
        content[at : at + 3] = b"9.9"
        bad = tmp_path / "bad.dcm"
        bad.write_bytes(content)
        assert verdicts(send(destination, [paths[0], bad, *paths[2:]])) == [
            ("stored", 0),
            ("refused", 0xA900),
            ("stored", 0),
            ("stored", 0),
        ]
        kept = sorted(data_set_of(path.read_bytes()) for path in web.incoming())
        assert kept == sorted(data_set_of(path.read_bytes()) for path in (paths[0], *paths[2:]))
        with pytest.raises(DeliveryError, match="HTTP 403"):
            send(to(destination.origin.url, token_file=web.folder / "far-token"), paths)
        with pytest.raises(DeliveryError, match="HTTP 401"):
            send(to(destination.origin.url), paths)
    finally:
        web.close()


def test_a_200_with_failed_instances_is_no_success(server: StowServerPeer, paths: list[Path], uids: list[str]) -> None:
    def some(request: Request) -> None:
        request.read()
        request.answer(200, named(request, {uids[1]: 0x0122, uids[2]: 0xA700}))

    server.answers = [some]
    assert verdicts(send(to(server.url), paths)) == [("stored", 0), ("refused", 0x0122), ("retry", 0xA700), ("stored", 0)]
    assert server.sizes == [4]
    assert [data_set_of(file) for file in server.requests[0].files] == [data_set_of(path.read_bytes()) for path in paths]


def test_what_an_answer_does_not_name_goes_alone_and_is_never_stored_by_silence(
    server: StowServerPeer, paths: list[Path], uids: list[str]
) -> None:
    def silent_of_one(request: Request) -> None:
        request.read()
        request.answer(200, named(request, leave_out=(uids[2],)))

    server.answers = [silent_of_one]
    found = send(to(server.url), paths)
    assert verdicts(found) == [("stored", 0), ("stored", 0), ("retry", None), ("stored", 0)]
    assert found[2].reason == "HTTP 200: the answer does not name the object"
    assert server.sizes == [4, 1]


def test_an_empty_200_counts_by_its_status_and_a_page_of_a_proxy_does_not(server: StowServerPeer, paths: list[Path]) -> None:
    def empty(request: Request) -> None:
        request.read()
        request.answer(200)

    def page(request: Request) -> None:
        request.read()
        request.answer(200, b"<html>Please log in</html>", "text/html")

    server.answers = [empty]
    found = send(to(server.url), paths)
    assert verdicts(found) == [("stored", 0)] * 4
    assert "HTTP status alone" in found[0].reason
    server.answers = [page]
    assert verdicts(send(to(server.url), paths[:2])) == [("retry", None)] * 2


@pytest.mark.parametrize(("status", "verdict"), [(400, "refused"), (409, "refused"), (413, "refused"), (415, "refused"), (500, "retry")])
def test_a_request_refused_as_a_whole_is_taken_apart(
    server: StowServerPeer, paths: list[Path], uids: list[str], status: int, verdict: str
) -> None:
    def not_with_one(request: Request) -> None:
        request.read()
        request.answer(status if uids[1] in request.uids else 200, b"" if uids[1] in request.uids else named(request))

    server.answers = [not_with_one]
    found = send(to(server.url), paths)
    assert verdicts(found) == [("stored", 0), (verdict, None), ("stored", 0), ("stored", 0)]
    assert f"HTTP {status}" in found[1].reason
    assert server.sizes == [4, 1, 1, 1, 1]


@pytest.mark.parametrize("status", [202, 415])
def test_an_object_whose_syntax_is_not_taken_goes_uncompressed(
    server: StowServerPeer, paths: list[Path], uids: list[str], tmp_path: Path, status: int
) -> None:
    [compressed] = write([pydicom.dcmread(paths[0])], tmp_path)
    ds = pydicom.dcmread(compressed)
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.save_as(compressed)

    def no_rle(request: Request) -> None:
        request.read()
        syntaxes = {pydicom.dcmread(BytesIO(file), stop_before_pixels=True).file_meta.TransferSyntaxUID for file in request.files}
        if RLELossless not in syntaxes:
            request.answer(200, named(request))
        else:
            request.answer(status, named(request, {uids[0]: 0xC122}) if status == 202 else b"")

    server.answers = [no_rle]
    found = send(to(server.url), [compressed, *paths[1:]])
    assert verdicts(found) == [("stored", 0)] * 4
    assert found[0].reason == "sent as Explicit VR Little Endian"
    sent = next(pydicom.dcmread(BytesIO(r.files[0])) for r in server.requests[::-1] if r.uids == uids[:1])
    assert (sent.file_meta.TransferSyntaxUID, sent.PixelData) == (ExplicitVRLittleEndian, SLICES[0].PixelData)

    def never(request: Request) -> None:
        request.read()
        request.answer(415)

    server.answers = [never]
    assert verdicts(send(to(server.url), [compressed])) == [("refused", None)]


def test_a_server_that_hangs_up_on_large_requests_gets_small_ones(server: StowServerPeer, paths: list[Path]) -> None:
    def hang_up(request: Request) -> None:
        request.handler.rfile.read(1000)
        request.handler.connection.close()
        request.handler.close_connection = True

    server.answers = [hang_up, store_all]
    assert verdicts(send(to(server.url), paths)) == [("stored", 0)] * 4
    assert server.sizes == [0, 1, 1, 1, 1]
    server.answers = [hang_up]
    with pytest.raises(DeliveryError, match="broke"):
        send(to(server.url), paths)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (301, "answers from elsewhere"),
        (401, "does not know it"),
        (403, "does not let this node store"),
        (404, "has no STOW-RS there"),
        (429, "fewer requests"),
        (502, "cannot store now"),
        (503, "cannot store now"),
        (507, "is full"),
    ],
)
def test_faults_of_the_destination_leave_everything_for_later(server: StowServerPeer, paths: list[Path], status: int, words: str) -> None:
    def fault(request: Request) -> None:
        request.read()
        request.answer(status, Location="http://127.0.0.1:1/")

    server.answers = [fault]
    with pytest.raises(DeliveryError, match=words) as caught:
        send(to(server.url), paths)
    assert "127.0.0.1" not in str(caught.value)
    assert server.sizes == [4]


def test_two_server_errors_in_a_row_are_the_servers(server: StowServerPeer, paths: list[Path]) -> None:
    def fault(request: Request) -> None:
        request.read()
        request.answer(500)

    server.answers = [fault]
    with pytest.raises(DeliveryError, match="HTTP 500"):
        send(to(server.url), paths)
    assert server.sizes == [4, 1, 1]


def test_a_server_that_hangs_or_cuts_its_answer_is_given_up_in_time(server: StowServerPeer, paths: list[Path]) -> None:
    def hang(request: Request) -> None:
        request.read()
        server.let_go.wait(20)

    def cut(request: Request) -> None:
        request.read()
        request.handler.send_response(200)
        request.handler.send_header("Content-Length", "1000")
        request.handler.end_headers()
        request.handler.wfile.write(b"{")
        request.handler.close_connection = True

    server.answers = [hang]
    with pytest.raises(DeliveryError, match=r"nothing came for 0\.3 s"):
        send(to(server.url, 0.3), paths[:1])
    server.answers = [cut]
    with pytest.raises(DeliveryError):
        send(to(server.url), paths[:1])


def test_nobody_there(paths: list[Path]) -> None:
    with pytest.raises(DeliveryError, match="nobody listens there"):
        send(to(f"http://127.0.0.1:{free_port()}"), paths)
    with pytest.raises(DeliveryError, match="nobody listens there"):
        channel_to("AINODE", to(f"http://127.0.0.1:{free_port()}")).probe()


def test_requests_are_split_by_size_and_count(server: StowServerPeer, paths: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    size = paths[0].stat().st_size
    parts = [stow_request.read_part(index, path) for index, path in enumerate([*paths, paths[0]])]
    assert [len(b) for b in stow_request.batches(parts)] == [4, 1]  # the same instance twice never stands in one request
    assert [len(b) for b in stow_request.batches(parts[:4], most_bytes=2 * size + 100)] == [2, 2]
    assert [len(b) for b in stow_request.batches(parts[:4], most_instances=3)] == [3, 1]
    monkeypatch.setattr(stow_request.batches, "__defaults__", (3, 1 << 20))
    assert verdicts(send(to(server.url), paths)) == [("stored", 0)] * 4
    assert server.sizes == [3, 1]


def test_a_file_that_is_gone_is_refused_and_the_others_go(server: StowServerPeer, paths: list[Path], tmp_path: Path) -> None:
    assert verdicts(send(to(server.url), [tmp_path / "gone.dcm", *paths])) == [("refused", None), *[("stored", 0)] * 4]


def test_a_large_object_is_never_in_memory_as_a_whole(server: StowServerPeer, tmp_path: Path) -> None:
    ds = chest_series()[0]
    ds.PixelData = bytes(64 << 20)
    [path] = write([ds], tmp_path)
    body = stow_request.MultipartBody([stow_request.read_part(0, path)])
    tracemalloc.start()
    length = sum(len(block) for block in body)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert length == len(body)
    assert peak < 4 << 20


def context(authority: Authority, days: float = 365) -> ssl.SSLContext:
    pair = authority.issue("server", days=days)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.load_cert_chain(pair.certificate, pair.key)
    return made


def test_tls_asks_for_a_certificate_that_is_valid_and_of_the_right_authority(tmp_path: Path, paths: list[Path]) -> None:
    authority, other = Authority(tmp_path / "a", "right"), Authority(tmp_path / "b", "wrong", 3)
    good, expired = StowServerPeer(context=context(authority)), StowServerPeer(context=context(authority, days=-1))
    try:
        assert verdicts(send(to(good.url, ca=authority.ca), paths[:1])) == [("stored", 0)]
        for server, ca in ((good, other.ca), (good, None), (expired, authority.ca)):
            with pytest.raises(DeliveryError, match="TLS failed"):
                send(to(server.url, ca=ca), paths[:1])
            with pytest.raises(DeliveryError, match="TLS failed"):
                channel_to("AINODE", to(server.url, ca=ca)).probe()
        assert expired.requests == []
    finally:
        good.close()
        expired.close()


def test_a_password_and_a_token_that_is_replaced(server: StowServerPeer, paths: list[Path], tmp_path: Path) -> None:
    token, password = tmp_path / "token", tmp_path / "password"
    password.write_text("pässword\n")
    destination = to(server.url, token_file=token)
    for text in ("first", "second"):
        token.write_text(f"{text}\n")
        send(destination, paths[:1])
    send(to(server.url, username="ai", password_file=password), paths[:1])
    assert server.authorizations == ["Bearer first", "Bearer second", "Basic YWk6cMOkc3N3b3Jk"]
    token.unlink()
    with pytest.raises(DeliveryError, match="token_file cannot be read"):
        send(destination, paths[:1])


@pytest.mark.parametrize(
    ("status", "answers"), [(200, True), (204, True), (404, True), (405, True), (401, False), (500, False), (503, False)]
)
def test_probe_tells_a_server_that_only_stores_from_one_that_cannot(server: StowServerPeer, status: int, answers: bool) -> None:
    server.search = status
    channel = channel_to("AINODE", to(server.url))
    if answers:
        assert channel.probe().startswith("cloud answers")
    else:
        with pytest.raises(DeliveryError, match=f"HTTP {status}"):
            channel.probe()
    assert server.searches == ["/web/studies?StudyInstanceUID=2.25.0&limit=1"]


def test_stored_files_read_back(server: StowServerPeer, paths: list[Path]) -> None:
    send(to(server.url), paths)
    [first, *_] = server.requests[0].files
    assert pydicom.dcmread(BytesIO(first)) == pydicom.dcmread(paths[0])


def stow_house(folder: Path, database: Database, url: str, objects: int = 2) -> House:
    """A sender whose destination is a STOW-RS server."""
    house = House(folder, database, objects)
    text = (folder / "node.yaml").read_text("utf-8")
    line = next(line for line in text.splitlines() if "name: pacs" in line and "port" in line)
    house.configuration = load(folder, text.replace(line, f"  - {{name: pacs, type: stow, url: '{url}', timeout: 5s}}"))
    house.sender.reconfigure(house.configuration)
    return house


def test_sender_keeps_reasons_and_sends_again_only_what_was_not_stored(tmp_path: Path, database: Database, server: StowServerPeer) -> None:
    def busy_with_one(request: Request) -> None:
        request.read()
        request.answer(202, named(request, {request.uids[0]: 0xA700}))

    server.answers = [busy_with_one, store_all]
    house = stow_house(tmp_path, database, server.url)
    house.turn()
    assert house.states() == [DeliveryState.OWED, DeliveryState.SENT]
    assert "status A700" in house.show()
    house.turn(10)
    assert house.states() == [DeliveryState.SENT] * 2
    assert server.sizes == [2, 1]
    assert house.job_state() is JobState.DONE
    house.sender.close()


def test_next_of_the_chain_goes_when_the_server_refuses_a_sop_class(tmp_path: Path, database: Database, server: StowServerPeer) -> None:
    house = stow_house(tmp_path, database, server.url, 1)
    [report, plain] = chest_series()[1:3]
    report.SOPClassUID, plain.SOPClassUID = Comprehensive3DSRStorage, BasicTextSRStorage
    paths = write([report, plain], tmp_path / "reports")
    house.turn()
    house.job_id = house.job(paths[:1], "1.5")
    with database.transaction() as session:
        deliveries.record_results(session, house.job_id, [result_of(2, paths[1])], {}, datetime.now(UTC))

    def no_3d(request: Request) -> None:
        request.read()
        request.answer(409, named(request, {str(report.SOPInstanceUID): 0x0122}))

    server.answers = [no_3d, store_all]
    house.turn()
    assert house.states() == [DeliveryState.OWED]
    house.turn()
    assert house.states() == [DeliveryState.SENT]
    assert "is not taken: Basic Text SR goes instead" in house.show()
    house.sender.close()


def test_breaker_asks_by_a_search_before_anything_is_sent_again(tmp_path: Path, database: Database, server: StowServerPeer) -> None:
    def down(request: Request) -> None:
        request.read()
        request.answer(503)

    server.answers, server.search = [down], 503
    house = stow_house(tmp_path, database, server.url, 1)
    for _ in range(3):  # breaker_failures is 2
        house.turn(60)
    assert server.sizes == [1, 1]
    assert len(server.searches) == 1
    assert house.states() == [DeliveryState.OWED]
    server.answers, server.search = [store_all], 204
    house.turn(600)
    assert house.states() == [DeliveryState.SENT]
    assert len(server.searches) == 2
    house.sender.close()
