"""The running node: a release closes at once, a rule that waits is run by hand."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.daemon import MODEL, Daemon
from tests.acceptance.orthanc import Orthanc
from tests.phantoms import chest_series, write

pytestmark = pytest.mark.acceptance


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    started = Daemon(tmp_path / "node")
    [rule] = started.rules["rules"]
    rule.update(send_to=[], complete_when={"quiet": "10m", "max_wait": "20m", "release": "200ms"})
    patient = {**rule, "name": "patient", "complete_when": {"quiet": "10m", "max_wait": "20m"}}
    started.rules["rules"] = [rule, patient]
    started.write()
    started.start()
    yield started
    started.close()


def shown(daemon: Daemon, study: str) -> dict:  # type: ignore[type-arg]
    done = daemon.run("studies", "show", study, "--json")
    return json.loads(done.stdout)["study"] if done.returncode == 0 else {}  # type: ignore[no-any-return]


def ran(daemon: Daemon) -> list[str]:
    return sorted(job["key"]["rule"] for job in daemon.jobs())


def test_release_closes_at_once_and_the_patient_rule_is_run_by_hand(daemon: Daemon, tmp_path: Path) -> None:
    series = chest_series()
    study = str(series[0].StudyInstanceUID)
    paths = write(series, tmp_path / "ct")
    subprocess.run(["/usr/bin/storescu", "-aet", "CT", "-aec", "AINODE", "127.0.0.1", str(daemon.port), *paths], check=True)
    Orthanc.wait_until(lambda: ran(daemon) == [MODEL], 30)
    assert [wait["rule"] for wait in shown(daemon, study)["waits"]] == ["patient"]
    assert "patient waits: 10 min without an instance, until" in daemon.run("studies", "list").stdout
    assert "patient waits: 10 min without an instance, until" in daemon.run("studies", "show", study).stdout

    dry = daemon.run("studies", "run", study, "--dry-run")
    assert "rule patient: run" in dry.stdout, dry.stderr
    assert ran(daemon) == [MODEL]
    misspelt = daemon.run("studies", "run", study, "--rule", "patent")
    assert misspelt.returncode != 0
    assert "did you mean 'patient'" in misspelt.stderr
    assert "no such study" in daemon.run("studies", "run", "1.2.3").stderr

    done = daemon.run("studies", "run", study, "--rule", "patient")
    assert done.returncode == 0, done.stderr
    Orthanc.wait_until(lambda: ran(daemon) == [MODEL, "patient"], 30)
    Orthanc.wait_until(lambda: shown(daemon, study)["state"] == "CLOSED", 10)
    assert shown(daemon, study)["waits"] == []
    again = daemon.run("studies", "run", study, "--rule", "patient")
    assert "has run on this revision as job" in again.stdout
    assert "Nothing new would come of it" in again.stdout
    assert ran(daemon) == [MODEL, "patient"]


def test_held_study_is_released_only_when_that_is_said(daemon: Daemon, tmp_path: Path) -> None:
    hold = {"name": "phantoms", "match": {"PatientID": "PH-4711"}, "hold": True}
    daemon.rules["rules"].insert(0, hold)
    daemon.write()
    daemon.reload()
    Orthanc.wait_until(lambda: "configuration_reloaded" in daemon.log(), 20)
    series = chest_series()
    study = str(series[0].StudyInstanceUID)
    paths = write(series, tmp_path / "ct")
    subprocess.run(["/usr/bin/storescu", "-aet", "CT", "-aec", "AINODE", "127.0.0.1", str(daemon.port), *paths], check=True)
    Orthanc.wait_until(lambda: shown(daemon, study).get("state") == "HELD", 30)
    refused = daemon.run("studies", "run", study)
    assert refused.returncode != 0
    assert "held by rule phantoms" in refused.stderr
    assert "--even-held" in refused.stderr
    assert daemon.run("studies", "run", study, "--even-held").returncode == 0
    Orthanc.wait_until(lambda: ran(daemon) == [MODEL, "patient"], 30)
    assert "PH-4711" not in daemon.log()
