"""`query`, `fetch` and `doctor` as an operator runs them, against DCMTK's archive."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.storage import InstanceFiles
from tests.conftest import ROOT, free_port
from tests.integration.query_peers import Dcmqrscp
from tests.phantoms import chest_series, write

SERIES = chest_series()[:3]
STUDY = str(SERIES[0].StudyInstanceUID)


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("node")
    archive = Dcmqrscp(folder / "archive", free_port())
    write(SERIES, folder / "ct")
    archive.add(folder / "ct")
    (folder / "rules.yaml").write_text("rules: []\n")
    (folder / "node.yaml").write_text(
        f"ae_title: AINODE\ndicom: {{host: 127.0.0.1, port: {free_port()}, min_free: 0B}}\ndata_dir: data\n"
        f"database: sqlite:///{folder / 'node.db'}\nmodels_dir: {ROOT / 'config' / 'models'}\n"
        "query_sources:\n"
        f"  - {{name: archive, ae_title: DCMQRSCP, host: 127.0.0.1, port: {archive.port}}}\n"
        f"  - {{name: gone, ae_title: GONE, host: 127.0.0.1, port: {free_port()}, timeout: 2s}}\n"
    )
    yield folder / "node.yaml"
    archive.close()


def run(config: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dicom_node", *arguments, "--config", str(config)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_query_lists_for_people_and_for_programs(config: Path) -> None:
    table = run(config, "query", "archive", "--patient-id", "PH-*")
    assert table.returncode == 0, table.stderr
    assert STUDY in table.stdout
    assert "Phantom^Chest" in table.stdout
    as_json = run(config, "query", "archive", "--study", STUDY, "--level", "series", "--json")
    [match] = json.loads(as_json.stdout)["matches"]
    assert match["SeriesInstanceUID"] == [SERIES[0].SeriesInstanceUID]
    assert as_json.stderr == ""
    assert "PH-4711" in run(config, "query", "archive", "--patient-id", "PH-*", "--level", "patient").stdout


def test_fetch_brings_the_study_into_incoming_and_a_dry_run_nothing(config: Path) -> None:
    files = InstanceFiles(config.parent / "data")
    dry = run(config, "fetch", "archive", STUDY, "--dry-run")
    assert "3 instance(s) would be fetched" in dry.stdout
    assert "counted by IMAGE level" in dry.stdout
    assert not files.incoming.exists()
    done = run(config, "fetch", "archive", STUDY)
    assert done.returncode == 0, done.stderr
    assert "3 of 3 instance(s) on disk" in done.stdout
    assert len(files.pending()) == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("query", "archives", "--study", "1.2"), "no query source is named 'archives'"),
        (("query", "archive"), "nothing to look for"),
        (("query", "gone", "--study", "1.2"), "nobody listens there"),
        (("fetch", "archive", "1.2.3"), "has no instance of that study"),
    ],
)
def test_faults_are_said_in_words_with_exit_status_1(config: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run(config, *arguments)
    assert done.returncode == 1
    assert words in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_echoes_query_sources(config: Path) -> None:
    findings = {f["check"]: f["ok"] for f in json.loads(run(config, "doctor", "--json").stdout)}
    assert (findings["query source archive"], findings["query source gone"]) == (True, False)
