"""What an operator meets: faults, reload, a PACS that is away, draining."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from tests.acceptance.daemon import MODEL, Daemon
from tests.acceptance.orthanc import Orthanc
from tests.conftest import ROOT
from tests.phantoms import chest_series, write

pytestmark = pytest.mark.acceptance
EXPECTED = {"SR": 1, "SEG": 1, "OT": 7}
House = tuple[Daemon, Orthanc]


def push(daemon: Daemon, folder: Path) -> str:
    series = chest_series()
    paths = write(series, folder)
    subprocess.run(["/usr/bin/storescu", "-aet", "CT", "-aec", "AINODE", "127.0.0.1", str(daemon.port), *paths], check=True)
    return str(series[0].StudyInstanceUID)


def test_pacs_down_is_shown_and_pacs_back_is_served_without_a_person(house: House, tmp_path: Path) -> None:
    daemon, pacs = house
    pacs.stop()
    study = push(daemon, tmp_path / "ct")
    Orthanc.wait_until(lambda: any(j["state"] == "DELIVERING" and j["reason"].startswith("pacs:") for j in daemon.jobs()), 60)
    [job] = [j for j in daemon.jobs() if j["key"]["study_instance_uid"] == study]
    assert "nobody listens there" in job["reason"]
    assert datetime.fromisoformat(job["next_attempt_at"])
    doctor = daemon.run("doctor", "--json")
    assert doctor.returncode == 1
    assert [f["check"] for f in json.loads(doctor.stdout) if not f["ok"]] == ["destination pacs"]
    pacs.start()
    pacs.wait_until(lambda: pacs.results(study) == EXPECTED, 60)
    Orthanc.wait_until(lambda: daemon.jobs()[0]["state"] == "DONE", 20)


def test_rejected_senders_are_logged_with_the_reason(house: House) -> None:
    daemon, _ = house
    for calling, called, reason in (("STRANGER", "AINODE", "calling"), ("CT", "WRONG", "called")):
        done = subprocess.run(
            ["/usr/bin/echoscu", "-aet", calling, "-aec", called, "127.0.0.1", str(daemon.port)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode != 0
        assert f"{reason.capitalize()} AE Title Not Recognized" in done.stdout + done.stderr
        Orthanc.wait_until(lambda reason=reason: f"reason={reason}-ae-title-not-recognized" in daemon.log(), 5)


def test_reload_takes_new_rules_and_keeps_the_old_ones_on_a_fault(house: House, tmp_path: Path) -> None:
    daemon, pacs = house
    rule = daemon.rules["rules"][0]
    rule["match"] = {"Modalty": "CT"}
    daemon.write()
    daemon.reload()
    Orthanc.wait_until(lambda: "reload_refused" in daemon.log(), 10)
    assert "did you mean 'Modality'" in daemon.log()
    rule["match"] = {"Modality": "CT"}
    study = push(daemon, tmp_path / "first")
    pacs.wait_until(lambda: pacs.results(study) == EXPECTED, 60)
    daemon.rules["rules"].append({**rule, "name": "once-more", "send_to": []})
    daemon.write()
    daemon.reload()
    Orthanc.wait_until(lambda: "configuration_reloaded" in daemon.log(), 10)
    again = push(daemon, tmp_path / "second")
    pacs.wait_until(lambda: pacs.results(again) == EXPECTED, 60)
    assert sorted(j["key"]["rule"] for j in daemon.jobs() if j["key"]["study_instance_uid"] == again) == [rule["name"], "once-more"]


@pytest.mark.parametrize("command", ["check", "serve", "doctor"])
def test_faulty_configuration_ends_with_status_2_and_every_fault(tmp_path: Path, command: str) -> None:
    daemon = Daemon(tmp_path / "node")
    text = daemon.config.read_text().replace("port: 4242", "port: pacs").replace("ae_title: AINODE", "ae_titel: AINODE")
    daemon.config.write_text(text)
    rules = daemon.folder / "rules.yaml"
    rules.write_text(rules.read_text().replace("BodyPartExamined", "BodyPartExaminde"))
    done = daemon.run(command)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    for words in ("node.yaml:1:", "did you mean 'ae_title'", "destinations[0].port", "did you mean 'BodyPartExamined'", "rules.yaml:"):
        assert words in done.stderr


def test_stop_drains_and_nothing_is_lost(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "node", quiet="10m")
    daemon.start()
    try:
        push(daemon, tmp_path / "ct")
        assert daemon.stop() == 0
        daemon.start()
        Orthanc.wait_until(lambda: '"instances": 24' in daemon.run("studies", "list", "--json").stdout, 20)
        assert daemon.stop() == 0
    finally:
        daemon.close()
    assert "node_stopped" in daemon.log()


def test_port_that_is_taken_is_said_so_and_nothing_starts(tmp_path: Path) -> None:
    daemon = Daemon(tmp_path / "node")
    with socket.socket() as other:
        other.bind(("127.0.0.1", daemon.port))
        other.listen()
        done = daemon.run("serve")
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{daemon.port}" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("command", ["check", "serve"])
def test_faulty_model_bundle_is_a_fault_of_the_configuration(tmp_path: Path, command: str) -> None:
    daemon = Daemon(tmp_path / "node")
    shutil.copytree(ROOT / "config" / "models", tmp_path / "models")
    (tmp_path / "models" / MODEL / "histogram.onnx").unlink()
    daemon.node["models_dir"] = str(tmp_path / "models")
    daemon.write()
    done = daemon.run(command)
    assert done.returncode == 2
    assert "histogram.onnx" in done.stderr
    assert "Traceback" not in done.stderr
