"""Receivers as the supervisor starts them, two on one inherited socket, without the rest of the node."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from time import monotonic

import psutil
import yaml

from dicom_node.app import load_checked, open_ports, prepare
from tests.acceptance.orthanc import Orthanc
from tests.conftest import ROOT, free_port


class Receivers:
    """Processes that share a listening socket."""

    def __init__(self, folder: Path, ae_titles: list[str], count: int = 2, **dicom: object) -> None:
        folder.mkdir(exist_ok=True)
        node = {
            "ae_title": "AINODE",
            "dicom": {"host": "127.0.0.1", "port": free_port(), "min_free": "64MiB", **dicom},
            "data_dir": "data",
            "database": f"sqlite:///{folder / 'data' / 'node.db'}",
            "peers": [{"name": title.lower(), "ae_title": title, "host": "localhost"} for title in ae_titles],
            "models_dir": str(ROOT / "config" / "models"),
        }
        (folder / "node.yaml").write_text(yaml.safe_dump(node, sort_keys=False))
        (folder / "rules.yaml").write_text("rules: []\n")
        configuration = load_checked(folder / "node.yaml")
        self.folder, self.files = folder, prepare(configuration)
        self.socket = open_ports(configuration)["--listener"]
        self.port = int(self.socket.getsockname()[1])
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        for number in range(count):
            self.start(f"receiver-{number}")
        Orthanc.wait_until(lambda: self.log().count("receiver_listening") == count, 60)

    def start(self, name: str) -> None:
        snapshot, listener = str(self.files.run / "configuration.json"), str(self.socket.fileno())
        command = [sys.executable, "-m", "dicom_node", "receive", "--snapshot", snapshot, "--name", name, "--listener", listener]
        environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(self.files.metrics)}
        with (self.folder / "receivers.log").open("ab") as log:
            self.processes[name] = subprocess.Popen(command, env=environment, pass_fds=(self.socket.fileno(),), stderr=log)

    def kill(self, name: str) -> None:
        self.processes[name].kill()
        self.processes[name].wait()

    def log(self) -> str:
        return (self.folder / "receivers.log").read_text("utf-8")

    def used(self, name: str) -> tuple[int, int, int]:
        """Descriptors, threads, resident bytes."""
        process = psutil.Process(self.processes[name].pid)
        return process.num_fds(), process.num_threads(), process.memory_info().rss

    def used_at_rest(self, name: str) -> tuple[int, int]:
        """Descriptors and threads once they have been the same for two seconds: nothing of an earlier association is left."""
        since, seen = monotonic(), self.used(name)[:2]

        def same() -> bool:
            nonlocal since, seen
            if (now := self.used(name)[:2]) != seen:
                since, seen = monotonic(), now
            return monotonic() - since >= 2

        Orthanc.wait_until(same, 30)
        return seen

    def close(self) -> None:
        for process in self.processes.values():
            process.terminate()
        for process in self.processes.values():
            process.wait(30)
        self.socket.close()
