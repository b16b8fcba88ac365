"""What tests of the ways in share: a configuration, the HTTP process as users run it, and comparison byte for byte."""

from __future__ import annotations

import os
import signal
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx
import pydicom
import yaml

from tests.acceptance.orthanc import Orthanc
from tests.conftest import ROOT, free_port

PROGRAM = Path(sys.executable).parent / "dicom-node"
TOKEN = "0123456789abcdef0123456789abcdef"
REFUSED_PYDICOM_FILES = {
    0xC000: {  # no Part 10 file, or a head that does not say what follows, or a data set without any identifying UID
        *("ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm", "no_meta.dcm", "rtstruct.dcm", "zipMR.gz", "crayons.icc"),
        *("README", "README.txt", "rtplan.dump", "rtstruct.dump", "test1.json", "test_PN.json"),
        *("empty_charset_LEI.dcm", "meta_missing_tsyntax.dcm", "nested_priv_SQ.dcm"),
        *("UN_sequence.dcm", "no_meta_group_length.dcm", "priv_SQ.dcm"),
    },
    0xA900: {  # no Study Instance UID, or another SOP Instance UID in the data set than in the file meta
        *("JPEGLSNearLossless_08.dcm", "JPEGLSNearLossless_16.dcm", "SC_rgb_jls_lossy_line.dcm", "SC_rgb_jls_lossy_sample.dcm"),
        *(
            "rtdose.dcm",
            "rtdose_1frame.dcm",
            "rtdose_expb.dcm",
            "rtdose_expb_1frame.dcm",
            "rtplan.dcm",
            "rtplan_truncated.dcm",
            "badVR.dcm",
        ),
    },
    0x0122: {
        *("DICOMDIR", "DICOMDIR-bigEnd", "DICOMDIR-empty.dcm", "DICOMDIR-implicit", "DICOMDIR-nooffset"),
        *("DICOMDIR-nopatient", "DICOMDIR-reordered"),
    },
}
PYDICOM_FILES = Path(pydicom.__file__).parent / "data" / "test_files"


def write_config(folder: Path, **sections: object) -> Path:
    folder.mkdir(exist_ok=True)
    node = {
        "ae_title": "AINODE",
        "dicom": {"host": "127.0.0.1", "port": free_port(), "min_free": "64MiB"},
        "data_dir": "data",
        "database": f"sqlite:///{folder / 'data' / 'node.db'}",
        "models_dir": str(ROOT / "config" / "models"),
        **sections,
    }
    (folder / "rules.yaml").write_text("rules: []\n")
    (folder / "node.yaml").write_text(yaml.safe_dump(node, sort_keys=False))
    return folder / "node.yaml"


class Process:
    """One of the node's processes alone."""

    def __init__(self, config: Path, command: str) -> None:
        self.folder = config.parent
        with (self.folder / f"{command}.log").open("ab") as log:
            self.process = subprocess.Popen([str(PROGRAM), command, "--config", str(config)], stdout=log, stderr=log)
        self._log = self.folder / f"{command}.log"

    def log(self) -> str:
        return self._log.read_text("utf-8")

    def wait_for(self, event: str, times: int = 1) -> None:
        def there() -> bool:
            assert self.process.poll() is None, self.log()[-3000:]
            return self.log().count(event) >= times

        Orthanc.wait_until(there, 30, every_s=0.02)

    def incoming(self) -> list[Path]:
        return sorted((self.folder / "data" / "incoming").glob("*.dcm"))

    def partials(self) -> list[Path]:
        return list((self.folder / "data" / "incoming").glob(".*.partial"))

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Web(Process):
    def __init__(self, folder: Path, **sections: object) -> None:
        self.port = free_port()
        sender = {"name": "gateway", "token_file": "token", "host": "localhost"}
        far = {"name": "far", "token_file": "far-token", "host": "10.9.8.0/24"}
        folder.mkdir()
        (folder / "token").write_text(TOKEN + "\n")
        (folder / "far-token").write_text(TOKEN[::-1] + "\n")
        stow = {"senders": [sender, far], **sections.pop("stow", {})}  # type: ignore[dict-item]
        super().__init__(write_config(folder, web={"enabled": True, "host": "127.0.0.1", "port": self.port}, stow=stow, **sections), "web")
        self.wait_for("web_listening")
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60, headers={"Authorization": f"Bearer {TOKEN}"})

    def store(self, parts: Sequence[bytes], study: str = "", **headers: str) -> httpx.Response:
        path = f"/dicom-web/studies/{study}" if study else "/dicom-web/studies"
        return self.client.post(path, content=multipart(parts), headers={"Content-Type": CONTENT_TYPE, **headers})

    def close(self) -> None:
        self.client.close()
        super().close()


BOUNDARY = "a-boundary"
CONTENT_TYPE = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'


def multipart(parts: Sequence[bytes]) -> bytes:
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + f"--{BOUNDARY}--\r\n".encode()


def data_set_of(content: bytes) -> bytes:
    """What follows the file meta, found without the code under test."""
    position = 132
    while position + 8 <= len(content) and struct.unpack_from("<H", content, position)[0] == 2:
        vr = content[position + 4 : position + 6]
        long = vr in (b"OB", b"UN", b"UR", b"UT", b"OW")
        position += (
            12 + struct.unpack_from("<I", content, position + 8)[0] if long else 8 + struct.unpack_from("<H", content, position + 6)[0]
        )
    return content[position:]


def pydicom_files() -> Iterator[Path]:
    """The files that pydicom ships, nothing that it would fetch."""
    yield from sorted(p for p in PYDICOM_FILES.rglob("*") if p.is_file())


def rss_peak_bytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))) * 1024


def reset_rss_peak(pid: int) -> None:
    descriptor = os.open(f"/proc/{pid}/clear_refs", os.O_WRONLY)
    os.write(descriptor, b"5")
    os.close(descriptor)
