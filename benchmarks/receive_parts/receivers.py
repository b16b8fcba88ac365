"""The receivers: ours and its peers, each on a free loopback port and in a folder of its own, ended by process id."""

from __future__ import annotations

import itertools
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import yaml

from dicom_node.config.node_schema import DicomSection
from dicom_node.scp.listener import listening_socket
from receive_parts.senders import CALLED_AE_TITLE, CALLING_AE_TITLE

_START_LIMIT_S = 60.0
_STOP_LIMIT_S = 20.0
_LARGE_PDU = "131072"
_spent = itertools.count()


class Family(StrEnum):
    """Whose receiver it is."""

    NODE = "node"
    DCMTK = "DCMTK"
    ORTHANC = "Orthanc"
    PYNETDICOM = "pynetdicom"


@dataclass(frozen=True, slots=True)
class ReceiverKind:
    """One receiver in one setting.

    Attributes:
        durability: What is true when it answers Success, in words.
        synced: Whether it waits for the disk before Success.
        parallel: Whether it serves several associations at once.
        fresh: Started anew for every measurement; otherwise once, because starting takes longer than measuring.
    """

    name: str
    family: Family
    durability: str
    synced: bool = False
    parallel: bool = True
    fresh: bool = True


_CACHED = "page cache"
NODE_OPTION = "durability" in DicomSection.model_fields
_NODE = (
    (
        ReceiverKind("node-none", Family.NODE, _CACHED, fresh=False),
        ReceiverKind("node-group", Family.NODE, "file and name synced, one sync for a group", synced=True, fresh=False),
        ReceiverKind("node-strict", Family.NODE, "file and folder synced", synced=True, fresh=False),
    )
    if NODE_OPTION
    else (ReceiverKind("node-strict", Family.NODE, "file and folder synced", synced=True, fresh=False),)
)
KINDS: tuple[ReceiverKind, ...] = (
    *_NODE,
    ReceiverKind("storescp", Family.DCMTK, _CACHED),
    ReceiverKind("storescp-best", Family.DCMTK, _CACHED),
    ReceiverKind("storescp-nodelay", Family.DCMTK, _CACHED),
    ReceiverKind("dcmrecv-best", Family.DCMTK, _CACHED, parallel=False),
    ReceiverKind("orthanc", Family.ORTHANC, _CACHED),
    ReceiverKind("orthanc-sync", Family.ORTHANC, "file synced (SyncStorageArea)", synced=True),
    ReceiverKind("pynetdicom", Family.PYNETDICOM, _CACHED, fresh=False),
)
_STORESCP_BEST = ["/usr/bin/storescp", "+B", "-dhl", "-pdu", _LARGE_PDU, "-od"]
_DCMTK_COMMANDS = {
    "storescp": ["/usr/bin/storescp", "-od"],
    "storescp-best": _STORESCP_BEST,
    "storescp-nodelay": _STORESCP_BEST,
    "dcmrecv-best": ["/usr/bin/dcmrecv", "-xf", "/etc/dcmtk/storescp.cfg", "Default", "+B", "-dhl", "-pdu", _LARGE_PDU, "-od"],
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a receiver is started for.

    Attributes:
        processes: How many processes our node shares the port among.
        associations: How many will be open at once; more than one makes storescp fork.
        nodelay: Whether DCMTK's environment variable TCP_NODELAY is set for it. Without, DCMTK and Orthanc hold the second half
            of each response back until the sender acknowledges the first.
    """

    processes: int
    associations: int
    nodelay: bool


class ReceiverError(RuntimeError):
    """A receiver did not start."""


class RunningReceiver:
    """A receiver's processes and where it stores."""

    def __init__(self, kind: ReceiverKind, folder: Path, surroundings: Surroundings) -> None:
        """Start it in a new folder for all it writes, and wait until it answers C-ECHO.

        Raises:
            ReceiverError: it did not answer in time.
        """
        folder.mkdir(parents=True)
        self.kind, self.folder, self.port = kind, folder, _free_port()
        self.stored = folder / "stored"
        self.stored.mkdir()
        self._log = folder / "receiver.log"
        environment = {k: v for k, v in os.environ.items() if k != "TCP_NODELAY"}
        if surroundings.nodelay:
            environment["TCP_NODELAY"] = "1"
        self._processes = self._started(surroundings, environment)
        try:
            self._wait_until_it_answers()
        except ReceiverError:
            self.stop()
            raise

    @property
    def pids(self) -> Sequence[int]:
        """The processes that were started; forks are found below them."""
        return [p.pid for p in self._processes]

    def last_words(self) -> str:
        """Return the end of its log, for the message of a failure."""
        return self._log.read_text("utf-8", "replace").strip()[-300:].replace("\n", " / ")

    def wipe(self) -> None:
        """Empty what was stored and lay it aside; nothing is deleted before the end.

        ext4 without a journal does not use an inode again for minutes after its file was deleted, and looks at each of them whenever
        it creates one nearby: 0.02 ms a file become 0.5 ms, for whoever comes next.
        """
        spent = self.folder / "spent"
        spent.mkdir(exist_ok=True)
        for path in self.stored.rglob("*"):
            if path.is_file() and "run" not in path.parts[len(self.stored.parts) :]:
                os.truncate(path, 0)
                path.rename(spent / str(next(_spent)))

    def stop(self) -> None:
        """End the processes and empty what they stored."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            try:
                process.wait(_STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.wipe()

    def _started(self, surroundings: Surroundings, environment: Mapping[str, str]) -> list[subprocess.Popen[bytes]]:
        """Start its processes; ours inherit one listening socket, as from their supervisor, so that whoever is idle accepts."""
        commands = self._commands(surroundings.processes, surroundings.associations)
        listener = listening_socket("127.0.0.1", self.port) if self.kind.family is Family.NODE else None
        inherited = (listener.fileno(),) if listener else ()
        if listener:
            commands = [[*command, "--listener", str(listener.fileno())] for command in commands]
        with self._log.open("ab") as log:
            started = [subprocess.Popen(c, stdout=log, stderr=log, cwd=self.folder, env=environment, pass_fds=inherited) for c in commands]
        if listener:
            listener.close()
        return started

    def _commands(self, processes: int, associations: int) -> list[list[str]]:
        match self.kind.family:
            case Family.DCMTK:
                fork = ["--fork"] if self.kind.parallel and associations > 1 else []
                storescp, *options = _DCMTK_COMMANDS[self.kind.name]
                return [[storescp, *fork, *options, str(self.stored), str(self.port)]]
            case Family.PYNETDICOM:
                script = Path(__file__).with_name("pynetdicom_scp.py")
                return [[sys.executable, str(script), str(self.port), str(self.stored)]]
            case Family.ORTHANC:
                return [["/usr/sbin/Orthanc", str(self._write_orthanc())]]
            case Family.NODE:
                program, config = Path(sys.executable).parent / "dicom-node", self._write_node(processes)
                return [[str(program), "receive", "--config", str(config), "--name", f"receiver-{n}"] for n in range(processes)]

    def _write_node(self, processes: int) -> Path:
        dicom: dict[str, object] = {"host": "127.0.0.1", "port": self.port, "min_free": "64MiB", "receivers": processes}
        if NODE_OPTION:
            dicom["durability"] = self.kind.name.removeprefix("node-")
        node = {
            "ae_title": CALLED_AE_TITLE,
            "dicom": dicom,
            "data_dir": str(self.stored),
            "database": f"sqlite:///{self.folder / 'node.db'}",
            "peers": [{"name": "bench", "ae_title": CALLING_AE_TITLE, "host": "localhost"}],
            "destinations": [],
            "models_dir": str(self.folder / "models"),
        }
        (self.folder / "models").mkdir()
        (self.folder / "rules.yaml").write_text("rules: []\n", "utf-8")
        path = self.folder / "node.yaml"
        path.write_text(yaml.safe_dump(node, sort_keys=False), "utf-8")
        return path

    def _write_orthanc(self) -> Path:
        settings = {
            "StorageDirectory": str(self.stored),
            "IndexDirectory": str(self.folder / "index"),
            "HttpServerEnabled": False,
            "DicomPort": self.port,
            "DicomAet": "ORTHANC",
            "DicomThreadsCount": 32,
            "MaximumPduLength": int(_LARGE_PDU),
            "StorageCompression": False,
            "SyncStorageArea": self.kind.synced,
            "OverwriteInstances": True,
            "Plugins": [],
        }
        path = self.folder / "orthanc.json"
        path.write_text(json.dumps(settings), "utf-8")
        return path

    def _wait_until_it_answers(self) -> None:
        echo = ["/usr/bin/echoscu", "-aet", CALLING_AE_TITLE, "-aec", CALLED_AE_TITLE, "-to", "2", "127.0.0.1", str(self.port)]
        deadline, pause = time.monotonic() + _START_LIMIT_S, threading.Event()
        while self._listening() < len(self._processes) or subprocess.run(echo, capture_output=True, check=False).returncode:
            if time.monotonic() > deadline or any(p.poll() is not None for p in self._processes):
                raise ReceiverError(f"{self.kind.name} does not answer: {self.last_words()}")
            pause.wait(0.02)

    def _listening(self) -> int:
        """Count processes known to listen: ours share a port, so an answer is one of them only, and each says so in the log."""
        if self.kind.family is not Family.NODE:
            return len(self._processes)
        return self._log.read_text("utf-8").count("receiver_listening")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
