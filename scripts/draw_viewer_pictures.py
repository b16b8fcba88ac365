"""Draws what the OHIF viewer shows of results in Orthanc: `PYTHONPATH=. python scripts/draw_viewer_pictures.py`.

Needs Debian's chromium and orthanc-dicomweb, `pip install playwright`, and npm, which fetches @ohif/app (60 MB) into .cache/ohif.
"""

from __future__ import annotations

import mimetypes
import subprocess
import tempfile
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
from PIL import Image
from playwright.sync_api import Page, sync_playwright

from dicom_node.sr_writer import BuildRequest, ResultForm, build_results
from dicom_node.sr_writer.form import ObjectKind
from tests.acceptance.orthanc import Orthanc
from tests.integration.test_result_objects import request_for
from tests.phantoms import chest_series
from tests.result_findings import request
from tests.result_sources import stack

ROOT = Path(__file__).parents[1]
DIST = ROOT / ".cache" / "ohif" / "package" / "dist"
VERSION = "3.13.2"
SIZE = (1200, 640)
FLAGS = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
_HOP = ("transfer-encoding", "content-encoding", "content-length", "connection")


class Viewer(BaseHTTPRequestHandler):
    """OHIF's files, and Orthanc's DICOMweb under the same origin."""

    protocol_version = "HTTP/1.1"
    archive = ""

    def do_GET(self) -> None:
        """Answer from the build, from its configuration, or from the archive."""
        path = self.path.split("?")[0]
        if path.startswith("/dicom-web"):
            accept = {"Accept": self.headers.get("Accept", "*/*")}
            answer = httpx.get(self.archive + self.path, headers=accept, timeout=60)
            kept = {k: v for k, v in answer.headers.items() if k.lower() not in _HOP}
            self._answer(answer.status_code, answer.content.replace(self.archive.encode(), b""), kept)
            return
        file = ROOT / "tests" / "viewers" / "ohif-config.js" if path == "/app-config.js" else DIST / path.lstrip("/")
        if not file.is_file():
            file = DIST / "index.html"
        self._answer(200, file.read_bytes(), {"Content-Type": mimetypes.guess_type(file.name)[0] or "application/octet-stream"})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def fetch_ohif() -> None:
    """Unpack OHIF's published build."""
    if not DIST.is_dir():
        folder = DIST.parents[1]
        folder.mkdir(parents=True, exist_ok=True)
        subprocess.run(["/usr/bin/env", "npm", "pack", "--silent", f"@ohif/app@{VERSION}"], cwd=folder, check=True)
        subprocess.run(["/usr/bin/tar", "xzf", f"ohif-app-{VERSION}.tgz"], cwd=folder, check=True)


def stored(pacs: Orthanc, asked: BuildRequest, folder: Path) -> str:
    """Put source and results into the archive; returns the Study Instance UID."""
    folder.mkdir()
    paths = []
    for number, ds in enumerate([*asked.source, *(o.data_set for o in build_results(asked))]):
        paths.append(folder / f"{number}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    pacs.add(paths)
    return str(asked.source[0].StudyInstanceUID)


def drawn(page: Page, address: str, study: str, side: str, target: Path) -> dict[str, list[str]]:
    """Open a study, wait until the viewer has drawn it, keep its picture; returns what it says it shows."""
    page.goto(f"{address}/viewer?StudyInstanceUIDs={study}&side={side}")
    page.wait_for_function("window.shown !== undefined", timeout=120_000)
    page.screenshot(path=target)
    Image.open(target).convert("RGB").quantize(128).save(target, optimize=True)
    return dict(page.evaluate("window.shown"))


def main() -> None:
    """Start archive, viewer and browser, and draw."""
    fetch_ohif()
    with tempfile.TemporaryDirectory() as name:
        plugin = "/usr/share/orthanc/plugins/libOrthancDicomWeb.so"
        pacs = Orthanc(Path(name) / "pacs", 1, Plugins=[plugin], DicomWeb={"Enable": True, "Root": "/dicom-web/"})
        pacs.start()
        Viewer.archive = f"http://127.0.0.1:{pacs.http_port}"
        server = ThreadingHTTPServer(("127.0.0.1", 0), Viewer)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}"
        objects = frozenset({ObjectKind.SR, ObjectKind.SEG, ObjectKind.SC})
        marks = request(stack(), form=ResultForm(objects=objects))
        try:
            studies = {
                ("SR", "ohif-report"): stored(pacs, marks, Path(name) / "marks"),
                ("OT", "ohif-segments"): stored(pacs, request_for(chest_series()), Path(name) / "chest"),
            }
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=FLAGS)
                page = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]})
                for (side, picture), study in studies.items():
                    print(picture, drawn(page, address, study, side, ROOT / "docs" / "pictures" / f"{picture}.png"))
                browser.close()
        finally:
            server.shutdown()
            pacs.close()


if __name__ == "__main__":
    main()
