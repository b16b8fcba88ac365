"""Other rules for a node that runs: applied, taken over, on record, taken back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.acceptance.daemon import Daemon
from tests.acceptance.orthanc import Orthanc

pytestmark = pytest.mark.acceptance


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon(tmp_path / "node")
    daemon.start()
    Orthanc.wait_until(lambda: "rules_version_kept" in daemon.log(), 30)
    yield daemon
    daemon.close()


def versions(daemon: Daemon) -> list[int]:
    return [version["version"] for version in json.loads(daemon.run("rules", "history", "--json").stdout)]


def draft(daemon: Daemon, **options: object) -> Path:
    path = daemon.folder / "draft.yaml"
    path.write_text(yaml.safe_dump({"rules": [{**daemon.rules["rules"][0], **options}]}, sort_keys=False))
    return path


def test_rules_are_applied_to_a_running_node_and_taken_back(daemon: Daemon) -> None:
    old = (daemon.folder / "rules.yaml").read_text()
    applied = daemon.run("rules", "apply", str(draft(daemon, match={"Modality": "MR"})), "--comment", "to MR")
    assert applied.returncode == 0, applied.stderr + daemon.log()
    assert "has taken them over" in applied.stdout
    assert versions(daemon) == [2, 1]
    Orthanc.wait_until(lambda: "rules_changed" in daemon.log(), 10)
    assert "changed=chest-ct-densitometry" in daemon.log()
    assert "2 *" in daemon.run("rules", "history").stdout
    back = daemon.run("rules", "rollback", "1", "--comment", "no", "--yes")
    assert back.returncode == 0, back.stderr
    assert (daemon.folder / "rules.yaml").read_text() == old
    assert versions(daemon) == [3, 2, 1]


def test_check_says_what_a_reload_would_change_and_the_reload_is_on_record(daemon: Daemon) -> None:
    daemon.rules["rules"][0]["match"] = {"Modality": "MR"}
    daemon.write()
    checked = daemon.run("check").stdout
    assert "A reload of the running node would change its rules:" in checked
    assert "match.Modality: CT -> MR" in checked
    daemon.reload()
    Orthanc.wait_until(lambda: versions(daemon) == [2, 1], 20)
    assert "would change" not in daemon.run("check").stdout


def test_apply_is_refused_where_the_node_would_refuse_the_reload(daemon: Daemon) -> None:
    daemon.node["ae_title"] = "OTHER"
    old = (daemon.folder / "rules.yaml").read_text()
    daemon.write()
    applied = daemon.run("rules", "apply", str(draft(daemon, send_to=[])), "--comment", "x")
    assert applied.returncode == 1
    assert "ae_title changed in node.yaml and need a restart" in applied.stderr
    assert (daemon.folder / "rules.yaml").read_text() == old
    assert versions(daemon) == [1]
