"""STOW-RS against the running HTTP process: httpx, raw sockets, and Orthanc's DICOMweb plug-in as clients."""

from __future__ import annotations

import hashlib
import signal
import socket
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import pydicom
import pytest

from tests.acceptance.orthanc import Orthanc
from tests.arrivals import (
    BOUNDARY,
    CONTENT_TYPE,
    REFUSED_PYDICOM_FILES,
    TOKEN,
    Web,
    data_set_of,
    multipart,
    pydicom_files,
    reset_rss_peak,
    rss_peak_bytes,
)
from tests.phantoms import chest_series, write

STORED, FAILED, OTHER = "00081199", "00081198", "0008119A"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    web = Web(tmp_path_factory.mktemp("web") / "node")
    yield web
    web.close()


@pytest.fixture
def web(shared: Web) -> Web:
    """The running process with an empty store."""
    for path in shared.incoming():
        path.unlink()
    return shared


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write(chest_series()[:3], tmp_path_factory.mktemp("slices"))


def uids(answer: httpx.Response, sequence: str) -> list[str]:
    return [item["00081155"]["Value"][0] for item in answer.json().get(sequence, {}).get("Value", [])]


def reasons(answer: httpx.Response, sequence: str = FAILED) -> list[int]:
    return [item["00081197"]["Value"][0] for item in answer.json().get(sequence, {}).get("Value", [])]


def meta_uid(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def test_instances_are_stored_byte_for_byte_and_named_in_the_answer(web: Web, slices: list[Path]) -> None:
    answer = web.store([p.read_bytes() for p in slices])
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/dicom+json")
    assert uids(answer, STORED) == [meta_uid(p) for p in slices]
    kept = [p.read_bytes() for p in web.incoming()]
    assert [data_set_of(k) for k in kept] == [data_set_of(p.read_bytes()) for p in slices]
    meta = pydicom.dcmread(BytesIO(kept[0]), stop_before_pixels=True).file_meta
    assert (meta.SourceApplicationEntityTitle, meta.ReceivingApplicationEntityTitle) == ("gateway", "AINODE")
    assert meta.SourcePresentationAddress == "dicom://127.0.0.1"


def test_a_bad_instance_beside_a_good_one_is_named_and_the_good_one_stays(web: Web, slices: list[Path]) -> None:
    bad = bytearray(slices[1].read_bytes())
    at = bad.find(meta_uid(slices[1]).encode(), 400)  # in the data set, behind the file meta
    bad[at : at + 3] = b"9.9"
    answer = web.store([bytes(bad), slices[0].read_bytes()])
    assert answer.status_code == 202
    assert reasons(answer) == [0xA900]
    assert uids(answer, STORED) == [meta_uid(slices[0])]
    assert len(web.incoming()) == 1


@pytest.mark.parametrize(
    ("part", "status", "reason"),
    [(b"no dicom at all", 400, 0xC000), (b"", 400, 0xC000), (bytes(128) + b"DICM" + b"\2\0\2\0UI\4\0", 400, 0xC000)],
)
def test_what_is_no_file_is_refused_under_other_failures(web: Web, part: bytes, status: int, reason: int) -> None:
    answer = web.store([part])
    assert (answer.status_code, reasons(answer, OTHER)) == (status, [reason])
    assert not web.incoming()
    assert not web.partials()


def test_an_instance_of_another_study_than_the_url_names_fails_with_0110(web: Web, slices: list[Path]) -> None:
    study = str(pydicom.dcmread(slices[0], stop_before_pixels=True).StudyInstanceUID)
    other = write(chest_series()[:1], slices[0].parent / "other")[0]
    assert web.store([slices[0].read_bytes()], study).status_code == 200
    both = web.store([slices[0].read_bytes(), other.read_bytes()], study)
    assert (both.status_code, reasons(both), uids(both, FAILED)) == (202, [0x0110], [meta_uid(other)])
    alone = web.store([other.read_bytes()], study)
    assert (alone.status_code, reasons(alone)) == (409, [0x0110])
    assert len(web.incoming()) == 2


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Authorization": ""}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": f"Basic {TOKEN}"}, 401),
        ({"Authorization": f"Bearer {TOKEN[::-1]}"}, 403),
        ({"Accept": "application/dicom+xml"}, 406),
        ({"Accept": "application/dicom+json;q=0"}, 406),
        ({"Content-Type": "application/dicom"}, 415),
        ({"Content-Type": f'multipart/related; type="application/dicom+json"; boundary={BOUNDARY}'}, 415),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Type": 'multipart/related; type="application/dicom"'}, 400),
        ({"Content-Type": f'multipart/related; type="application/dicom"; boundary={"x" * 300}'}, 400),
        ({"Content-Type": 'multipart/related; type="application/dicom"; boundary=other'}, 400),
        ({"Accept": "application/dicom+xml, application/dicom+json;q=0.5"}, 200),
        ({"Content-Type": f"Multipart/Related; boundary={BOUNDARY}"}, 200),
    ],
)
def test_headers_decide_before_anything_is_kept(web: Web, slices: list[Path], headers: dict[str, str], status: int) -> None:
    answer = web.store([slices[0].read_bytes()], **headers)
    assert answer.status_code == status
    assert len(web.incoming()) == (status == 200)
    assert (answer.headers.get("www-authenticate") is not None) == (status == 401)


def test_a_part_of_another_type_is_refused_alone(web: Web, slices: list[Path]) -> None:
    body = multipart([slices[0].read_bytes()])
    other = f"--{BOUNDARY}\r\nContent-Type: application/pdf\r\n\r\n%PDF\r\n".encode()
    headers = {"Content-Type": CONTENT_TYPE}
    both = web.client.post("/dicom-web/studies", content=other + body, headers=headers)
    assert (both.status_code, reasons(both, OTHER), len(web.incoming())) == (202, [0x0110], 1)
    alone = web.client.post("/dicom-web/studies", content=other + f"--{BOUNDARY}--\r\n".encode(), headers=headers)
    assert alone.status_code == 415


def test_a_body_that_stops_before_its_boundary_keeps_only_what_came_whole(web: Web, slices: list[Path]) -> None:
    body = multipart([slices[0].read_bytes(), slices[1].read_bytes()])[:-4000]
    answer = web.client.post("/dicom-web/studies", content=body, headers={"Content-Type": CONTENT_TYPE})
    assert (answer.status_code, uids(answer, STORED)) == (400, [meta_uid(slices[0])])
    assert (len(web.incoming()), web.partials()) == (1, [])


def test_a_chunked_body_cut_in_the_middle_keeps_only_what_came_whole(web: Web, slices: list[Path]) -> None:
    body = multipart([slices[0].read_bytes(), slices[1].read_bytes()])[:-4000]
    lost = web.log().count("connection lost")
    with socket.create_connection(("127.0.0.1", web.port)) as connection:
        head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: {CONTENT_TYPE}\r\n"
        connection.sendall(head.encode() + b"Transfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(body), 1000):
            piece = body[start : start + 1000]
            connection.sendall(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
    web.wait_for("connection lost", lost + 1)
    Orthanc.wait_until(lambda: not web.partials(), 10)
    # the server may learn of the end before it hands out the last bytes it has
    assert [data_set_of(p.read_bytes()) for p in web.incoming()] in ([], [data_set_of(slices[0].read_bytes())])


def test_health_needs_no_token_and_tells_nothing(web: Web) -> None:
    answer = httpx.get(f"http://127.0.0.1:{web.port}/healthz")
    assert (answer.status_code, answer.text) == (200, "ok\n")
    assert "server" not in answer.headers
    assert {web.client.get(path).status_code for path in ("/docs", "/openapi.json", "/dicom-web/studies")} == {404, 405}


def test_an_object_of_any_size_takes_little_memory(web: Web) -> None:
    pieces, piece = 100, b"\r\n--a-bound\0" * (1 << 18)  # nearly the boundary, all the way
    ds = chest_series()[0]
    ds.PixelData = b"\0\0"
    stream = BytesIO()
    ds.save_as(stream, enforce_file_format=True)
    head = stream.getvalue()[:-6] + (pieces * len(piece)).to_bytes(4, "little")
    begin, end = multipart([b"|"]).split(b"|")
    reset_rss_peak(web.process.pid)
    before = rss_peak_bytes(web.process.pid)
    body = (part for part in (begin + head, *([piece] * pieces), end))
    answer = web.client.post("/dicom-web/studies", content=body, headers={"Content-Type": CONTENT_TYPE})
    assert answer.status_code == 200
    assert rss_peak_bytes(web.process.pid) - before < 24 << 20
    expected = hashlib.sha256(data_set_of(head))
    for _ in range(pieces):
        expected.update(piece)
    (kept,) = web.incoming()
    assert hashlib.sha256(data_set_of(kept.read_bytes())).digest() == expected.digest()


def test_limits_are_answered_413_and_503_and_silence_408(tmp_path: Path, slices: list[Path]) -> None:
    limits = {"max_request": "200KiB", "timeout": "1s", "max_requests": 1}
    small = Web(tmp_path / "node", stow=limits, dicom={"host": "127.0.0.1", "port": 11112, "min_free": "64MiB", "max_instance": "8KiB"})
    content = slices[0].read_bytes()
    try:
        assert small.store([content] * 30).status_code == 413
        too_large = small.store([content])
        assert (too_large.status_code, reasons(too_large)) == (413, [0xA700])
        tiny = chest_series()[0]
        tiny.Rows, tiny.Columns, tiny.PixelData = 1, 1, b"\0\0"
        good = write([tiny], tmp_path / "tiny")[0].read_bytes()
        with socket.create_connection(("127.0.0.1", small.port), timeout=10) as silent:
            head = f"POST /dicom-web/studies HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\nContent-Type: {CONTENT_TYPE}\r\n"
            silent.sendall(head.encode() + b"Expect: 100-continue\r\nContent-Length: 100000\r\n\r\n")
            assert silent.recv(1000).startswith(b"HTTP/1.1 100")  # it is let in, and holds the only place
            assert small.store([good]).status_code == 503
            silent.sendall(multipart([good, good])[:-50])
            answer = silent.recv(10_000)
            assert answer.startswith(b"HTTP/1.1 408")
            assert answer.count(b"00081155") == 1 or silent.recv(10_000).count(b"00081155") == 1
        assert len(small.incoming()) == 1
        assert small.store([good]).status_code == 200
        assert not small.partials()
    finally:
        small.close()


def test_stop_lets_a_request_under_way_finish_and_reload_takes_a_new_token(tmp_path: Path, slices: list[Path]) -> None:
    node = Web(tmp_path / "node")
    try:
        (node.folder / "token").write_text("another-token-another-token\n")
        node.process.send_signal(signal.SIGHUP)
        fresh = {"Authorization": "Bearer another-token-another-token"}
        Orthanc.wait_until(lambda: node.store([slices[0].read_bytes()]).status_code == 401, 10)
        before = len(node.incoming())
        body = multipart([slices[1].read_bytes()])
        stopped: list[int] = []

        def slowly() -> Iterator[bytes]:
            yield body[:5000]
            node.process.send_signal(signal.SIGTERM)
            Orthanc.wait_until(lambda: _refuses(node.port), 10)
            stopped.append(1)
            yield body[5000:]

        answer = node.client.post("/dicom-web/studies", content=slowly(), headers={"Content-Type": CONTENT_TYPE, **fresh})
        assert (answer.status_code, stopped) == (200, [1])
        assert node.process.wait(20) == 0
        assert len(node.incoming()) == before + 1
    finally:
        node.close()


def _refuses(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return True
    return False


def test_files_that_pydicom_ships_are_stored_byte_for_byte_or_refused_with_a_reason(web: Web) -> None:
    refused: dict[int, list[str]] = {}
    for path in pydicom_files():
        content = path.read_bytes()
        answer = web.store([content])
        if answer.status_code == 200:
            (kept,) = web.incoming()
            assert data_set_of(kept.read_bytes()) == data_set_of(content), path.name
            kept.unlink()
        else:
            (reason,) = reasons(answer) or reasons(answer, OTHER)
            refused.setdefault(reason, []).append(path.name)
            assert not web.incoming(), path.name
    assert {reason: set(names) for reason, names in refused.items()} == REFUSED_PYDICOM_FILES


def test_orthanc_stores_a_study_over_dicomweb(web: Web, slices: list[Path], tmp_path: Path) -> None:
    plugin = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
    if not plugin.exists():
        pytest.skip("Orthanc's DICOMweb plug-in is not installed")
    server = {
        "Url": f"http://127.0.0.1:{web.port}/dicom-web/",
        "HttpHeaders": {"Authorization": f"Bearer {TOKEN}"},
    }
    pacs = Orthanc(tmp_path / "pacs", 1, Plugins=[str(plugin)], DicomWeb={"Enable": True, "Servers": {"node": server}})
    try:
        pacs.start()
        study = pacs.add(slices)
        answer = pacs.client.post("/dicom-web/servers/node/stow", json={"Resources": [study], "Synchronous": True})
        assert answer.status_code == 200, answer.text
        sent = {data_set_of(pacs.client.get(f"/instances/{i}/file").content) for i in pacs.client.get("/instances").json()}
        assert {data_set_of(p.read_bytes()) for p in web.incoming()} == sent
        assert len(sent) == len(slices)
    finally:
        pacs.close()
