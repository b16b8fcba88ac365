"""Versions, explanations and replays, on a real database that a real intake filled."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dicom_node.config import load_configuration
from dicom_node.pipeline.intake import AvailableModel
from dicom_node.pipeline.rule_versions import file_owner, keep_version
from dicom_node.storage import Database, InstanceFiles, rule_versions
from tests.commands import Done, dicom_node
from tests.integration.test_intake import House
from tests.phantoms import chest_series, write
from tests.unit.test_config import RULES

MODEL = "chest-ct-densitometry"
NARROW = RULES.replace("{Modality: CT}", "{Modality: CT, StudyDescription: CT head}")
OTHER = f"""\
  - name: second
    match: {{Modality: CT, StudyDescription: CT chest}}
    model: {MODEL}
"""


class PastHouse(House):
    def __init__(self, folder: Path, database: Database, files: InstanceFiles) -> None:
        super().__init__(folder, database, files)
        self.folder = folder
        text = (folder / "node.yaml").read_text().replace("sqlite:///node.db", database.url)
        (folder / "node.yaml").write_text(text)
        self.begin()

    def begin(self) -> None:
        """Come into force, as at start or reload of the node."""
        self.configuration = load_configuration(self.folder / "node.yaml")
        keep_version(self.database, self.configuration, datetime.now(UTC))
        self.intake.reconfigure(self.configuration, {MODEL: AvailableModel("1", "digest")})

    def write_rules(self, text: str, name: str = "rules.yaml") -> Path:
        (self.folder / name).write_text(text)
        return self.folder / name

    def rules(self, *arguments: object) -> Done:
        return dicom_node("rules", *arguments, "--config", self.folder / "node.yaml")

    def study(self, **elements: object) -> str:
        data_sets = chest_series(**elements)
        self.receive(data_sets[:4])
        self.turn()
        return str(data_sets[0].StudyInstanceUID)

    def replay(self, draft: str, *arguments: object) -> dict:  # type: ignore[type-arg]
        path = self.write_rules(draft, "draft.yaml")
        done = self.rules("replay", "--rules", path, "--json", *arguments)
        assert done.code == 0, done.err
        return json.loads(done.out)  # type: ignore[no-any-return]

    def history(self) -> list[dict]:  # type: ignore[type-arg]
        return json.loads(self.rules("history", "--json").out)  # type: ignore[no-any-return]


@pytest.fixture
def house(tmp_path: Path, database: Database, files: InstanceFiles) -> PastHouse:
    return PastHouse(tmp_path, database, files)


def changes(replayed: dict, rule: str) -> dict[str, int]:  # type: ignore[type-arg]
    found = next(r for r in replayed["rules"] if r["rule"] == rule)
    return {kind: entry["studies"] for kind, entry in found["changes"].items()}


def test_version_is_kept_when_it_comes_into_force_and_not_again(house: PastHouse) -> None:
    house.begin()
    [version] = house.history()
    assert (version["version"], version["author"], version["content"]) == (1, file_owner(house.folder / "rules.yaml"), RULES)


def test_comments_and_layout_make_no_version(house: PastHouse) -> None:
    house.write_rules("# a remark\n" + RULES)
    house.begin()
    assert len(house.history()) == 1


def test_edited_file_becomes_a_version_at_the_reload(house: PastHouse) -> None:
    house.write_rules(NARROW)
    house.begin()
    assert [v["content"] for v in house.history()] == [NARROW, RULES]


def test_apply_writes_the_file_and_the_history(house: PastHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "erika")
    draft = house.write_rules(NARROW, "draft.yaml")
    done = house.rules("apply", draft, "--comment", "heads only")
    assert done.code == 0, done.err
    assert "match.StudyDescription: not set -> CT head" in done.out
    assert "No node runs here" in done.out
    assert (house.folder / "rules.yaml").read_text() == NARROW
    assert (house.folder / "rules.yaml.old").read_text() == RULES
    newest = house.history()[0]
    assert (newest["version"], newest["author"], newest["comment"], newest["content"]) == (2, "erika", "heads only", NARROW)
    house.begin()
    assert len(house.history()) == 2  # the node finds it on record


def test_faulty_draft_changes_nothing(house: PastHouse) -> None:
    draft = house.write_rules(RULES.replace("Modality", "Modalty"), "draft.yaml")
    done = house.rules("apply", draft, "--comment", "typo")
    assert done.code == 2
    assert "draft.yaml:3:" in done.err
    assert (house.folder / "rules.yaml").read_text() == RULES
    assert len(house.history()) == 1


def test_good_draft_replaces_a_file_that_has_faults(house: PastHouse) -> None:
    house.write_rules("rules: [")
    done = house.rules("apply", house.write_rules(NARROW, "draft.yaml"), "--comment", "repair")
    assert done.code == 0, done.err
    assert (house.folder / "rules.yaml").read_text() == NARROW


def test_dry_run_changes_nothing(house: PastHouse) -> None:
    house.rules("apply", house.write_rules(NARROW, "draft.yaml"), "--comment", "x", "--dry-run")
    assert (house.folder / "rules.yaml").read_text() == RULES
    assert len(house.history()) == 1


def test_rollback_brings_the_text_back_as_a_new_version(house: PastHouse) -> None:
    house.rules("apply", house.write_rules(NARROW, "draft.yaml"), "--comment", "heads only")
    done = house.rules("rollback", "1", "--comment", "chests were missed", "--yes")
    assert done.code == 0, done.err
    assert (house.folder / "rules.yaml").read_text() == RULES
    assert [v["comment"] for v in house.history()] == ["rollback to version 1: chests were missed", "heads only", ""]


def test_rollback_works_while_the_file_has_faults(house: PastHouse) -> None:
    house.write_rules("rules: [")
    assert house.rules("rollback", "1", "--comment", "broken", "--yes").code == 0
    assert (house.folder / "rules.yaml").read_text() == RULES


def test_rollback_asks_and_does_nothing_where_nobody_answers(house: PastHouse) -> None:
    house.rules("apply", house.write_rules(NARROW, "draft.yaml"), "--comment", "heads only")
    done = house.rules("rollback", "1", "--comment", "x")
    assert done.code == 1
    assert "--yes" in done.err
    assert (house.folder / "rules.yaml").read_text() == NARROW


def test_rollback_to_a_version_that_is_not_there(house: PastHouse) -> None:
    done = house.rules("rollback", "7", "--comment", "x", "--yes")
    assert (done.code, "no version 7" in done.err) == (1, True)


def test_diff_of_versions_files_and_what_a_reload_would_change(house: PastHouse) -> None:
    house.rules("apply", house.write_rules(NARROW, "draft.yaml"), "--comment", "heads only")
    house.write_rules(NARROW + OTHER)
    assert "From version 1 to version 2:\n  rule chest is changed" in house.rules("diff", "1", "2").out
    assert "From version 1 to version 2:" in house.rules("diff", "1").out
    assert "  rule second is new" in house.rules("diff").out
    assert (
        "  rule chest is changed\n    match.StudyDescription: CT head -> not set"
        in house.rules("diff", house.write_rules(RULES, "d.yaml")).out
    )
    assert "no difference" in house.rules("diff", "2", "2").out


def test_study_names_the_version_that_decided(house: PastHouse) -> None:
    first = house.study()
    house.write_rules(NARROW)
    house.begin()
    second = house.study()
    for uid, version in ((first, 1), (second, 2)):
        shown = dicom_node("studies", "show", uid, "--config", house.folder / "node.yaml").out
        assert re.search(rf"Revision 1, .*, rules version {version}$", shown, re.MULTILINE), shown


def test_replay_shows_what_a_draft_gains_loses_and_changes(house: PastHouse) -> None:
    chest, head = house.study(), house.study(StudyDescription="CT head")
    replayed = house.replay(NARROW + OTHER)
    assert (replayed["studies"], replayed["changed"]) == (2, 1)
    lost = next(r for r in replayed["rules"] if r["rule"] == "chest")
    assert (lost["runs_now"], lost["would_run"]) == (2, 1)
    assert lost["changes"] == {"lost": {"studies": 1, "examples": [chest]}}
    assert changes(replayed, "second") == {"new": 1}
    assert head not in json.dumps(replayed)
    assert replayed["decided_by_other_versions"] == 0
    assert replayed["decided_otherwise_then"]["studies"] == 0


@pytest.mark.parametrize(
    ("old", "new", "change"),
    [
        ("send_to: [pacs]", "send_to: []", "other destination"),
        ("send_to: [pacs]", "send_to: [pacs]\n    forward_to: [pacs]", "other destination"),
        ("send_to: [pacs]", "priority: stat\n    send_to: [pacs]", "other priority"),
        ("send_to: [pacs]", "shadow: true\n    send_to: [pacs]", "shadow"),
        ("{Modality: CT}", "{Modality: CT, InstanceNumber: '<=3'}", "other instances"),
        ("model:", "inputs: {image: {match: {SeriesNumber: 7}}}\n    model:", "other series"),
    ],
)
def test_replay_tells_what_is_other(house: PastHouse, old: str, new: str, change: str) -> None:
    first, other = chest_series(SeriesNumber=1), chest_series(SeriesNumber=7)
    for ds in other:
        ds.StudyInstanceUID = first[0].StudyInstanceUID
    house.receive([*first[:5], *other[:4]])
    house.turn()
    assert changes(house.replay(RULES.replace(old, new, 1)), "chest") == {change: 1}


def test_replay_tells_held_studies(house: PastHouse) -> None:
    house.study()
    hold = "  - {name: keep, hold: true, match: {PatientID: PH-4711}}\n"
    replayed = house.replay(RULES.replace("rules:\n", "rules:\n" + hold))
    assert (changes(replayed, "keep"), changes(replayed, "chest")) == ({"held": 1}, {"lost": 1})


def test_replay_says_where_the_past_was_decided_otherwise(house: PastHouse) -> None:
    uid = house.study()
    house.write_rules(NARROW)
    house.begin()
    replayed = house.replay(RULES)
    assert changes(replayed, "chest") == {"new": 1}
    assert replayed["decided_by_other_versions"] == 1
    assert replayed["decided_otherwise_then"] == {"studies": 1, "examples": [uid]}


def test_replay_uses_the_last_revision_and_the_window(house: PastHouse) -> None:
    data_sets = chest_series()
    house.receive(data_sets[:3])
    house.turn()
    house.receive(data_sets[3:6])
    house.turn()
    assert house.replay(RULES.replace("model:", "inputs: {image: {min_instances: 6}}\n    model:"))["changed"] == 0
    with house.database.transaction() as session:
        session.connection().exec_driver_sql("UPDATE study_headers SET closed_at = '2020-01-01 00:00:00'")
    assert house.replay(NARROW)["studies"] == 0


def test_replay_says_what_it_cannot_know(house: PastHouse) -> None:
    house.study()
    with house.database.transaction() as session:
        session.connection().exec_driver_sql("DELETE FROM study_headers")
    prior = "    inputs: {now: {}, before: {prior: {within: 1y}}}\n    schedule: {active_from: 2030-01-01T00:00:00Z}\n"
    replayed = house.replay(RULES + prior)
    assert replayed["headers_not_kept"] == 1
    notes = " ".join(replayed["notes"])
    assert "priors are not looked for" in notes
    assert "--ignore-schedule" in notes
    assert "waiting is not replayed" in notes


def test_replay_asks_rules_that_begin_later_when_told_to_ignore_schedules(house: PastHouse) -> None:
    house.study()
    later = RULES + "    schedule: {active_from: 2100-01-01T00:00:00Z}\n"
    assert changes(house.replay(later), "chest") == {"lost": 1}
    assert house.replay(later, "--ignore-schedule")["changed"] == 0


def test_replay_in_several_processes_says_the_same(house: PastHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        house.study(StudyDescription="CT head" if number % 2 else "CT chest")
    alone = house.replay(NARROW, "--processes", 1)
    monkeypatch.setattr("dicom_node.pipeline.replay.run._CHUNK", 2)
    monkeypatch.setattr("dicom_node.pipeline.replay.run._WORTH_A_PROCESS", 1)
    assert house.replay(NARROW, "--processes", 2) == alone


def test_replay_shows_no_patient_data(house: PastHouse) -> None:
    house.study(StudyDescription="CT head")
    done = house.rules("replay", "--rules", house.write_rules(NARROW.replace("CT head", "x"), "draft.yaml"))
    assert "would change" in done.out
    assert not any(secret in done.out + done.err for secret in ("PH-4711", "Phantom", "ACC-0815", "19600229"))


def test_explain_files_as_the_intake_reads_them(house: PastHouse, tmp_path: Path) -> None:
    write(chest_series()[:3], tmp_path / "one")
    write(chest_series(Modality="MR")[:2], tmp_path / "one" / "two")
    (tmp_path / "one" / "notes.txt").write_text("not DICOM")
    done = house.rules("explain", tmp_path / "one", "--calling-aet", "CT1")
    assert done.code == 0, done.err
    assert done.out.count("Study ") == 2
    assert "3 instances in 1 series, sent by CT1; read from files" in done.out
    assert "ok Modality: wanted CT, seen CT" in done.out
    assert "NO Modality: wanted CT, seen MR" in done.out


def test_explain_a_study_anew_as_decided_and_by_a_draft(house: PastHouse) -> None:
    uid = house.study()
    house.write_rules(NARROW)
    house.begin()
    assert "chest: no-match" in house.rules("explain", uid).out
    then = house.rules("explain", uid, "--as-decided").out
    assert "as decided by version 1" in then
    assert "chest: run" in then
    assert "second: run" in house.rules("explain", uid, "--rules", house.write_rules(NARROW + OTHER, "d.yaml")).out
    [answer] = json.loads(house.rules("explain", uid, "--json").out)
    assert answer["traces"][0]["outcome"] == "no-match"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["1.2.3"], "no such study has arrived"),
        (["nothing here"], "neither a file or folder nor a Study Instance UID"),
        (["UID", "--revision", "4"], "the study has no revision 4"),
    ],
)
def test_explain_says_what_it_cannot_find(house: PastHouse, arguments: list[str], words: str) -> None:
    uid = house.study()
    done = house.rules("explain", *[uid if a == "UID" else a for a in arguments])
    assert (done.code, words in done.err) == (1, True), done.err


def test_version_of_a_decision_that_came_back(house: PastHouse) -> None:
    with house.database.transaction() as session:
        first = rule_versions.latest(session)
        assert first is not None
        for content in ("b" * 64, first.digest):
            rule_versions.record(session, rule_versions.NewVersion(content, "", "", ""), datetime.now(UTC))
        assert rule_versions.in_force(session, first.digest, first.at) == 1
        assert rule_versions.in_force(session, first.digest, datetime.now(UTC)) == 3
        assert rule_versions.in_force(session, "c" * 64, datetime.now(UTC)) is None
