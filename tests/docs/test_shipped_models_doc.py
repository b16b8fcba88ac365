"""docs/shipped-models.md: its rules can be read, its messages are the program's, its pictures are there, every bundle has its card."""

from __future__ import annotations

import re

import pytest
import yaml

from dicom_node.config.rules_schema import RulesFile
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "shipped-models.md").read_text("utf-8")
BUNDLES = sorted(path.parent.name for path in (ROOT / "config" / "models").glob("*/model.yaml"))


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))
def test_rules_can_be_read_and_name_a_shipped_bundle(block: str) -> None:
    rules = RulesFile.model_validate(yaml.safe_load(block)).rules
    assert all(rule.model in BUNDLES for rule in rules)


@pytest.mark.parametrize("name", BUNDLES)
def test_every_bundle_is_described_drawn_and_has_its_card(name: str) -> None:
    assert f"| `{name}` |" in TEXT
    assert (ROOT / "docs" / "pictures" / f"{name}.png").is_file()
    assert f"]({f'../config/models/{name}/MODEL_CARD.md'})" in TEXT
    assert "## Checked" in (ROOT / "config" / "models" / name / "MODEL_CARD.md").read_text("utf-8")


def test_messages_are_those_of_the_program() -> None:
    program = " ".join(path.read_text("utf-8") for path in (ROOT / "dicom_node" / "inference" / "weights").glob("*.py"))
    said = re.findall(r"^\| `(?:… )?([^`…]+)", TEXT.split("| message |", 1)[1].split("##", 1)[0], re.MULTILINE)
    assert len(said) == 5
    for message in said:
        assert message.split(" deepbet")[0].strip(" :").removesuffix(" is") in program, message
