"""Which association brings which study, and how it ended: receiver, STOW-RS and imports tell, the pipeline reads."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE, build_context
from pynetdicom.association import Association

from dicom_node.domain.visits import Visit
from dicom_node.scp.visits import VisitBook
from dicom_node.storage.visits import VisitFiles, visit_folder
from tests.acceptance.orthanc import Orthanc
from tests.arrivals import PROGRAM, Process, Web, write_config
from tests.phantoms import chest_series, write
from tests.requestor import ATTENTIVE

RELEASE = """\
rules:
  - name: chest
    match: {Modality: CT}
    complete_when: {quiet: 10m, max_wait: 20m, release: 1s}
    model: chest-ct-densitometry
"""
PEERS = [{"name": "ct", "ae_title": "CT", "host": "localhost"}]


class Receiving(Process):
    def __init__(self, folder: Path, rules: str = RELEASE) -> None:
        config = write_config(folder, peers=PEERS)
        (folder / "rules.yaml").write_text(rules)
        super().__init__(config, "receive")
        self.wait_for("receiver_listening")
        self.port = int(self.log().split(" port=")[1].split()[0])
        self.visits = VisitFiles(folder / "data" / "run")

    def associate(self) -> Association:
        ae = AE("CT")
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 20
        association = ae.associate(
            "127.0.0.1",
            self.port,
            ae_title="AINODE",
            contexts=[build_context(CTImageStorage, ExplicitVRLittleEndian)],
            evt_handlers=[ATTENTIVE],
        )
        assert association.is_established
        return association

    def seen(self, condition: Callable[[list[Visit]], bool]) -> list[Visit]:
        Orthanc.wait_until(lambda: condition(self.visits.look()), 20, every_s=0.02)
        return self.visits.look()


@pytest.fixture
def receiving(tmp_path: Path) -> Iterator[Receiving]:
    process = Receiving(tmp_path / "node")
    yield process
    process.close()


def store(association: Association, *data_sets: object) -> None:
    for ds in data_sets:
        assert association.send_c_store(ds).Status == 0  # type: ignore[arg-type]


def test_open_association_is_seen_with_every_study_and_released_at_its_end(receiving: Receiving) -> None:
    one, other = chest_series()[:2], chest_series()[:2]
    association = receiving.associate()
    assert receiving.visits.look() == []
    store(association, one[0], other[0], one[1])
    [visit] = receiving.seen(lambda visits: len(visits) == 1)
    assert visit.study_instance_uids == {one[0].StudyInstanceUID, other[0].StudyInstanceUID}
    assert visit.ended_at is None
    [file] = visit_folder(receiving.folder / "data" / "run").iterdir()
    assert len(file.read_text().splitlines()) == 2  # a study is named once, however many instances come
    association.release()
    [visit] = receiving.seen(lambda visits: visits[0].ended_at is not None)
    assert visit.released
    received = max(int(path.name[:20]) for path in receiving.incoming()) / 1e9
    assert visit.ended_at is not None
    assert visit.ended_at.timestamp() >= received


@pytest.mark.parametrize("how", ["abort", "connection lost"])
def test_association_that_breaks_off_is_over_and_not_released(receiving: Receiving, how: str) -> None:
    association = receiving.associate()
    store(association, chest_series()[0])
    if how == "abort":
        association.abort()
    else:
        assert association.dul.socket is not None
        association.dul.socket.close()
    [visit] = receiving.seen(lambda visits: bool(visits) and visits[0].ended_at is not None)
    assert not visit.released
    association.kill()


def test_association_of_a_killed_receiver_is_over_and_not_released(receiving: Receiving) -> None:
    association = receiving.associate()
    store(association, chest_series()[0])
    receiving.seen(lambda visits: len(visits) == 1 and visits[0].ended_at is None)
    receiving.close()
    [visit] = receiving.seen(lambda visits: visits[0].ended_at is not None)
    assert not visit.released
    association.kill()


def test_association_that_brings_nothing_leaves_no_note(receiving: Receiving) -> None:
    receiving.associate().release()
    assert receiving.visits.look() == []


def test_nothing_is_noted_while_no_rule_asks(tmp_path: Path) -> None:
    process = Receiving(tmp_path / "node", RELEASE.replace(", release: 1s", ""))
    try:
        association = process.associate()
        store(association, chest_series()[0])
        association.release()
        assert process.stop() == 0
        assert len(process.incoming()) == 1
        assert not visit_folder(process.folder / "data" / "run").exists()
    finally:
        process.close()


def test_storescu_of_dcmtk_releases(receiving: Receiving, tmp_path: Path) -> None:
    paths = write(chest_series()[:4], tmp_path / "ct")
    subprocess.run(["/usr/bin/storescu", "-aet", "CT", "-aec", "AINODE", "127.0.0.1", str(receiving.port), *paths], check=True)
    [visit] = receiving.seen(lambda visits: bool(visits) and visits[0].ended_at is not None)
    assert visit.released


def test_stow_request_is_a_visit(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    web = Web(folder)
    try:
        (folder / "rules.yaml").write_text(RELEASE)
        web.process.send_signal(1)  # SIGHUP: rules are taken over
        series = chest_series()[:2]
        parts = [path.read_bytes() for path in write(series, tmp_path / "ct")]
        visits = VisitFiles(folder / "data" / "run")

        def noted() -> bool:
            assert web.store(parts).status_code == 200
            return bool(visits.look())

        Orthanc.wait_until(noted, 20, every_s=0.05)
        visit = visits.look()[0]
        assert (visit.study_instance_uids, visit.released) == ({series[0].StudyInstanceUID}, True)
    finally:
        web.close()


def test_import_is_a_visit(tmp_path: Path) -> None:
    folder = tmp_path / "node"
    config = write_config(folder)
    (folder / "rules.yaml").write_text(RELEASE)
    series = chest_series()[:3]
    write(series, tmp_path / "ct")
    subprocess.run([str(PROGRAM), "import", str(tmp_path / "ct"), "--config", str(config)], check=True, capture_output=True)
    [visit] = VisitFiles(folder / "data" / "run").look()
    assert (visit.study_instance_uids, visit.released) == ({series[0].StudyInstanceUID}, True)


def test_first_word_about_the_end_counts_and_a_torn_line_does_not(tmp_path: Path) -> None:
    files = VisitFiles(tmp_path)
    visit = VisitBook(tmp_path, "test", wanted=True).open()
    visit.brings("1.2")
    visit.end(released=True)
    visit.end(released=False)
    visit.brings("1.3")
    [seen] = files.look()
    assert (seen.released, seen.study_instance_uids) == (True, {"1.2"})
    torn = visit_folder(tmp_path) / "torn"
    torn.write_text("study 1.2\nstudy 1.3")
    assert {v.name: v.study_instance_uids for v in files.look()}["torn"] == {"1.2"}


def test_folder_that_cannot_be_written_costs_no_instance(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "visits").write_text("in the way")
    visit = VisitBook(tmp_path, "test", wanted=True).open()
    visit.brings("1.2")
    visit.end(released=True)
    assert "visit_not_noted" in capsys.readouterr().out
    assert VisitFiles(tmp_path).look() == []
