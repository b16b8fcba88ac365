"""The rule in the section on inputs does what the section says."""

from __future__ import annotations

import re

import yaml

from dicom_node.config.rules_schema import RulesFile
from dicom_node.domain.routing import Outcome, PriorSearch
from dicom_node.domain.rules import SeriesCheck
from dicom_node.routing import decide
from dicom_node.routing.slices import MOST_OBLIQUE_DEGREES
from tests.conftest import ROOT
from tests.unit.rule_studies import chosen, evenly, only_trace, study

TEXT = (ROOT / "docs" / "configuration.md").read_text("utf-8")


def test_rule_of_the_section_on_inputs_chooses_as_described() -> None:
    found = re.search(r"<!-- inputs:.*?```yaml\n(.*?)```", TEXT, re.DOTALL)
    assert found is not None
    [section] = RulesFile.model_validate(yaml.safe_load(found[1])).rules
    rule = section.to_rule()
    header = {"StudyDate": "20240102", "BodyPartExamined": "ABDOMEN"}
    current = study(
        evenly("1", 30, 2.5, SeriesDescription="PORTAL", **header),
        evenly("2", 60, 1.25, SeriesDescription="VEN", **header),
        evenly("3", 10, 5, SeriesDescription="ART", **header),
    )
    earlier = study(evenly("4", 30, 2.5, StudyDate="20200102", BodyPartExamined="ABDOMEN"), uid="9")
    routing = decide([rule], current, priors=[PriorSearch("liver", "before", (earlier,), finished=True, reason="")])
    assert chosen(routing) == {"venous": "2", "before": "4"}
    arterial = only_trace(routing).inputs[1]
    assert arterial.reason == "no series fits, the nearest has a fault: too few instances: 10 of at least 20; optional, left out"


def test_every_outcome_stands_in_the_table_in_its_order() -> None:
    table = TEXT.partition("### What a rule is asked")[2].partition("### inputs")[0]
    rows = [re.findall(r"`([a-z-]+)`", row.split("|")[1]) for row in table.splitlines() if row.startswith("| `")]
    assert {name for row in rows for name in row} == set(Outcome)


def test_every_check_and_the_most_oblique_plane_are_described() -> None:
    section = TEXT.partition("### checks")[2].partition("### match")[0]
    assert re.findall(r"^- `(\w+)`", section, re.MULTILINE) == ["orientation", "duplicates", "gaps"]
    assert set(SeriesCheck) == {"orientation", "duplicates", "gaps"}
    assert f"oblique by more than {MOST_OBLIQUE_DEGREES:.0f} degrees" in TEXT
