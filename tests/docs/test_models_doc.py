"""docs/models.md says what the schema says; its examples are bundles without a fault, and its console blocks are executed."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import jsonschema
import pytest
import yaml
from pydantic import BaseModel

from dicom_node.config.yaml_lines import parse_text
from dicom_node.inference.bundle.checks.engines import READS
from dicom_node.inference.bundle.engines_schema import EnginesSection
from dicom_node.inference.bundle.json_schema import manifest_json_schema
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.bundle.scope_schema import IntendedUse
from dicom_node.inference.bundle.tasks import tasks_of
from dicom_node.inference.bundle.verifying import verify_static
from dicom_node.inference.steps.schema import StepsSection
from tests.commands import dicom_node
from tests.conftest import ROOT
from tests.docs.console import alike
from tests.docs.models_page import PAGE, SECTIONS, table, tables_of
from tests.unit.bundle.manifests import bundle
from tests.unit.inference.steps.networks import BY_NAME

TEXT = PAGE.read_text("utf-8")
HISTOGRAM = ROOT / "config" / "models" / "chest-ct-densitometry" / "histogram.onnx"
EXAMPLES = re.findall(r"^```yaml network=(\S+)\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_tables_are_those_of_the_schema() -> None:
    found = tables_of(TEXT)
    assert found.keys() == SECTIONS.keys() - {"Protocol"}
    assert found == {name: table(SECTIONS[name]) for name in found}


def sections(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    yield model
    for field in model.model_fields.values():
        for kind in (field.annotation, *getattr(field.annotation, "__args__", ())):
            if isinstance(kind, type) and issubclass(kind, BaseModel) and kind is not StepsSection:
                yield from sections(kind)


def test_every_option_is_explained_on_the_page() -> None:
    explained = " ".join(re.findall(r"`(\w+)`", TEXT))
    missing = {f.alias or name for section in sections(Manifest) for name, f in section.model_fields.items()} - set(explained.split())
    assert missing <= {"min", "max", "opt", "cases"}  # of ranges, profiles and cases: shown in the examples


@pytest.mark.parametrize(("network", "text"), EXAMPLES, ids=[yaml.safe_load(text)["name"] for _, text in EXAMPLES])
def test_example_is_a_bundle_without_fault(tmp_path: Path, network: str, text: str) -> None:
    bundle(tmp_path, text=text)
    (tmp_path / "network.onnx").write_bytes(HISTOGRAM.read_bytes() if network == "histogram" else BY_NAME[network]())
    verdict = verify_static(tmp_path, date(2026, 1, 1))
    content = getattr(parse_text(text, "model.yaml", []), "content", None)
    assert [str(fault) for fault in verdict.faults] == []
    assert list(jsonschema.Draft202012Validator(manifest_json_schema()).iter_errors(content)) == []


def test_every_kind_of_task_has_an_example() -> None:
    tasks = {task for _, text in EXAMPLES for task in tasks_of(Manifest.model_validate(yaml.safe_load(text)))}
    assert tasks == {"segmentation", "detection", "classification", "measurement", "map"}


def test_parts_are_what_the_schema_takes() -> None:
    use, engines = (yaml.safe_load(part) for part in re.findall(r"^```yaml part\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL))
    assert IntendedUse.model_validate(use["intended_use"]).of("pet").match["Modality"] == "PT"
    triton = EnginesSection.model_validate(engines["engines"]).triton
    assert triton is not None
    assert (triton.to_remote().version, triton.to_remote().timeout_s) == ("3", 60)


def test_no_other_yaml_stands_on_the_page() -> None:
    assert len(re.findall(r"^```yaml", TEXT, re.MULTILINE)) == len(EXAMPLES) + 2


def test_back_ends_read_what_the_table_says() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \| ((?:onnx|torchscript|pt2)[a-z0-9, ]*) \|$", TEXT, re.MULTILINE))
    assert {name: set(forms.split(", ")) for name, forms in rows.items()} == {
        backend.value: {form.value for form in forms} for backend, forms in READS.items()
    }


def test_console_blocks_are_what_the_commands_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    shutil.copytree(HISTOGRAM.parent, tmp_path / "models" / "chest-ct-densitometry")
    text = next(text for network, text in EXAMPLES if network == "mean-3d")
    changes = [("stage: research", "stage: released"), ("Modality: CT", "Modalty: CT"), ('"[hnsf\'U]"', "HU")]
    bundle(tmp_path / "faulty", *changes, text=text)
    for block in re.findall(r"^```console\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL):
        said, wanted, code = [], [], 0
        for line in block.splitlines():
            if line == "$ echo $?":
                said.append(str(code))
            elif line.startswith("$ dicom-node "):
                extra = ["--models-dir", "models"] if "list" in line else []
                done = dicom_node(*line.split()[2:], *extra)
                code = done.code
                said += (done.out + done.err).splitlines()
            else:
                wanted.append(line)
        assert len(said) == len(wanted), "\n".join(said)
        assert all(map(alike, wanted, said)), "\n".join(said)


def test_published_schema_is_that_of_the_program() -> None:
    published = (ROOT / "docs" / "models.schema.json").read_text("utf-8")
    assert published == dicom_node("models", "schema").out
    assert json.loads(published) == manifest_json_schema()
