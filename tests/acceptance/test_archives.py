"""One running node and three archives of different kinds at once: each holds exactly its own objects, valid, in its form."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from tests.acceptance.daemon import Daemon
from tests.acceptance.orthanc import Orthanc
from tests.conftest import free_port
from tests.integration.query_peers import Dcmqrscp
from tests.phantoms import chest_series, write
from tests.result_checks import contradictions, errors_of, faults_of_report, faults_of_segmentation, faults_of_set, items

pytestmark = pytest.mark.acceptance
NAME = "Müller^Jörg"
SR_CLASSES = {"pacs": "1.2.840.10008.5.1.4.1.1.88.34", "old": "1.2.840.10008.5.1.4.1.1.88.11", "lab": "1.2.840.10008.5.1.4.1.1.88.34"}
HELD = {"pacs": {"SR": 1, "SEG": 1, "OT": 7}, "old": {"SR": 1, "OT": 7}, "lab": {"SR": 1, "SEG": 1}}
PROFILES = {"pacs": "ohif", "old": "legacy-pacs", "lab": "research"}


class Archives:
    """What three archives hold of one study after its job: `ohif` in Orthanc, `legacy-pacs` in a storescp that takes Implicit VR Little
    Endian alone, `research` in dcmqrscp."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        port, old_port = free_port(), free_port()
        self.pacs, self.daemon = Orthanc(folder / "pacs", port), Daemon(folder / "node", port=port)
        self.lab = Dcmqrscp(folder / "lab", port)
        (folder / "old").mkdir()
        self.old = subprocess.Popen(["/usr/bin/storescp", "+xi", "-od", str(folder / "old"), str(old_port)])
        self.daemon.node["destinations"] = [
            {"name": name, "ae_title": title, "host": "127.0.0.1", "port": at, "timeout": "10s", "profile": PROFILES[name]}
            for name, title, at in (
                ("pacs", "ORTHANC", self.pacs.dicom_port),
                ("old", "OLDPACS", old_port),
                ("lab", "DCMQRSCP", self.lab.port),
            )
        ]
        self.daemon.rules["rules"][0]["send_to"] = list(PROFILES)
        self.daemon.write()
        source = chest_series(PatientName=NAME, SpecificCharacterSet="ISO_IR 100")
        self.paths, self.source = write(source, folder / "source"), source

    def run(self) -> None:
        self.pacs.start()
        self.daemon.start()
        self.pacs.push(self.pacs.add(self.paths))
        Orthanc.wait_until(lambda: [job["state"] for job in self.daemon.jobs()] == ["DONE"], 120, 0.5)
        self.held = {
            "pacs": [d for m in HELD["pacs"] for d in self.pacs.read(self.source[0].StudyInstanceUID, m)],
            "old": [pydicom.dcmread(path) for path in (self.folder / "old").iterdir()],
            "lab": [pydicom.dcmread(path) for path in (self.folder / "lab" / "db").glob("*.dcm")],
        }

    def close(self) -> None:
        self.daemon.close()
        self.pacs.close()
        self.lab.close()
        self.old.terminate()
        self.old.wait(10)

    def one(self, name: str, modality: str) -> Dataset:
        [found] = [ds for ds in self.held[name] if ds.Modality == modality]
        return found


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archives]:
    archives = Archives(tmp_path_factory.mktemp("archives"))
    try:
        archives.run()
        yield archives
    finally:
        archives.close()


@pytest.mark.parametrize("name", PROFILES)
def test_archive_holds_exactly_what_its_profile_says_and_the_node_has_on_record(archives: Archives, name: str) -> None:
    held = archives.held[name]
    assert Counter(ds.Modality for ds in held) == HELD[name]
    assert archives.one(name, "SR").SOPClassUID == SR_CLASSES[name]
    [job] = archives.daemon.jobs()
    shown = json.loads(archives.daemon.run("jobs", "show", str(job["id"]), "--json").stdout)
    sent = [d for d in shown["deliveries"] if d["destination"] == name]
    assert {d["state"] for d in sent} == {"SENT"}
    assert {d["result"]["sop_instance_uid"] for d in sent} == {str(ds.SOPInstanceUID) for ds in held}


@pytest.mark.parametrize("name", PROFILES)
def test_every_object_that_an_archive_holds_is_valid_beside_the_source(archives: Archives, tmp_path: Path, name: str) -> None:
    paths = []
    for number, ds in enumerate(archives.held[name]):
        paths.append(tmp_path / f"{number}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    assert errors_of(paths) == {}
    assert contradictions([*archives.paths, *paths]) == []
    assert {str(ds.PatientName) for ds in archives.held[name]} == {NAME}
    assert faults_of_set(archives.held[name], archives.source) == []


def test_old_archive_gets_implicit_vr_and_a_report_of_sentences(archives: Archives) -> None:
    assert {ds.file_meta.TransferSyntaxUID for ds in archives.held["old"]} == {ImplicitVRLittleEndian}
    report = archives.one("old", "SR")
    assert {item.ValueType for item in items(report)} <= {"CONTAINER", "CODE", "TEXT", "UIDREF", "IMAGE"}
    assert any("mL" in str(item.TextValue) for item in items(report) if item.ValueType == "TEXT")


def test_viewer_and_laboratory_get_what_a_web_viewer_reads(archives: Archives) -> None:
    for name in ("pacs", "lab"):
        assert faults_of_report(archives.one(name, "SR"), archives.source[0]) == []
        assert faults_of_segmentation(archives.one(name, "SEG"), archives.source[0]) == []


def test_report_refers_only_to_what_its_archive_can_find(archives: Archives) -> None:
    source = {str(ds.SOPInstanceUID) for ds in archives.source}
    for name, held in archives.held.items():
        known = source | {str(ds.SOPInstanceUID) for ds in held}
        for ds in held:
            assert {str(e.value) for e in ds.iterall() if e.keyword == "ReferencedSOPInstanceUID"} <= known, name


def test_one_form_is_one_object_everywhere_and_other_forms_are_others(archives: Archives) -> None:
    assert archives.one("pacs", "SEG").SOPInstanceUID == archives.one("lab", "SEG").SOPInstanceUID
    assert archives.one("pacs", "SEG").PixelData == archives.one("lab", "SEG").PixelData
    assert archives.one("pacs", "SR").SOPInstanceUID != archives.one("old", "SR").SOPInstanceUID
    pages = {str(ds.SOPInstanceUID) for ds in archives.held["pacs"] if ds.Modality == "OT"}
    assert not pages & {str(ds.SOPInstanceUID) for ds in archives.held["old"]}


def test_archive_draws_the_first_page_as_the_node_drew_it(archives: Archives) -> None:
    page = next(ds for ds in archives.held["pacs"] if ds.Modality == "OT" and ds.InstanceNumber == 1)
    found = archives.pacs.client.post("/tools/lookup", content=str(page.SOPInstanceUID)).json()
    [instance] = [f["ID"] for f in found if f["Type"] == "Instance"]
    shown = Image.open(BytesIO(archives.pacs.client.get(f"/instances/{instance}/preview", headers={"Accept": "image/png"}).content))
    assert np.array_equal(np.asarray(shown), page.pixel_array)
