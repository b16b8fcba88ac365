from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.commands import dicom_node
from tests.unit.bundle.manifests import bundle
from tests.unit.bundle.test_files import RECIPE
from tests.unit.bundle.test_zips import packed


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """A sound bundle, a zip, a faulty one, and one whose networks are to be fetched."""
    folder = tmp_path / "models"
    bundle(folder / "two-organs")
    packed(bundle(tmp_path / "zipped", ("name: two-organs", "name: in-a-zip")), folder / "in-a-zip.zip")
    bundle(folder / "faulty", ("name: two-organs", "name: faulty"), ("stage: research", "stage: none"), ("{x: images}", "{x: ct}"))
    later = bundle(folder / "later", ("name: two-organs", "name: later"))
    (later / "network.onnx").unlink()
    (later / "weights.yaml").write_text(RECIPE)
    return folder


def test_list_shows_every_bundle_and_its_state(models: Path) -> None:
    rows = {row["name"]: row for row in json.loads(dicom_node("models", "list", "--models-dir", models, "--json").out)}
    assert {name: row["state"] for name, row in rows.items()} == {
        "faulty": "1 fault(s): `models verify`",
        "in-a-zip": "ready",
        "later": "networks missing: `models add`",
        "two-organs": "ready",
    }
    assert (rows["two-organs"]["task"], rows["two-organs"]["engines"]) == (["segmentation"], ["onnxruntime"])
    assert rows["two-organs"]["use"] == "For research."
    assert rows["in-a-zip"]["path"] == str(models / "in-a-zip.zip")
    table = dicom_node("models", "list", "--models-dir", models).out
    assert rows["two-organs"]["digest"][:12] in table
    assert table.splitlines()[0].split()[:4] == ["model", "version", "stage", "task"]


def test_empty_folder_is_said_to_be(tmp_path: Path) -> None:
    for command in ("list", "verify"):
        assert dicom_node("models", command, "--models-dir", tmp_path).out == "models_dir holds no bundle.\n"


@pytest.mark.parametrize("name", ["two-organs", "in-a-zip"])
def test_show_prints_the_label(models: Path, name: str) -> None:
    shown = dicom_node("models", "show", name, "--models-dir", models).out
    assert shown.splitlines()[0] == "Two organs 1.2.0, Somebody"
    for line in (
        "  Outlines two organs.",
        "  For research.",
        "  - Modality: CT",
        "  - Slices: 2 or more",
        "  images: slices that form a volume; uneven distances are refused, tilted slices are refused",
        "  Segment: Liver (Liver)",
        "  Measurement: Liver volume of Liver, mL",
        "  ball (images: ellipsoids)",
        "  onnxruntime in fp32, in this order of preference; the CPU stands in if no GPU can",
        "  research: not a product, not for diagnosis; every result says so",
        "  Somebody: https://example.org",
        f"  {name} 1.2.0 by Somebody; segmentation",
    ):
        assert line in shown.splitlines()


def test_show_as_json_holds_label_and_manifest(models: Path) -> None:
    shown = json.loads(dicom_node("models", "show", "two-organs", "--models-dir", models, "--json").out)
    assert shown["label"]["What it does"] == ["Outlines two organs."]
    assert (shown["manifest"]["schema"], shown["manifest"]["resources"]["time_limit"]) == (1, "300000ms")
    assert shown["digest"] in shown["label"]["Identity"][1]


def test_show_works_before_the_networks_are_there(models: Path) -> None:
    shown = dicom_node("models", "show", "later", "--models-dir", models)
    assert shown.code == 0
    assert "The networks are not there yet: dicom-node models add later" in shown.out


def test_show_says_what_is_wrong(models: Path) -> None:
    faulty = dicom_node("models", "show", "faulty", "--models-dir", models)
    assert (faulty.code, "faulty/model.yaml:6: stage" in faulty.err) == (1, True)
    unknown = dicom_node("models", "show", "two-organ", "--models-dir", models)
    assert (unknown.code, "did you mean 'two-organs'?" in unknown.err) == (1, True)


def test_verify_says_every_fault_with_its_line(models: Path) -> None:
    done = dicom_node("models", "verify", "--static", "--models-dir", models)
    assert done.code == 1
    assert f"{models}/faulty: 1 fault(s)." in done.out
    assert "later: not verified, its networks are not there yet: dicom-node models add later." in done.out
    assert "two-organs 1.2.0: no faults, 2 warning(s), digest" in done.out
    assert f"{models}/faulty/model.yaml:6: stage: Input should be" in done.err
    assert f"{models}/in-a-zip.zip/model.yaml:15: warning: network" in done.err


def test_verify_as_json(models: Path) -> None:
    done = dicom_node("models", "verify", models / "faulty", "--static", "--json")
    [told] = json.loads(done.out)
    assert done.code == 1
    assert [(fault["line"], fault["path"]) for fault in told["faults"]] == [(6, "stage")]
    assert told["digest"] is None


def test_verify_of_one_whose_networks_are_missing_fails(models: Path) -> None:
    done = dicom_node("models", "verify", "later", "--models-dir", models)
    assert (done.code, "dicom-node models add later" in done.err) == (1, True)


def test_verify_runs_the_cases_of_a_folder_without_a_node(models: Path) -> None:
    done = dicom_node("models", "verify", models / "two-organs", "--json")
    [told] = json.loads(done.out)
    [case] = told["cases"]["onnxruntime fp32"]
    assert case["name"] == "ball"
    assert done.code == 1
    assert case["failed"] == ["the input is not analysed: Modality is not stated, the model is for CT."]
