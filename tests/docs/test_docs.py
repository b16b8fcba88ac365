"""The documents say what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import get_origin

import pytest
import yaml
from pydantic import BaseModel

from dicom_node.config.conditions import parse_condition
from dicom_node.config.expressions import compile_after, compile_when
from dicom_node.config.node_schema import NodeFile
from dicom_node.config.rules_schema import RuleSection
from tests.conftest import ROOT


def options(model: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str]]:
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        inner = [k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel)]
        if inner:
            yield from options(inner[0], f"{prefix}{name}{'[]' if get_origin(field.annotation) is tuple else ''}.")
        else:
            yield f"{prefix}{name}", field.description or ""


@pytest.mark.parametrize(("option", "description"), list(options(NodeFile)))
def test_every_option_is_documented_with_its_own_words(option: str, description: str) -> None:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert description
    assert re.search(rf"^\| `{re.escape(option)}` \|.*\| {re.escape(description)} \|$", text, re.MULTILINE)


@pytest.mark.parametrize("option", [option for option, _ in options(RuleSection)])
def test_every_rule_option_is_documented(option: str) -> None:
    assert f"| `{option}` |" in (ROOT / "docs" / "configuration.md").read_text("utf-8")


@pytest.mark.parametrize("option", [option for option, _ in options(NodeFile)])
def test_example_file_shows_every_option(option: str) -> None:
    assert re.search(rf"\b{option.rsplit('.', maxsplit=1)[-1]}:", (ROOT / "config" / "node.yaml").read_text("utf-8"))


def test_cases_beside_the_example_rules_hold() -> None:
    program = Path(sys.executable).parent / "dicom-node"
    subprocess.run([program, "rules", "test", "--config", ROOT / "config" / "node.yaml"], check=True, capture_output=True)


def test_links_of_the_readme_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", (ROOT / "README.md").read_text("utf-8")):
        assert (ROOT / target).exists(), target


def test_make_targets_of_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in re.findall(r"^make (\w+)", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)


def section(title: str) -> str:
    text = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    return text.partition(f"\n### {title}\n")[2].partition("\n### ")[0]


def test_lines_of_the_match_table_are_read() -> None:
    lines = re.findall(r"^\| `(.+?)` \|", section("match"), re.MULTILINE)
    assert len(lines) > 15
    for line in lines:
        [(keyword, wanted)] = yaml.safe_load(line.replace("\\|", "|")).items()
        parse_condition(keyword, wanted, thorough=True)


@pytest.mark.parametrize(("title", "compiler"), [("when", compile_when), ("after.when", compile_after)])
def test_expressions_of_the_reference_compile(title: str, compiler: Callable[[str], object]) -> None:
    [block] = re.findall(r"```cel\n(.*?)```", section(title), re.DOTALL)
    for line in block.splitlines():
        compiler(line)
