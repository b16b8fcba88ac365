"""What differs between two rules files, in words."""

from __future__ import annotations

import pytest

from dicom_node.config.loader import RulesText, load_past_rules
from dicom_node.config.rules_diff import compare_rules
from dicom_node.config.rules_schema import RulesFile
from tests.unit.test_rules_cases import RULES


def rules(text: str) -> RulesFile:
    return load_past_rules(RulesText("rules", text))


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        ("PatientID: QA", "PatientID: [QA, QC]", ["rule phantoms is changed", "  match.PatientID: QA -> [QA, QC]"]),
        ("match: {PatientID: QA}", "match: {PatientID: QA, Modality: CT}", ["rule phantoms is changed", "  match.Modality: not set -> CT"]),
        ("max_spacing_mm: 3", "max_spacing_mm: 2.5", ["rule liver is changed", "  inputs.portal.max_spacing_mm: 3.0 -> 2.5"]),
        (
            "on_incomplete: skip",
            "quiet: 90s",
            ["rule liver is changed", "  complete_when.quiet: 60s -> 90s", "  complete_when.on_incomplete: skip -> run"],
        ),
        ("within: 1y", "within: 2w", ["rule growth is changed", "  inputs.before.prior.within: 1y -> 2w"]),
        ("send_to: [pacs]", "send_to: []", ["rule liver is changed", "  send_to: [pacs] -> not set"]),
        ("shadow: true", "shadow: false", ["rule again is changed", "  shadow: true -> false"]),
        (
            "priority: stat",
            "when: 'SliceThickness < 3.0'",
            ["rule liver is changed", "  when: not set -> SliceThickness < 3.0", "  priority: stat -> normal"],
        ),
        ("- name: again", "- name: once", ["rule again is gone", "rule once is new"]),
        ("hold: true\n", "hold: true  # a remark\n", []),
    ],
)
def test_difference_in_words(old: str, new: str, lines: list[str]) -> None:
    assert old in RULES
    found = list(compare_rules(rules(RULES), rules(RULES.replace(old, new, 1))).lines())
    assert sorted(found) == sorted(line.replace("60s ->", f"{quiet_default()} ->") for line in lines)


def quiet_default() -> str:
    """The default of `quiet` may depend on the modality; then it is not set in a rule."""
    value = rules(RULES).rules[1].complete_when.quiet
    return "not set" if value is None else "1m"


def test_order_of_inputs_counts_since_results_refer_to_the_first() -> None:
    arterial, portal = (line for line in RULES.splitlines(keepends=True) if line.strip().startswith(("arterial", "portal")))
    swapped = RULES.replace(arterial + portal, portal + arterial)
    assert "  order of inputs: arterial, portal -> portal, arterial" in compare_rules(rules(RULES), rules(swapped)).lines()


def test_order_of_rules_is_told() -> None:
    parts = RULES.split("  - name: ")
    other = "  - name: ".join([parts[0], parts[1], parts[3], parts[2], parts[4]])
    difference = compare_rules(rules(RULES), rules(other))
    assert difference
    assert list(difference.lines()) == ["the rules stand in another order"]
