"""Every bundle that ships is sound; networks that are fetched later are all that may be missing."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest

from dicom_node.config.models_dir import bundle_paths
from dicom_node.config.yaml_lines import parse_yaml
from dicom_node.inference.bundle.checks.files import FETCH
from dicom_node.inference.bundle.json_schema import manifest_json_schema
from dicom_node.inference.bundle.loading import read_manifest
from dicom_node.inference.bundle.verifying import verify_static
from dicom_node.inference.facts_label import facts_label
from tests.conftest import ROOT

SHIPPED = list(bundle_paths(ROOT / "config" / "models"))
VALIDATOR = jsonschema.Draft202012Validator(manifest_json_schema())


def test_there_are_some() -> None:
    assert {path.name for path in SHIPPED} >= {"chest-ct-densitometry"}


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_bundle_has_no_fault(folder: Path) -> None:
    verdict = verify_static(folder, datetime.now(UTC).date())
    assert [str(fault) for fault in verdict.faults if not fault.hint.startswith(FETCH)] == []
    assert verdict.bundle is not None or (folder / "weights.yaml").is_file()


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_bundle_is_what_the_published_schema_takes(folder: Path) -> None:
    source = parse_yaml(folder / "model.yaml", [])
    assert source is not None
    assert list(VALIDATOR.iter_errors(source.content)) == []


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_label_says_what_one_should_know(folder: Path) -> None:
    manifest = read_manifest(folder).manifest
    assert manifest is not None
    headings = [section.heading for section in facts_label(manifest)]
    assert headings[:3] == ["What it does", "Intended use", "Warnings"]
    assert {"How it works", "Population", "Performance", "Inputs", "Outputs", "Stage", "Contact"} <= set(headings)
    assert manifest.verification.cases
