"""Archives that answer queries: DCMTK's, and one that does what a test tells it."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.sop_class import (
    CTImageStorage,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelGet,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from dicom_node.domain.sources import QuerySource, Retrieval
from tests.acceptance.orthanc import Orthanc
from tests.conftest import free_port


class Dcmqrscp:
    """DCMTK's archive in a folder of its own; it returns no counts."""

    def __init__(self, folder: Path, node_port: int) -> None:
        (folder / "db").mkdir(parents=True)
        self.port = free_port()
        (folder / "dcmqrscp.cfg").write_text(
            f"NetworkTCPPort = {self.port}\nMaxPDUSize = 131072\nMaxAssociations = 16\n"
            f"HostTable BEGIN\nainode = (AINODE, 127.0.0.1, {node_port})\nHostTable END\n"
            "VendorTable BEGIN\nVendorTable END\n"
            f"AETable BEGIN\nDCMQRSCP {folder / 'db'} RW (20, 100mb) ANY\nAETable END\n"
        )
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            ["/usr/bin/dcmqrscp", "--config", str(folder / "dcmqrscp.cfg")], stdout=self._log, stderr=self._log
        )
        Orthanc.wait_until(self._answers, 10)

    def add(self, folder: Path) -> None:
        subprocess.run(["/usr/bin/storescu", "-aec", "DCMQRSCP", "+sd", "127.0.0.1", str(self.port), str(folder)], check=True)

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)
        self._log.close()

    def _answers(self) -> bool:
        assert self._process.poll() is None
        asked = ["/usr/bin/echoscu", "-aec", "DCMQRSCP", "127.0.0.1", str(self.port)]
        return subprocess.run(asked, capture_output=True, check=False).returncode == 0


Answers = Iterator[tuple[int, Dataset | None]]


class Scripted:
    """An archive whose answers a test writes."""

    def __init__(self, models: Sequence[str] = (), port: int = 0) -> None:
        self.find: Callable[[evt.Event], Answers] = lambda _event: iter(())
        self.get: Callable[[evt.Event], Iterator[object]] = lambda _event: iter((0,))
        self.move: Callable[[evt.Event], Iterator[object]] = lambda _event: iter((("127.0.0.1", 1), 0))
        self.stored: list[int] = []
        self.let_go = threading.Event()
        ae = AE("SCRIPTED")
        ae.require_called_aet = True
        for model in models or (
            StudyRootQueryRetrieveInformationModelFind,
            StudyRootQueryRetrieveInformationModelGet,
            StudyRootQueryRetrieveInformationModelMove,
            Verification,
        ):
            ae.add_supported_context(model)
        ae.add_supported_context(CTImageStorage, ExplicitVRLittleEndian, scu_role=True, scp_role=True)
        handlers = [(evt.EVT_C_FIND, self._find), (evt.EVT_C_GET, self._get), (evt.EVT_C_MOVE, self._move)]
        self._server = ae.start_server(("127.0.0.1", port), block=False, evt_handlers=handlers)
        self.port = int(self._server.server_address[1])

    def _find(self, event: evt.Event) -> Answers:
        return self.find(event)

    def _get(self, event: evt.Event) -> Iterator[object]:
        return self.get(event)

    def _move(self, event: evt.Event) -> Iterator[object]:
        return self.move(event)

    def source(self, **changes: object) -> QuerySource:
        return source("scripted", "SCRIPTED", self.port, **changes)

    def close(self) -> None:
        self.let_go.set()
        self._server.shutdown()


class SlowLine:
    """A port that leads to another one, slowly."""

    def __init__(self, port: int, bytes_a_second: int) -> None:
        self._target = port
        self._bytes_a_second = bytes_a_second
        self._closed = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._closed.set()
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._target))
                for ends in ((near, far), (far, near)):
                    threading.Thread(target=self._forward, args=ends, daemon=True).start()

    def _forward(self, reading: socket.socket, writing: socket.socket) -> None:
        with contextlib.suppress(OSError), reading, writing:
            while block := reading.recv(1 << 16):
                writing.sendall(block)
                self._closed.wait(len(block) / self._bytes_a_second)
            writing.shutdown(socket.SHUT_RDWR)


def source(name: str, ae_title: str, port: int, **changes: object) -> QuerySource:
    values: dict[str, object] = {"host": "127.0.0.1", "timeout_s": 10.0, "retrieve": Retrieval.GET} | changes
    return QuerySource(name=name, ae_title=ae_title, port=port, **values)  # type: ignore[arg-type]


DICOMWEB: dict[str, object] = {
    "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
    "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
}
"""Options with which Debian's Orthanc speaks DICOMweb."""
