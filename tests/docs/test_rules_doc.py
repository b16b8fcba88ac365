"""Every example of docs/rules.md is executed, in its order, in one folder.

`yaml` blocks are loaded as rules, or run as cases of the rules before them; `yaml faulty` and `yaml wrong` are only written. A comment
`<!-- file: NAME -->` before a block writes it to a file for the commands that follow. `console` blocks are typed, and their output compared
line by line: runs of spaces count as one, `…` stands for any text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dsutils import encode

from dicom_node.config import load_configuration
from dicom_node.domain.durability import Durability
from dicom_node.domain.instances import AssociationPeer
from dicom_node.pipeline.intake import AvailableModel, Intake
from dicom_node.pipeline.rule_versions import keep_version
from dicom_node.scp.door import Door, DoorSettings, InstanceKind
from dicom_node.storage import Database, InstanceFiles
from tests.commands import dicom_node
from tests.conftest import ROOT
from tests.docs.console import alike, typed
from tests.phantoms import chest_series, write

DOC = ROOT / "docs" / "rules.md"
UID = "1.2.826.0.1.3680043.8.498"
MODELS = ("chest-ct-densitometry", "liver-lesions", "lung-growth")
NODE = """\
ae_title: AINODE
dicom: {host: 127.0.0.1, port: 11112}
data_dir: data
database: sqlite:///DATABASE
peers:
  - {name: pacs, ae_title: PACS, host: 127.0.0.1}
  - {name: ct, ae_title: CT1, host: 127.0.0.1}
destinations:
  - {name: pacs, ae_title: PACS, host: 127.0.0.1, port: 4242}
  - {name: worklist, ae_title: WORKLIST, host: 127.0.0.1, port: 4243}
query_sources:
  - {name: archive, ae_title: PACS, host: 127.0.0.1, port: 4242}
"""


@dataclass(frozen=True)
class Block:
    line: int
    kind: str
    text: str
    file: str


def blocks() -> Iterator[Block]:
    text = DOC.read_text("utf-8")
    for found in re.finditer(r"(?:^<!-- file: (\S+) -->\n)?^```(\w+(?: \w+)?)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(text.count("\n", 0, found.start(2)) + 1, found[2], found[3], found[1] or "")


class Node:
    """A node with three studies of today, and the folder that the commands are typed in."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.rules = folder, ""
        (folder / "node.yaml").write_text(NODE.replace("DATABASE", str(folder / "node.db")))
        for name in MODELS:
            bundle = folder / "models" / name
            bundle.mkdir(parents=True)
            for source in (ROOT / "config" / "models" / MODELS[0]).iterdir():
                content = source.read_bytes()
                (bundle / source.name).write_bytes(content.replace(b"name: " + MODELS[0].encode(), b"name: " + name.encode()))

    def begin(self) -> None:
        """Let the node run for a while on the first rules."""
        configuration = load_configuration(Path("node.yaml"))
        files, database = InstanceFiles(configuration.data_dir), Database(configuration.node.database)
        files.prepare()
        database.migrate()
        keep_version(database, configuration, datetime.now(UTC))
        door = Door(files, DoorSettings("test", Durability.NONE, min_free_bytes=0))
        intake = Intake(configuration, database, files, {name: AvailableModel("1", "digest") for name in MODELS})
        studies = [("CHEST", "Lung"), ("ABDOMEN", "Portal 10.0"), ("CHEST", "Scout")]
        for number, (body_part, description) in enumerate(studies, start=1):
            series = chest_series(f"{UID}.{number}", BodyPartExamined=body_part, SeriesDescription=description)
            for ds in series:
                ds.SeriesInstanceUID = f"{UID}.{number}.1"
                self._receive(door, ds)
            if number == 1:
                write(series[:1], self.folder / "media")
            intake.index_pending(lambda: True)
            intake.close_due(datetime.now(UTC) + timedelta(hours=1))
        database.close()

    @staticmethod
    def _receive(door: Door, ds: Dataset) -> None:
        content = encode(ds, is_implicit_vr=False, is_little_endian=True)
        assert content is not None
        kind = InstanceKind(ds.SOPClassUID, ds.SOPInstanceUID, ExplicitVRLittleEndian)
        door.keep(AssociationPeer("PACS", "AINODE", "127.0.0.1"), kind, [content])

    def take(self, block: Block) -> str:
        """Execute a block; returns what is wrong with it."""
        if block.file:
            Path(block.file).write_text(block.text)
        if block.kind == "yaml" and block.text.startswith("rules:"):
            Path("block.yaml").write_text(block.text)
            self.rules = block.text
            done = dicom_node("rules", "diff", "block.yaml")
            if not Path("node.db").exists() and block.file == "rules.yaml":
                self.begin()
            return done.err if done.code else ""
        if block.kind == "yaml":
            Path("tested.yaml").write_text(self.rules)
            Path("cases.yaml").write_text(block.text)
            done = dicom_node("rules", "test", "--rules", "tested.yaml", "--cases", "cases.yaml")
            return done.out + done.err if done.code else ""
        return typed(block.text) if block.kind == "console" else ""


@pytest.mark.parametrize(
    ("wanted", "said", "same"),
    [
        ("a  b", "a b", True),
        ("a … c", "a b c", True),
        ("a", "b", False),
        ("  a", "a", False),
        ("a … c", "a b d", False),
        ("(a).*", "(a).*", True),
    ],
)
def test_lines_compare_as_the_document_says(wanted: str, said: str, same: bool) -> None:
    assert alike(wanted, said) is same


def test_every_example_of_the_rules_document(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DICOM_NODE_CONFIG", "node.yaml")
    monkeypatch.setenv("SUDO_USER", "erika")
    monkeypatch.setenv("COLUMNS", "200")
    node = Node(tmp_path)
    found = list(blocks())
    wrong = [f"docs/rules.md:{block.line}: {problem}" for block in found if (problem := node.take(block))]
    assert not wrong, "\n\n".join(wrong)
    assert {block.kind for block in found} == {"yaml", "console", "yaml faulty", "yaml wrong"}
    assert sum(block.kind == "yaml" for block in found) >= 15


def test_every_field_of_a_case_is_documented() -> None:
    from dicom_node.config.cases_schema import PriorCase, RuleCase, SeriesCase, WantedRule  # noqa: PLC0415

    text = DOC.read_text("utf-8")
    for section in (RuleCase, SeriesCase, PriorCase, WantedRule):
        for name in section.model_fields:
            assert f"`{name}`" in text, name
