from __future__ import annotations

from pathlib import Path

import pytest

from dicom_node.config import Configuration, ConfigurationFaults, dump_snapshot, load_configuration, load_snapshot, restart_only_changes
from dicom_node.domain.sources import QuerySource, Retrieval
from tests.conftest import ROOT

NODE = """\
ae_title: AINODE
dicom: {host: 127.0.0.1, port: 11112}
data_dir: data
database: sqlite:///node.db
peers:
  - {name: pacs, ae_title: ORTHANC, host: 127.0.0.1}
destinations:
  - {name: pacs, ae_title: ORTHANC, host: 127.0.0.1, port: 4242}
models_dir: MODELS
"""
RULES = """\
rules:
  - name: chest
    match: {Modality: CT}
    model: chest-ct-densitometry
    send_to: [pacs]
"""


def load(folder: Path, node: str = NODE, rules: str = RULES) -> Configuration:
    (folder / "node.yaml").write_text(node.replace("MODELS", str(ROOT / "config" / "models")))
    (folder / "rules.yaml").write_text(rules)
    return load_configuration(folder / "node.yaml")


def faults(folder: Path, node: str = NODE, rules: str = RULES) -> list[str]:
    with pytest.raises(ConfigurationFaults) as caught:
        load(folder, node, rules)
    return [str(f) for f in caught.value.faults]


def test_example_configuration_has_no_faults() -> None:
    assert load_configuration(ROOT / "config" / "node.yaml").ae_title == "AINODE"


def test_snapshot_reads_back_equal(tmp_path: Path) -> None:
    configuration = load(tmp_path)
    assert load_snapshot(dump_snapshot(configuration)) == configuration


def test_every_fault_of_both_files_is_named_with_its_line(tmp_path: Path) -> None:
    node = NODE.replace("port: 4242", "port: 99999").replace("ae_title: AINODE", "ae_title: AINODE-WITH-A-LONG-TITLE")
    found = faults(tmp_path, node, RULES.replace("Modality", "Modalty"))
    assert len(found) == 3
    assert any("node.yaml:1:" in f and "16 are allowed" in f for f in found)
    assert any("node.yaml:8:" in f for f in found)
    assert any("rules.yaml:3:" in f and "did you mean 'Modality'" in f for f in found)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("send_to: [pacs]", "send_to: [pasc]", "did you mean 'pacs'"),
        ("model: chest-ct-densitometry", "model: chest-ct-densitometri", "did you mean 'chest-ct-densitometry'"),
        ("match: {Modality: CT}", "match: {}", "empty match"),
        ("    model: chest-ct-densitometry\n", "", "model is missing"),
        ("    send_to: [pacs]", "    hold: true", "hold"),
        ("rules:\n", "rules: [\n", "rules.yaml:"),
        (
            "    send_to",
            "    inputs: {a: {prior: {within: 1y}}, b: {}}\n    send_to",
            "'a' stands first, which is the one that results refer to",
        ),
        ("    send_to", "    inputs: {a: {optional: true}, b: {}}\n    send_to", "and is optional: put another one first"),
        ("    send_to", "    inputs: {a: {}, b: {optional: true, prior: {within: 1y}}}\n    send_to", "'b' has prior and optional"),
        ("match: {Modality: CT}", "match: &x {Modality: CT, Rows: *x}", "a text, a number, or a list"),
        ("match: {Modality: CT}", "match: {[1]: CT}", "rules.yaml:"),
        ("match: {Modality: CT}", "match: {Modality: CT, Modality: MR}", "is given twice"),
        ("match: {Modality: CT}", "match: CT", "a match names keywords"),
    ],
)
def test_faulty_rules_are_refused_with_a_hint(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert any(words in f for f in faults(tmp_path, rules=RULES.replace(old, new)))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("host: 127.0.0.1}\ndest", "host: pacs.example.org}\ndest", "not looked up"),
        ("data_dir: data\n", "", "required option is missing"),
        ("data_dir", "data_dirs", "did you mean 'data_dir'"),
        ("database: sqlite:///node.db", "database: node.db", "database"),
        ("peers:", "commitment: {report_to: [{ae_title: A, host: a, port: 1}, {ae_title: A, host: b, port: 2}]}\npeers:", "used twice"),
    ],
)
def test_faulty_node_is_refused_with_a_hint(tmp_path: Path, old: str, new: str, words: str) -> None:
    assert any(words in f for f in faults(tmp_path, NODE.replace(old, new)))


def test_query_source_is_fetched_from_by_get_unless_said_otherwise(tmp_path: Path) -> None:
    sources = (
        "query_sources:\n  - {name: a, ae_title: A, host: h, port: 104}\n"
        "  - {name: b, ae_title: B, host: h, port: 104, retrieve: move, timeout: 5s}\n"
    )
    loaded = load(tmp_path, NODE + sources).query_sources
    assert loaded["a"] == QuerySource("a", "A", "h", 104, 30.0, Retrieval.GET)
    assert loaded["b"] == QuerySource("b", "B", "h", 104, 5.0, Retrieval.MOVE)
    assert any("used twice" in f for f in faults(tmp_path, NODE + sources.replace("name: b", "name: a")))


def test_missing_file_is_a_fault_not_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFaults, match=r"absent\.yaml"):
        load_configuration(tmp_path / "absent.yaml")


def test_only_options_that_cannot_change_at_run_time_need_a_restart(tmp_path: Path) -> None:
    before = load(tmp_path)
    assert restart_only_changes(before, load(tmp_path, rules=RULES.replace("CT", "MR"))) == ()
    assert restart_only_changes(before, load(tmp_path, NODE.replace("port: 11112", "port: 11113"))) == ("dicom.port",)
