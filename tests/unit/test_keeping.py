"""Which results stay on the node by rule, and where that is said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dicom_node.domain.rules import OnEmpty
from dicom_node.pipeline.working.keeping import keeping
from dicom_node.routing import decide, kept_results, render
from dicom_node.sr_writer.content import Outcome
from tests.unit.rule_studies import CT, evenly, is_, rule, study
from tests.unit.test_config import RULES, faults, load

PLAIN = rule("plain", CT)
NOTHING = replace(PLAIN, name="nothing", on_no_finding=OnEmpty.KEEP)
UNREAD = replace(PLAIN, name="unread", on_not_analysed=OnEmpty.KEEP)
BOTH = replace(NOTHING, name="both", on_not_analysed=OnEmpty.KEEP)


@pytest.mark.parametrize(
    ("outcome", "kept"),
    [
        (Outcome.FOUND, {}),
        (Outcome.NO_FINDING, {"nothing": "on_no_finding: keep", "both": "on_no_finding: keep"}),
        (Outcome.NOT_ANALYSED, {"unread": "on_not_analysed: keep", "both": "on_not_analysed: keep"}),
    ],
)
def test_a_rule_keeps_the_outcomes_that_it_names(outcome: Outcome, kept: dict[str, str]) -> None:
    assert keeping([PLAIN, NOTHING, UNREAD, BOTH], outcome) == kept


def test_explain_says_what_a_rule_that_runs_would_keep() -> None:
    other = replace(BOTH, name="other", match=(is_("Modality", "MR"),))
    rules = [PLAIN, BOTH, other]
    lines = render(decide(rules, study(evenly("1.1", 5, 1))), rules).splitlines()
    assert lines[lines.index(next(line for line in lines if line.startswith("both: run"))) + 1] == (
        "  results stay here by on_not_analysed: keep, on_no_finding: keep"
    )
    assert sum("stay here" in line for line in lines) == 1
    assert kept_results(PLAIN) == ""


def test_options_are_read_and_a_hold_rule_has_none(tmp_path: Path) -> None:
    [read] = load(tmp_path, rules=RULES + "    on_no_finding: keep\n").rules
    assert (read.on_not_analysed, read.on_no_finding) == (OnEmpty.REPORT, OnEmpty.KEEP)
    held = "rules:\n  - {name: qa, match: {Modality: CT}, hold: true, on_no_finding: keep}\n"
    assert any("a hold rule has no results" in fault for fault in faults(tmp_path, rules=held))
