"""Cases of rules.test.yaml: how a study is described, what is compared, and which faults are named."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.commands import Done, dicom_node
from tests.unit.test_config import load

RULES = """\
rules:
  - name: phantoms
    hold: true
    match: {PatientID: QA}
  - name: liver
    match: {Modality: CT}
    complete_when: {on_incomplete: skip}
    inputs:
      arterial: {match: {SeriesDescription: '~art'}, orientation: axial}
      portal: {match: {SeriesDescription: '~por'}, max_spacing_mm: 3}
    model: chest-ct-densitometry
    send_to: [pacs]
    priority: stat
    on_late: ignore
  - name: again
    match: {Modality: CT, CallingAET: CT2, CalledAET: AINODE}
    model: chest-ct-densitometry
    shadow: true
    on_late: replace
  - name: growth
    match: {Modality: MR}
    inputs:
      current: {match: {SeriesDescription: '~t1'}}
      before: {match: {SeriesDescription: '~t1'}, prior: {within: 1y, max: 2, on_missing: skip}}
    model: chest-ct-densitometry
"""
CASES = """\
cases:
  - name: the case
    senders: [CT1]
    header: {Modality: CT}
    series:
      - {name: art, instances: 20, orientation: axial, header: {SeriesDescription: arteriell}}
      - {name: por, instances: 20, orientation: axial, spacing_mm: 3, header: {SeriesDescription: portal}}
"""
RUNS = (
    CASES
    + """\
    rules:
      liver: {model: chest-ct-densitometry, inputs: {arterial: art, portal: por}, send_to: [pacs], priority: stat, shadow: false}
"""
)
GROWTH = """\
cases:
  - name: growth
    header: {Modality: MR, SeriesDescription: t1}
    series: [{instances: 5}]
    priors:
      - {days_before: 400, series: [{}]}
      - {name: autumn, days_before: 90, series: [{name: a, instances: 4}, {name: b, header: {SeriesDescription: t2}}]}
      - {name: summer, days_before: 200, series: [{name: s}]}
    rules:
      growth: {inputs: {current: '1', before: [autumn/a, summer/s]}}
"""


def run(folder: Path, cases: str, rules: str = RULES) -> Done:
    load(folder, rules=rules)
    (folder / "rules.test.yaml").write_text(cases)
    return dicom_node("rules", "test", "--config", folder / "node.yaml")


def differences(done: Done) -> dict[str, str]:
    assert done.code == 1, done.err
    lines = [line.strip() for line in done.out.splitlines() if ", got " in line and "|" not in line]
    return {line.split()[0]: line.partition("wanted ")[2] for line in lines}


@pytest.mark.parametrize(
    "cases",
    [
        RUNS,
        CASES + "    runs: [liver]\n",
        CASES.replace("CT1", "CT2").replace("[CT2]", "[CT2]\n    called: [AINODE]") + "    runs: [liver, again]\n",
        CASES + "    completeness: incomplete\n    rules: {liver: {outcome: incomplete}}\n",
        CASES + "    completeness: late\n    rules: {liver: {outcome: late}}\n",
        CASES.replace("[CT1]", "[CT2]\n    called: [AINODE]")
        + "    completeness: late\n    rules: {liver: {outcome: late}, again: {replaces: true}}\n",
        CASES.replace("Modality: CT", "Modality: CT, PatientID: QA") + "    held_by: phantoms\n    rules: {liver: {outcome: held-back}}\n",
        CASES.replace("arteriell", "arteriell, PatientID: A") + "    quarantined: true\n    rules: {liver: {outcome: quarantined}}\n",
        CASES.replace("spacing_mm: 3", "spacing_mm: 4") + "    rules: {liver: {outcome: unfit}}\n",
        CASES.replace("orientation: axial, header: {SeriesDescription: art", "orientation: coronal, header: {SeriesDescription: art")
        + "    rules: {liver: {outcome: unfit}}\n",
        CASES.replace("spacing_mm: 3", "spacing_mm: 3, missing: [7, 8]") + "    rules: {liver: {outcome: unfit}}\n",
        GROWTH,
    ],
    ids=["fields", "runs", "titles", "incomplete", "late", "replaces", "held", "quarantined", "spacing", "orientation", "gap", "priors"],
)
def test_case_that_describes_the_decision_passes(tmp_path: Path, cases: str) -> None:
    done = run(tmp_path, cases)
    assert (done.code, done.out.splitlines()[-1]) == (0, "1 of 1 cases as wanted."), done.out + done.err


@pytest.mark.parametrize(
    ("cases", "field", "words"),
    [
        (CASES, "runs", "[], got [liver]"),
        (RUNS.replace("model: chest-ct-densitometry", "model: other"), "liver.model", "other, got chest-ct-densitometry"),
        (RUNS.replace("portal: por}", "portal: art}"), "liver.inputs.portal", "[art], got [por]"),
        (RUNS.replace("portal: por}", "portal: null}"), "liver.inputs.portal", "[], got [por]"),
        (RUNS.replace("send_to: [pacs]", "send_to: []"), "liver.send_to", "[], got [pacs]"),
        (RUNS.replace("send_to: [pacs]", "forward_to: [pacs]"), "liver.forward_to", "[pacs], got []"),
        (RUNS.replace("priority: stat", "priority: normal"), "liver.priority", "normal, got stat"),
        (RUNS.replace("shadow: false", "shadow: true"), "liver.shadow", "true, got false"),
        (RUNS.replace("shadow: false", "replaces: true"), "liver.replaces", "true, got false"),
        (RUNS + "    held_by: phantoms\n", "held_by", "phantoms, got none"),
        (RUNS + "    quarantined: true\n", "quarantined", "true, got false"),
        (RUNS.replace("liver: {", "liver: {outcome: unfit, "), "liver.outcome", "unfit, got run"),
        (GROWTH.replace("[autumn/a, summer/s]", "[autumn/b]"), "growth.inputs.before", "[autumn/b], got [autumn/a, summer/s]"),
    ],
)
def test_each_field_that_differs_is_named_with_both_values(tmp_path: Path, cases: str, field: str, words: str) -> None:
    done = run(tmp_path, cases)
    assert differences(done)[field] == words


def test_difference_comes_with_the_place_of_the_case_and_the_explanation_in_its_own_names(tmp_path: Path) -> None:
    done = run(tmp_path, RUNS.replace("spacing_mm: 3", "spacing_mm: 5"))
    assert f"WRONG the case ({tmp_path / 'rules.test.yaml'}:2)" in done.out
    assert "| liver: unfit" in done.out
    assert "series 2 (por): 20 of 20 instances - slices too far apart" in done.out


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("senders: [CT1]", "sender: [CT1]", 3, "cases[0].sender: unknown option (did you mean 'senders'?)"),
        ("Modality: CT", "Modalty: CT", 4, "'Modalty' is no DICOM keyword, did you mean 'Modality'?"),
        ("instances: 20", "instances: 0", 6, "greater than or equal to 1"),
        ("orientation: axial, header: {SeriesDescription: art", "missing: [2], header: {SeriesDescription: art", 6, "need an orientation"),
        ("spacing_mm: 3", "missing: [21]", 7, "there is no slice 21 of 20"),
        ("name: por", "name: art", 7, "name 'art' is used twice"),
        ("liver: {model", "livre: {model", 9, "no rule is named 'livre' (did you mean 'liver'?)"),
        ("portal: por", "portla: por", 9, "rule liver has no input 'portla' (did you mean 'portal'?)"),
        ("portal: por", "portal: pro", 9, "no series of the case is named 'pro' (did you mean 'por'?)"),
        ("send_to: [pacs]", "outcome: runs", 9, "outcome: Input should be 'run', 'hold'"),
        ("    series:\n", "    held_by: phantom\n    series:\n", 5, "no rule is named 'phantom' (did you mean 'phantoms'?)"),
        ("    series:\n", "    runs: [liver, nobody]\n    series:\n", 5, "cases[0].runs[1]: no rule is named 'nobody'"),
    ],
)
def test_fault_of_the_cases_is_named_with_line_and_hint(tmp_path: Path, old: str, new: str, line: int, words: str) -> None:
    assert old in RUNS
    done = run(tmp_path, RUNS.replace(old, new, 1))
    assert done.code == 2
    assert any(fault.startswith(f"{tmp_path / 'rules.test.yaml'}:{line}: ") and words in fault for fault in done.err.splitlines()), done.err


def test_every_fault_is_named_in_one_run(tmp_path: Path) -> None:
    done = run(tmp_path, RUNS.replace("senders", "sender").replace("instances: 20", "instances: 0"))
    assert done.err.splitlines()[-1].startswith("3 fault(s)")


def test_two_cases_of_one_name_are_a_fault(tmp_path: Path) -> None:
    done = run(tmp_path, RUNS + CASES.partition("\n")[2] + "    runs: [liver]\n")
    assert "name 'the case' is used twice" in done.err


def test_draft_is_tested_in_place_of_the_rules(tmp_path: Path) -> None:
    run(tmp_path, RUNS)
    (tmp_path / "draft.yaml").write_text(RULES.replace("max_spacing_mm: 3", "max_spacing_mm: 2"))
    done = dicom_node("rules", "test", "--config", tmp_path / "node.yaml", "--rules", tmp_path / "draft.yaml")
    assert differences(done)["liver.outcome"] == "run, got unfit"
