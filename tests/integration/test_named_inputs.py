"""Rules feed the inputs of a model by their names, through intake and worker, with a network that takes one series from another."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper
from pydicom.dataset import Dataset

from dicom_node.app import check_bundles
from dicom_node.config import ConfigurationFaults
from dicom_node.domain.jobs import Job, JobState
from dicom_node.inference import find_bundles
from dicom_node.pipeline.fetching import Fetching
from dicom_node.pipeline.input_fit import input_faults
from dicom_node.storage import Database, InstanceFiles, queries
from tests.integration.working_house import LATER, WorkingHouse
from tests.phantoms import chest_series
from tests.unit.inference.steps.bundles import LUNG, ONE, write_bundle
from tests.unit.inference.steps.networks import Axes, mean_intensity, model, value
from tests.unit.test_config import NODE, load

LEVEL = {"id": "level", "label": "Level", "concept": LUNG, "unit": ONE, "of": "level"}
INPUTS = [{"name": "current", "kind": "volume"}, {"name": "prior", "kind": "volume", "optional": True, "fill": -24}]
CHANGE = {
    "name": "change",
    "inputs": INPUTS,
    "network": {"inputs": {"now": "current", "before": "prior"}},
    "steps": {"infer": "whole"},
    "outputs": {"measurements": [LEVEL]},
}
RULES = """\
rules:
  - name: growth
    match: {{BodyPartExamined: CHEST}}
    inputs: {inputs}
    model: change
    complete_when: {{quiet: 1s, max_wait: 12h}}
    send_to: [pacs]
"""
PRIOR = "{within: 2y, on_missing: run}"
BY_NAME = f"{{current: {{}}, prior: {{match: {{Modality: CT}}, prior: {PRIOR}}}}}"


def difference() -> bytes:
    """Mean of current minus prior."""
    nodes = [
        helper.make_node("Sub", ["now", "before"], ["change"]),
        helper.make_node("GlobalAveragePool", ["change"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["level"]),
    ]
    axes: Axes = ["n", 1, "d", "h", "w"]
    return model(nodes, [value("now", axes), value("before", axes)], [value("level", ["n", 1])])


def change_bundle(folder: Path, **sections: Any) -> None:
    write_bundle(folder / "models" / "change", difference(), {**CHANGE, **sections})


def earlier(series: list[Dataset], offset: int) -> list[Dataset]:
    """The same patient two months before, every voxel lower by `offset` HU; the prior's study matches no rule."""
    before = chest_series(StudyDate="20231102", BodyPartExamined="LUNG", RescaleIntercept=-1024 - offset)
    assert before[0].PatientID == series[0].PatientID
    return before


class PriorHouse(WorkingHouse):
    """Priors are searched in what the node holds, as the pipeline's thread does."""

    def run_all(self, *studies: list[Dataset]) -> Job:
        for study in studies:
            self.receive(study)
        fetching = Fetching(self.configuration, self.database, self.files, lambda: None)
        while not self.jobs():
            fetching.turn(datetime.now(UTC) + LATER)  # the house decides an hour from now
            fetching.wait(5)
            self._decided()
        fetching.stop()
        [job] = self.work()
        return job

    def level(self, job: Job) -> float:
        found = self.findings(job)["measurements"]["level"]["value"]  # type: ignore[index]
        return float(found)

    def steps(self, job: Job) -> list[str]:
        with self.database.transaction() as session:
            trace = queries.job_trace(session, job.id)
        assert trace is not None
        return [step["name"] for step in trace["steps"]]


@pytest.fixture
def house(tmp_path: Path, database: Database, files: InstanceFiles) -> Iterator[Callable[[str], PriorHouse]]:
    made: list[PriorHouse] = []

    def make(inputs: str) -> PriorHouse:
        made.append(PriorHouse(tmp_path, database, files, RULES.format(inputs=inputs), NODE))
        return made[0]

    yield make
    for one in made:
        one.worker.close()


def test_current_and_prior_reach_the_network_by_their_names(tmp_path: Path, house: Callable[[str], PriorHouse]) -> None:
    change_bundle(tmp_path)
    node, current = house(BY_NAME), chest_series()
    job = node.run_all(earlier(current, 30), current)
    assert job.state is JobState.DELIVERING, job.reason
    assert [one.name for one in job.inputs] == ["current", "prior"]
    assert node.level(job) == pytest.approx(30, abs=0.01)
    assert node.report(job).StudyInstanceUID == current[0].StudyInstanceUID


def test_network_inputs_are_joined_by_name_and_not_by_place(tmp_path: Path, house: Callable[[str], PriorHouse]) -> None:
    """The rule names the priors second, the manifest first of the two that are not `current`."""
    third = {"name": "unused", "kind": "volume", "optional": True, "fill": 5}
    steps = {"infer": "whole", "preprocess": [{"normalise": {"kind": "scale", "scale": 0.5, "inputs": ["current", "prior"]}}]}
    network = {"inputs": {"now": "current", "before": "unused", "again": "prior"}}
    nodes = [
        helper.make_node("Sub", ["now", "again"], ["change"]),
        helper.make_node("Add", ["change", "before"], ["sum"]),
        helper.make_node("GlobalAveragePool", ["sum"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["level"]),
    ]
    axes: Axes = ["n", 1, "d", "h", "w"]
    three = model(nodes, [value(n, axes) for n in ("now", "before", "again")], [value("level", ["n", 1])])
    sections = {**CHANGE, "inputs": [INPUTS[0], third, INPUTS[1]], "network": network, "steps": steps}
    write_bundle(tmp_path / "models" / "change", three, sections)
    node, current = house(BY_NAME), chest_series()
    job = node.run_all(earlier(current, 30), current)
    assert node.level(job) == pytest.approx(15 + 5, abs=0.01)


def test_optional_prior_that_is_missing_is_filled_and_the_result_says_so(tmp_path: Path, house: Callable[[str], PriorHouse]) -> None:
    change_bundle(tmp_path)
    node, current = house(BY_NAME), chest_series()
    job = node.run_all(current)
    assert job.state is JobState.DELIVERING, job.reason
    assert [one.name for one in job.inputs] == ["current"]
    mean = float(np.mean([ds.pixel_array.astype(float) - 1024 for ds in current]))
    assert node.level(job) == pytest.approx(mean + 24, abs=0.01)
    assert "fill" in node.steps(job)
    assert "Input prior was missing: the network got -24 in its place." in node.report(job).to_json()


def test_job_without_an_input_that_the_model_needs_is_not_analysed_and_says_which(
    tmp_path: Path, house: Callable[[str], PriorHouse]
) -> None:
    """As when a bundle changed after the configuration was checked."""
    change_bundle(tmp_path, inputs=[INPUTS[0], {"name": "prior", "kind": "volume"}])
    node = house(BY_NAME)
    job = node.run_all(chest_series())
    assert job.reason.startswith("not analysed: Input prior is missing.")


def test_series_goes_to_the_input_of_its_name_though_another_stands_first(tmp_path: Path, database: Database, files: InstanceFiles) -> None:
    """Two series of one study, which the rule names the other way round than the manifest."""
    change_bundle(tmp_path, inputs=[INPUTS[0], {"name": "prior", "kind": "volume"}])
    inputs = "{prior: {match: {SeriesDescription: low}}, current: {match: {SeriesDescription: high}}}"
    node = PriorHouse(tmp_path, database, files, RULES.format(inputs=inputs), NODE)
    high = chest_series(SeriesDescription="high", RescaleIntercept=-1000)
    low = chest_series(str(high[0].StudyInstanceUID), SeriesDescription="low", SeriesNumber=3)
    job = node.run_all([*low, *high])
    node.worker.close()
    assert node.level(job) == pytest.approx(24, abs=0.01)
    [evidence] = node.report(job).CurrentRequestedProcedureEvidenceSequence
    assert high[0].SeriesInstanceUID in {item.SeriesInstanceUID for item in evidence.ReferencedSeriesSequence}


NEEDS_PRIOR = {"inputs": [INPUTS[0], {"name": "prior", "kind": "volume"}]}
SKIP = "{current: {}, prior: {match: {Modality: CT}, prior: {within: 2y, on_missing: skip}}}"


@pytest.mark.parametrize(
    ("inputs", "sections", "words"),
    [
        (BY_NAME, {}, ""),
        (SKIP, NEEDS_PRIOR, ""),
        ("{current: {}}", {}, ""),
        ("{anything: {}}", {}, ""),  # a single input feeds the first one
        ("{current: {}, before: {}}", {}, "rules[0].inputs.before: model 'change' has no input 'before'"),
        ("{current: {}, priors: {}}", {}, "(did you mean 'prior'?)"),
        (BY_NAME, NEEDS_PRIOR, "rules[0].inputs.prior: model 'change' needs input 'prior', the rule also runs without it"),
        ("{current: {}, prior: {optional: true}}", NEEDS_PRIOR, "the rule also runs without it"),
        ("{current: {}}", NEEDS_PRIOR, "rules[0].inputs: model 'change' needs input 'prior', the rule does not give it"),
        ("{prior: {}, current: {}}", NEEDS_PRIOR, "results refer to 'current', the first input of model 'change'"),
        ("{prior: {}}", {}, "needs input 'current', the rule does not give it"),
    ],
)
def test_rule_whose_inputs_do_not_fit_the_model_is_refused_when_it_is_read(
    tmp_path: Path, inputs: str, sections: dict[str, Any], words: str
) -> None:
    change_bundle(tmp_path, **sections)
    configuration = load(tmp_path, NODE.replace("MODELS", str(tmp_path / "models")), RULES.format(inputs=inputs))
    found = [str(fault) for fault in input_faults(configuration, find_bundles(tmp_path / "models"))]
    assert bool(found) is bool(words)
    if words:
        assert words in found[0]
        assert f"{tmp_path / 'rules.yaml'}:4:" in found[0]
        with pytest.raises(ConfigurationFaults, match="model 'change'"):
            check_bundles(configuration, tmp_path / "node.yaml")
    else:
        check_bundles(configuration, tmp_path / "node.yaml")


def test_rule_without_inputs_is_refused_for_a_model_that_needs_two(tmp_path: Path) -> None:
    change_bundle(tmp_path, **NEEDS_PRIOR)
    rules = RULES.replace("    inputs: {inputs}\n", "").replace("{{", "{").replace("}}", "}")
    configuration = load(tmp_path, NODE.replace("MODELS", str(tmp_path / "models")), rules)
    [fault] = [str(f) for f in input_faults(configuration, find_bundles(tmp_path / "models"))]
    assert "rules.yaml:4: rules[0].model: model 'change' needs input 'prior', the rule does not give it" in fault


IRREGULAR = {"uneven": "not evenly spaced", "tilted": "tilted gantry"}


@pytest.mark.parametrize("option", IRREGULAR)
@pytest.mark.parametrize("declared", [False, True])
def test_irregular_volume_is_refused_with_the_option_that_would_let_it_through(
    tmp_path: Path, database: Database, files: InstanceFiles, option: str, declared: bool
) -> None:
    inputs = [{"name": "images", "kind": "volume", **({option: "resample"} if declared else {})}]
    sections = {"name": "one-phase", "inputs": inputs, "steps": {"infer": "whole"}, "outputs": {"measurements": [LEVEL]}}
    write_bundle(tmp_path / "models" / "one-phase", mean_intensity(), sections)
    node, series = PriorHouse(tmp_path, database, files, ONLY, NODE), chest_series()
    if option == "uneven":
        del series[7]
    else:
        for number, ds in enumerate(series):
            ds.ImagePositionPatient = [-160, -160 + 3 * number, 10 * number]
    job = node.run_all(series)
    node.worker.close()
    if declared:
        assert job.state is JobState.DONE
        assert not job.reason.startswith("not analysed")
    else:
        assert IRREGULAR[option] in job.reason
        assert f"let the model's input declare `{option}: resample`" in job.reason


ONLY = """\
rules:
  - name: perfusion
    match: {Modality: CT}
    checks: []
    model: one-phase
"""


@pytest.mark.parametrize(("only", "level"), [({"TemporalPositionIdentifier": 2}, 40), ({}, None)])
def test_series_of_several_temporal_positions_is_read_as_the_input_declares(
    tmp_path: Path, database: Database, files: InstanceFiles, only: dict[str, Any], level: float | None
) -> None:
    sections = {
        "name": "one-phase",
        "inputs": [{"name": "images", "kind": "volume", **({"only": only} if only else {})}],
        "steps": {"infer": "whole"},
        "outputs": {"measurements": [LEVEL]},
    }
    write_bundle(tmp_path / "models" / "one-phase", mean_intensity(), sections)
    node = PriorHouse(tmp_path, database, files, ONLY, NODE)
    first = chest_series(TemporalPositionIdentifier=1)
    second = chest_series(str(first[0].StudyInstanceUID), TemporalPositionIdentifier=2, RescaleIntercept=-1024 + 40)
    for ds in second:
        ds.SeriesInstanceUID, ds.FrameOfReferenceUID = first[0].SeriesInstanceUID, first[0].FrameOfReferenceUID
        ds.InstanceNumber += len(first)
    job = node.run_all([*first, *second])
    node.worker.close()
    if level is None:
        assert "nothing says which is wanted: they differ in Temporal Position Identifier (1, 2)" in job.reason
        assert "let the model's input declare one of them, such as `only: {TemporalPositionIdentifier: ...}`" in job.reason
        return
    assert job.state is JobState.DONE, job.reason
    mean = float(np.mean([ds.pixel_array.astype(float) - 1024 for ds in first]))
    assert node.level(job) == pytest.approx(mean + level, abs=0.01)
    assert f"{len(second)} of {2 * len(second)} frames are used: those with Temporal Position Identifier 2" in node.report(job).to_json()
