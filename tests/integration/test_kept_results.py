"""Rules that keep results without an analysis or a finding on the node; reports of two profiles and their predecessors; doctor."""

from __future__ import annotations

from pathlib import Path

import pydicom
import pytest
from typer.testing import CliRunner

from dicom_node.cli.jobs import app
from dicom_node.domain.jobs import Job, JobState
from dicom_node.pipeline.results import DATA_FILE
from dicom_node.pipeline.results.report import read_report
from dicom_node.sr_writer.content import Outcome
from dicom_node.storage import Database, InstanceFiles
from tests.integration.working_house import WorkingHouse
from tests.phantoms import chest_series
from tests.unit.test_config import NODE, RULES

TOO_FEW = 8
"""Slices, fewer than the model takes."""
FOLLOWING = """\
  - name: elsewhere
    match: {Modality: CT}
    after: {model: chest-ct-densitometry, when: 'result.outcome == "not-analysed"'}
    send_to: [ward]
"""
WARD = "  - {name: ward, ae_title: WARD, host: 127.0.0.1, port: 4243, profile: legacy-pacs}\nmodels_dir"


def house_with(folder: Path, database: Database, files: InstanceFiles, rules: str) -> WorkingHouse:
    node = NODE.replace("sqlite:///node.db", database.url).replace("models_dir", WARD)
    return WorkingHouse(folder, database, files, rules, node)


def destinations(house: WorkingHouse, job: Job) -> set[str]:
    return {d.destination for d in house.owed(job)}


def test_result_that_says_why_nothing_was_analysed_stays_where_the_rule_keeps_it(
    tmp_path: Path, database: Database, files: InstanceFiles
) -> None:
    house = house_with(tmp_path, database, files, RULES + "    on_not_analysed: keep\n    on_late: replace\n")
    series = chest_series()
    house.receive(series[:TOO_FEW])
    [kept] = house.work()
    assert (kept.state, house.owed(kept)) == (JobState.DONE, [])
    assert kept.reason.startswith("not analysed: ")
    assert kept.reason.endswith("; kept, not sent (on_not_analysed: keep)")
    shown = CliRunner().invoke(app, ["show", str(kept.id), "--config", str(tmp_path / "node.yaml")]).output
    assert f"kept, not sent: {house.results(kept)[0].path}" in shown
    assert read_report(files.results_of(kept.id)).outcome is Outcome.NOT_ANALYSED
    told = CliRunner().invoke(app, ["result", str(kept.id), "--config", str(tmp_path / "node.yaml")]).output
    assert "outcome: not analysed" in told
    house.receive(series[TOO_FEW:])
    _, second = house.work()
    assert destinations(house, second) == {"pacs"}
    assert "PredecessorDocumentsSequence" not in house.report(second)  # no archive has the one that was kept


@pytest.mark.parametrize(
    ("own", "following", "reached", "words"),
    [
        ("", "", {"pacs", "ward"}, "results written; rule elsewhere sends them to ward"),
        ("    on_not_analysed: keep\n", "", {"ward"}, "kept, not sent (on_not_analysed: keep); rule elsewhere sends them to ward"),
        ("", "    on_not_analysed: keep\n", {"pacs"}, "results written; rule elsewhere keeps them (on_not_analysed: keep)"),
        ("    on_no_finding: keep\n", "", {"pacs", "ward"}, "results written; rule elsewhere sends them to ward"),
    ],
)
def test_each_rule_keeps_for_itself(  # noqa: PLR0917 - fixtures
    tmp_path: Path, database: Database, files: InstanceFiles, own: str, following: str, reached: set[str], words: str
) -> None:
    house = house_with(tmp_path, database, files, RULES + own + FOLLOWING + following)
    house.receive(chest_series()[:TOO_FEW])
    [job] = house.work()
    assert destinations(house, job) == reached
    assert job.reason.endswith(words)


def test_report_in_each_form_names_the_earlier_one_in_that_form(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    house = house_with(tmp_path, database, files, RULES.replace("[pacs]", "[pacs, ward]") + "    on_late: replace\n")
    series = chest_series()
    house.receive(series[:20])
    house.work()
    house.receive(series[20:])
    first, second = house.work()
    old, new = ({r.variant: r for r in house.results(job) if r.kind == "SR"} for job in (first, second))
    assert len(old) == 2
    assert old.keys() == new.keys()
    for variant, result in new.items():
        [study] = pydicom.dcmread(result.path).PredecessorDocumentsSequence
        [named] = study.ReferencedSeriesSequence
        [document] = named.ReferencedSOPSequence
        assert document.ReferencedSOPInstanceUID == old[variant].sop_instance_uid
        assert document.ReferencedSOPClassUID == old[variant].sop_class_uid
        assert named.SeriesInstanceUID == old[variant].series_instance_uid
    assert read_report(files.results_of(second.id)).predecessors == (next(iter(old.values())).sop_instance_uid,)


def test_masks_above_the_limit_are_not_kept_and_the_job_ends_all_the_same(
    tmp_path: Path, database: Database, files: InstanceFiles, capsys: pytest.CaptureFixture[str]
) -> None:
    node = NODE.replace("sqlite:///node.db", database.url) + "results: {data_limit: 1B}\n"
    house = WorkingHouse(tmp_path, database, files, RULES, node)
    house.receive(chest_series())
    [job] = house.work()
    assert job.state is JobState.DELIVERING
    assert not (files.results_of(job.id) / DATA_FILE).exists()
    assert read_report(files.results_of(job.id)).outcome is Outcome.FOUND
    assert "result_data_not_kept" in capsys.readouterr().out
