"""The node as its users run it: `dicom-node serve` as a subprocess, watched through its own commands."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import yaml

from tests.acceptance.orthanc import Orthanc
from tests.commands import dicom_node
from tests.conftest import ROOT, free_port

PROGRAM = Path(sys.executable).parent / "dicom-node"
MODEL = "chest-ct-densitometry"


class Daemon:
    def __init__(self, folder: Path, pacs_port: int = 4242, quiet: str = "1s", port: int | None = None) -> None:
        folder.mkdir()
        self.folder, self.port, self.config = folder, port or free_port(), folder / "node.yaml"
        self.node = {
            "ae_title": "AINODE",
            "dicom": {"host": "127.0.0.1", "port": self.port, "min_free": "64MiB"},
            "data_dir": "data",
            "database": f"sqlite:///{folder / 'data' / 'node.db'}",
            "peers": [{"name": "pacs", "ae_title": "ORTHANC", "host": "localhost"}, {"name": "ct", "ae_title": "CT", "host": "localhost"}],
            "destinations": [{"name": "pacs", "ae_title": "ORTHANC", "host": "127.0.0.1", "port": pacs_port, "timeout": "10s"}],
            "models_dir": str(ROOT / "config" / "models"),
            "delivery": {"retry_first": "1s", "retry_max": "2s"},
        }
        self.rules = {
            "rules": [
                {
                    "name": MODEL,
                    "match": {"Modality": "CT", "BodyPartExamined": ["CHEST"]},
                    "complete_when": {"quiet": quiet, "max_wait": "10m"},
                    "model": MODEL,
                    "send_to": ["pacs"],
                }
            ]
        }
        self.write()
        self.process: subprocess.Popen[bytes] | None = None

    def write(self) -> None:
        self.config.write_text(yaml.safe_dump(self.node, sort_keys=False))
        (self.folder / "rules.yaml").write_text(yaml.safe_dump(self.rules, sort_keys=False))

    def start(self) -> None:
        for stale in (self.folder / "data" / "run").glob("*.pid"):
            stale.unlink()
        with (self.folder / "node.log").open("ab") as log:
            command = [str(PROGRAM), "serve", "--config", str(self.config)]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        Orthanc.wait_until(self._listens, 60)

    def stop(self) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(90)

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()

    def reload(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)

    def child(self, name: str) -> int:
        """The process id of a child, for example `worker-0`."""
        return int((self.folder / "data" / "run" / f"{name}.pid").read_text())

    def kill_child(self, name: str) -> None:
        with contextlib.suppress(ProcessLookupError):  # it is being restarted already
            os.kill(self.child(name), signal.SIGKILL)

    def kill_receivers(self) -> None:
        """Kill every receiver; nobody knows which one has an association."""
        for path in (self.folder / "data" / "run").glob("receiver-*.pid"):
            self.kill_child(path.stem)

    def log(self) -> str:
        return (self.folder / "node.log").read_text("utf-8")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        if arguments[0] == "serve":  # takes over signals
            return subprocess.run([str(PROGRAM), *arguments, "--config", str(self.config)], capture_output=True, text=True, check=False)
        done = dicom_node(*arguments, "--config", self.config)
        return subprocess.CompletedProcess(arguments, done.code, done.out, done.err)

    def jobs(self) -> list[dict]:  # type: ignore[type-arg]
        done = self.run("jobs", "list", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)  # type: ignore[no-any-return]

    def _listens(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()[-3000:]
        echo = ["/usr/bin/echoscu", "-aet", "CT", "-aec", "AINODE", "-to", "2", "127.0.0.1", str(self.port)]
        last_started = self.folder / "data" / "run" / "sender-0.pid"
        return last_started.exists() and subprocess.run(echo, capture_output=True, check=False).returncode == 0
