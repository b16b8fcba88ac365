"""What a model's program writes lies beside the results of its job, and nowhere else."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import yaml

from dicom_node.domain.jobs import JobState
from dicom_node.storage import Database, InstanceFiles
from tests.commands import dicom_node
from tests.integration.working_house import WorkingHouse
from tests.phantoms import chest_series
from tests.unit.inference.steps.bundles import LUNG, ONE, whole_manifest
from tests.unit.test_config import NODE

RULES = "rules:\n  - {name: level, match: {Modality: CT}, model: level}\n"
LEVEL = {"id": "level", "label": "Level", "concept": LUNG, "unit": ONE, "of": "level"}
PROGRAM = """
import json, sys
print("seen: Phantom^Chest", flush=True)
print("a warning of the program", file=sys.stderr, flush=True)
if sys.argv[2] == "fails":
    sys.exit(5)
json.dump({"measurements": {"level": 7.0}}, open(sys.argv[1] + "/result.json", "w"))
"""


@pytest.mark.parametrize("way", ["works", "fails"])
def test_output_of_a_program_lies_beside_the_results_of_its_job(
    tmp_path: Path, database: Database, files: InstanceFiles, way: str, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "models" / "level"
    folder.mkdir(parents=True)
    (folder / "run.py").write_text(PROGRAM)
    manifest = whole_manifest({"name": "level", "outputs": {"measurements": [LEVEL]}})
    manifest["network"] = {"format": "command", "command": [sys.executable, "{bundle}/run.py", "{output}", way]}
    (folder / "model.yaml").write_text(yaml.safe_dump(manifest))
    node = NODE.replace("sqlite:///node.db", database.url) + "workers: {model_attempts: 1}\n"
    house = WorkingHouse(tmp_path, database, files, RULES, node)
    house.receive(chest_series())
    [job] = house.work()
    house.worker.close()
    output = house.configuration.data_dir / "results" / f"job-{job.id}" / "program-output.txt"
    assert output.read_text() == "seen: Phantom^Chest\na warning of the program\n"
    assert (output.stat().st_mode & 0o777, output.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    shown = dicom_node("jobs", "show", str(job.id), "--config", str(tmp_path / "node.yaml")).out
    assert f"what the model's program wrote: {output}" in shown
    as_json = json.loads(dicom_node("jobs", "show", str(job.id), "--config", str(tmp_path / "node.yaml"), "--json").out)
    assert as_json["program_output"] == str(output)
    said = capfd.readouterr()
    assert "Phantom" not in said.out + said.err + shown + job.reason
    if way == "works":
        assert (job.state, len(list(output.parent.glob("SR-1*.dcm")))) == (JobState.DONE, 1)
    else:
        assert job.state is JobState.FAILED
        assert f"status 5, 0 is wanted (what it wrote: {output})" in job.reason
