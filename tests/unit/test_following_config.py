"""Faults of rules that follow a result, as an operator reads them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dicom_node.config import ConfigurationFaults, load_configuration
from dicom_node.domain.rules import After
from tests.conftest import ROOT
from tests.unit.test_config import NODE

RUNS_A = "  - {name: a, match: {Modality: CT}, model: a}\n"


def load_rules(folder: Path, *rules: str) -> list[str]:
    """Load with bundles `a`, `b` and `c`; return the faults."""
    for name in "abc":
        shutil.copytree(ROOT / "config" / "models" / "chest-ct-densitometry", folder / "models" / name)
        manifest = folder / "models" / name / "model.yaml"
        manifest.write_text(manifest.read_text("utf-8").replace("name: chest-ct-densitometry", f"name: {name}"))
    (folder / "node.yaml").write_text(NODE.replace("MODELS", str(folder / "models")))
    (folder / "rules.yaml").write_text("rules:\n" + "".join(rules))
    try:
        load_configuration(folder / "node.yaml")
    except ConfigurationFaults as faults:
        return [str(f) for f in faults.faults]
    return []


def following(name: str, after: str, model: str, more: str = "") -> str:
    return f"  - {{name: {name}, match: {{Modality: CT}}, after: {{model: {after}}}, model: {model}{more}}}\n"


def test_chain_of_models_is_no_loop(tmp_path: Path) -> None:
    assert load_rules(tmp_path, RUNS_A, following("b", "a", "b"), following("c", "b", "c"), following("c2", "a", "c")) == []
    rules = load_configuration(tmp_path / "node.yaml").rules
    assert [r.after for r in rules] == [None, After("a"), After("b"), After("a")]


@pytest.mark.parametrize(
    ("rules", "line", "words"),
    [
        ([RUNS_A, following("b", "aa", "b")], 3, "rules[1].after.model: no rule runs model 'aa' (did you mean 'a'?)"),
        ([RUNS_A, following("b", "c", "b")], 3, "no rule runs model 'c' (known: a, b)"),
        ([RUNS_A, following("again", "a", "a")], 3, "the rule would follow itself: a -> a"),
        ([RUNS_A, following("b", "a", "b"), following("back", "b", "a")], 3, "the rule would follow itself: a -> b -> a"),
        ([RUNS_A, following("b", "a", "b"), following("back", "b", "a")], 4, "the rule would follow itself: b -> a -> b"),
        ([following("b", "a", "b"), following("c", "b", "c"), following("a", "c", "a")], 4, "c -> a -> b -> c"),
        ([RUNS_A, following("b", "a", "b", ", complete_when: {quiet: 5s}")], 3, "take complete_when out"),
        (
            [RUNS_A, following("b", "a", "b", ", inputs: {i: {match: {Modality: CT}}, p: {match: {Modality: CT}, prior: {within: 5y}}}")],
            3,
            "series of the study itself",
        ),
        (["  - {name: h, match: {Modality: CT}, hold: true, after: {model: a}}\n", RUNS_A], 2, "take after out"),
        ([RUNS_A, "  - {name: s, match: {Modality: CT}, after: {model: a}}\n"], 3, "model is missing"),
    ],
)
def test_fault_has_its_line(tmp_path: Path, rules: list[str], line: int, words: str) -> None:
    faults = load_rules(tmp_path, *rules)
    assert any(f"rules.yaml:{line}:" in f and words in f for f in faults), faults


@pytest.mark.parametrize("when", ["result.measurement > 1", 'result.measurements[\\"x\\"].value', "result.finding(1).present", "result.("])
def test_expression_over_a_result_is_checked_at_load(tmp_path: Path, when: str) -> None:
    rule = f'  - {{name: b, match: {{Modality: CT}}, after: {{model: a, when: "{when}"}}, model: b}}\n'
    faults = load_rules(tmp_path, RUNS_A, rule)
    assert any("rules.yaml:3:" in f and "after.when" in f for f in faults), faults


def test_example_in_the_documentation_has_no_faults(tmp_path: Path) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    example = text.partition("### Rules that follow a result")[2].partition("```yaml\nrules:\n")[2].partition("```")[0]
    for named, bundle in (("chest-ct-densitometry", "a"), ("lung-nodules", "b"), ("[ward]", "[pacs]")):
        assert named in example
        example = example.replace(named, bundle)
    assert load_rules(tmp_path, example) == []
