from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from dicom_node.config import Configuration, ConfigurationFaults, dump_snapshot, load_configuration, load_snapshot, restart_only_changes
from dicom_node.domain.destinations import FhirServer, Hl7Receiver, Origin, StorageScp, StowServer, TheSender
from dicom_node.domain.jobs import CommitPolicy
from dicom_node.domain.queue_order import hours_from_text
from dicom_node.domain.sources import QuerySource, Retrieval, WebSource
from dicom_node.domain.waits import DEFAULT_WAITS, Wait
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
        ("    send_to: [pacs]", "    forward_to: [pasc]", "did you mean 'pacs'"),
        ("    send_to: [pacs]", "    forward_to: [pacs]\n    shadow: true", "a shadow rule sends nothing"),
        ("    model: chest-ct-densitometry\n", "    forward_to: [pacs]\n", "there are no results to send"),
        ("    model: chest-ct-densitometry\n    send_to", "    hold: true\n    forward_to", "leave model, send_to and forward_to out"),
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
        ("host: 127.0.0.1}\ndest", "host: 10.1.0.0/16, port: 104}\ndest", "of which none can be called"),
        ("host: 127.0.0.1, port: 4242", "type: sender", "ae_title: not with type sender"),
        ("ae_title: ORTHANC, host: 127.0.0.1, port: 4242", "type: sender", "no peer has a port"),
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


def test_query_source_with_a_url_is_asked_by_dicomweb(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("secret")
    (tmp_path / "ca.pem").write_text("")
    source = "query_sources:\n  - {name: a, url: 'https://pacs.example.org/dicom-web/', token_file: token, ca: ca.pem}\n"
    loaded = load(tmp_path, NODE + source)
    expected = WebSource("a", "https://pacs.example.org/dicom-web", 30.0, tmp_path / "token", tmp_path / "ca.pem")
    assert loaded.query_sources["a"] == expected
    assert load_snapshot(dump_snapshot(loaded)).query_sources == loaded.query_sources


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ("ae_title: A, host: h", "port missing: give ae_title, host and port, or url"),
        ("url: 'https://h/web', port: 104", "either by DIMSE or by DICOMweb"),
        ("url: 'https://h/web', retrieve: move", "on our own connection"),
        ("ae_title: A, host: h, port: 104, ca: ca.pem", "ca without url"),
        ("url: 'ftp://h/web'", "http:// or https://"),
        ("url: 'https://me:secret@h/web'", "secrets stand in files of their own"),
        ("url: 'https://h/web?key=secret'", "secrets stand in files of their own"),
        ("url: 'http://h/web', token_file: token", "in the clear"),
        ("url: 'https://h/web', token_file: absent", "no file"),
        ("url: 'https://h/web', ca: absent.pem", "no file"),
        ("urls: 'https://h/web'", "did you mean 'url'"),
    ],
)
def test_faulty_query_source_is_refused_with_its_line(tmp_path: Path, options: str, words: str) -> None:
    (tmp_path / "token").write_text("secret")
    line = len(NODE.splitlines()) + 2
    found = faults(tmp_path, f"{NODE}query_sources:\n  - {{name: a, {options}}}\n")
    assert any(words in f and f":{line}: " in f for f in found), found


@pytest.mark.parametrize(
    ("addition", "path"),
    [
        ("complete_when: {expected_count: archve}", "rules[0].complete_when.expected_count"),
        ("complete_when: {fetch_missing: archve}", "rules[0].complete_when.fetch_missing"),
        ("inputs: {now: {}, before: {prior: {within: 5y, source: archve}}}", "rules[0].inputs.before.prior.source"),
    ],
)
def test_rule_that_names_no_query_source_is_refused_with_its_line(tmp_path: Path, addition: str, path: str) -> None:
    source = "query_sources:\n  - {name: archive, ae_title: A, host: h, port: 104}\n"
    rules = RULES.rstrip("\n") + f"\n    {addition}\n"
    [fault] = faults(tmp_path, NODE + source, rules)
    assert f":{len(rules.splitlines())}: {path}" in fault
    assert "did you mean 'archive'" in fault


def test_missing_file_is_a_fault_not_a_traceback(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationFaults, match=r"absent\.yaml"):
        load_configuration(tmp_path / "absent.yaml")


def test_only_options_that_cannot_change_at_run_time_need_a_restart(tmp_path: Path) -> None:
    before = load(tmp_path)
    assert restart_only_changes(before, load(tmp_path, rules=RULES.replace("CT", "MR"))) == ()
    assert restart_only_changes(before, load(tmp_path, NODE.replace("port: 11112", "port: 11113"))) == ("dicom.port",)


def test_what_a_rule_leaves_open_depends_on_the_modality_and_defaults_replace_it(tmp_path: Path) -> None:
    rules = "defaults: {CT: {quiet: 90s}, US: {quiet: 2h}, other: {max_wait: 10m}}\n" + RULES.replace(
        "    model:", "    complete_when: {max_wait: 5m}\n    model:"
    )
    configuration = load(tmp_path, rules=rules)
    assert (configuration.rules[0].complete_when.quiet, configuration.rules[0].complete_when.max_wait) == (None, timedelta(minutes=5))
    waits = configuration.waits
    assert waits["CT"] == Wait(timedelta(seconds=90), DEFAULT_WAITS["CT"].max_wait)
    assert waits["US"] == Wait(timedelta(hours=2), timedelta(hours=2))  # a quiet longer than the usual longest wait lengthens that
    assert waits["other"] == Wait(DEFAULT_WAITS["other"].quiet, timedelta(minutes=10))
    assert waits["MR"] == DEFAULT_WAITS["MR"]
    assert load_snapshot(dump_snapshot(configuration)).waits == waits


def test_faults_of_defaults_have_their_lines(tmp_path: Path) -> None:
    text = "defaults:\n  ct: {quiet: 10s}\n  MR: {quiet: 10m, max_wait: 1m}\n  US: {quite: 3s}\n" + RULES
    found = faults(tmp_path, rules=text)
    assert len(found) == 3
    assert any("rules.yaml:2:" in f and "'ct' is no modality" in f for f in found)
    assert any("rules.yaml:3:" in f and "max_wait is shorter than quiet" in f for f in found)
    assert any("rules.yaml:4:" in f and "did you mean 'quiet'" in f for f in found)


@pytest.mark.parametrize(
    ("when", "source"),
    [
        ("fetch_missing: a", "a"),
        ("fetch_missing: a, expected_count: b", "b"),
        ("fetch_missing: a, availability: true", ""),
        ("quiet: 1s", ""),
    ],
)
def test_missing_instances_are_counted_where_they_are_fetched_unless_another_proof_is_named(tmp_path: Path, when: str, source: str) -> None:
    sources = "".join(f"  - {{name: {name}, ae_title: X, host: h, port: 104}}\n" for name in "ab")
    rules = RULES.replace("    model:", f"    complete_when: {{{when}}}\n    model:")
    configuration = load(tmp_path, NODE + "query_sources:\n" + sources, rules)
    assert configuration.rules[0].complete_when.counted_at == source
    assert configuration.asks_for_release is False


def test_receivers_note_visits_only_while_a_rule_asks_for_release(tmp_path: Path) -> None:
    rules = RULES.replace("    model:", "    complete_when: {release: 0s}\n    model:")
    assert load(tmp_path, rules=rules).asks_for_release


def test_order_of_jobs_is_read_with_its_hours_and_zone(tmp_path: Path) -> None:
    section = "workers: {off_peak: [19:00-05:30, sat-sun 00:00-24:00], time_zone: Europe/Berlin, normal_overdue: 10m, stat_in_a_row: 2}\n"
    order = load(tmp_path, NODE + section).workers.to_queue_order()
    assert order.off_peak == (hours_from_text("19:00-05:30"), hours_from_text("sat-sun 00:00-24:00"))
    assert (str(order.zone), order.normal_overdue, order.stat_in_a_row) == ("Europe/Berlin", timedelta(minutes=10), 2)
    assert load(tmp_path).workers.to_queue_order().off_peak == (hours_from_text("20:00-06:00"),)


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ("{off_peak: [8pm-6am]}", "no time of day"),
        ("{off_peak: [caturday 08:00-09:00]}", "names no day"),
        ("{time_zone: Europe/Atlantis}", "no time zone is named"),
        ("{stat_in_a_row: 0}", "greater than or equal to 1"),
    ],
)
def test_faulty_order_of_jobs_is_refused_with_a_hint(tmp_path: Path, section: str, words: str) -> None:
    assert any(words in f and "node.yaml:10:" in f for f in faults(tmp_path, NODE + f"workers: {section}\n"))


def test_order_of_jobs_can_change_at_run_time(tmp_path: Path) -> None:
    before = load(tmp_path)
    assert restart_only_changes(before, load(tmp_path, NODE + "workers: {off_peak: []}\n")) == ()
    assert restart_only_changes(before, load(tmp_path, NODE + "workers: {count: 2}\n")) == ("workers.count",)


@pytest.mark.parametrize(
    ("destination", "words"),
    [
        ("type: dicom, ae_title: A, host: h", "port missing: type dicom needs ae_title, host, port"),
        ("type: stow", "url missing: type stow needs url"),
        ("type: stow, url: 'https://h', port: 104", "port: not with type stow"),
        ("type: stow, url: 'http://h', token_file: t", "in the clear"),
        ("type: stow, url: 'https://h', username: me", "username and password_file belong together"),
        ("type: stow, url: 'https://h', username: me, password_file: p, token_file: t", "one of them"),
        ("type: sender, host: h", "host: not with type sender"),
        ("type: hl7, host: h, port: 1, profile: research", "profile: not with type hl7"),
        ("type: fhir, url: 'https://h', fhir_version: r3", "r4"),
        ("type: stow, url: 'https://h', ca: none.pem", "none.pem"),
        ("ae_title: A, host: h, port: 1, language: ko", "language: not with type dicom"),
    ],
)
def test_destination_with_options_of_another_type_is_refused_with_its_line(tmp_path: Path, destination: str, words: str) -> None:
    text = NODE.replace("destinations:\n", f"destinations:\n  - {{name: odd, {destination}}}\n")
    found = faults(tmp_path, text)
    line = text.split("name: odd")[0].count("\n") + 1
    assert any(words in fault and f":{line}: " in fault for fault in found), found


def test_destinations_of_every_type_are_read_and_survive_a_snapshot(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    more = """destinations:
  - {name: cloud, type: stow, url: 'https://h/web/', username: me, password_file: secret, profile: research}
  - {name: back, type: sender, commit: off}
  - {name: ris, type: hl7, host: ris, port: 2575, application: RIS, language: ko}
  - {name: emr, type: fhir, url: 'http://127.0.0.1/fhir', token_file: secret, fhir_version: r5}
"""
    configuration = load(tmp_path, NODE.replace("host: 127.0.0.1}\n", "host: 127.0.0.1, port: 104}\n").replace("destinations:\n", more))
    found = load_snapshot(dump_snapshot(configuration)).destinations
    assert [type(d) for d in found.values()] == [StowServer, TheSender, Hl7Receiver, FhirServer, StorageScp, StorageScp]
    cloud = found["cloud"]
    assert isinstance(cloud, StowServer)
    assert cloud.origin == Origin("https://h/web", 30.0, None, "me", tmp_path / "secret")
    assert [name for name in found if configuration.profile_of(name)] == ["cloud", "back", "pacs", "back@pacs"]


def test_each_peer_with_a_port_is_a_destination_of_results_that_return(tmp_path: Path) -> None:
    node = NODE.replace("host: 127.0.0.1}\n", "host: 127.0.0.1, port: 104}\n  - {name: ct, ae_title: CT, host: 10.0.0.0/8}\n", 1)
    loaded = load(tmp_path, node.replace("models_dir", "  - {name: back, type: sender, profile: generic-pacs, commit: wait}\nmodels_dir"))
    assert list(loaded.destinations) == ["pacs", "back", "back@pacs"]
    assert loaded.destinations["back@pacs"] == StorageScp(
        "back@pacs", "ORTHANC", "127.0.0.1", 104, "generic-pacs", 30.0, commit=CommitPolicy.WAIT
    )
    assert load_snapshot(dump_snapshot(loaded)).destinations == loaded.destinations
    profile = loaded.profile_of("back@pacs")
    assert profile is not None
    assert profile == loaded.profile_of("back")


@pytest.mark.parametrize(
    ("destination", "words"),
    [("type: sender", "do not go back to where they came from"), ("type: hl7, host: ris, port: 2575", "it takes no images")],
)
def test_images_are_forwarded_to_what_takes_images(tmp_path: Path, destination: str, words: str) -> None:
    node = NODE.replace("host: 127.0.0.1}\n", "host: 127.0.0.1, port: 104}\n", 1)
    node = node.replace("models_dir", f"  - {{name: other, {destination}}}\nmodels_dir")
    found = faults(tmp_path, node, RULES + "    forward_to: [pacs, other]\n")
    assert len(found) == 1
    assert "forward_to[1]" in found[0]
    assert words in found[0]
    assert "known: pacs" in found[0]


def test_message_destinations_have_known_languages_safe_names_and_systems(tmp_path: Path) -> None:
    hl7 = "{name: ris, type: hl7, host: 127.0.0.1, port: 2575, application: RIS, facility: H, language: ko}"
    fhir = "{name: emr, type: fhir, url: 'http://127.0.0.1/fhir', patient_system: 'urn:oid:1.2.3', accession_system: 'http://h.example/a'}"
    node = NODE.replace("models_dir", f"  - {hl7}\n  - {fhir}\nmodels_dir")
    found = load_snapshot(dump_snapshot(load(tmp_path, node))).destinations
    assert found["ris"] == Hl7Receiver("ris", "127.0.0.1", 2575, "RIS", "H", "ko", 30.0)
    emr = found["emr"]
    assert isinstance(emr, FhirServer)
    assert (emr.patient_system, emr.accession_system) == ("urn:oid:1.2.3", "http://h.example/a")
    [fault] = faults(tmp_path, node.replace("language: ko", "language: kr"))
    assert "node.yaml:9: destinations[1].language: no catalogue of language 'kr' (known: en, ko)" in fault
    for wrong in ("'A|B'", "'A^B'", "'A&B'", "'A~B'", "'A\\B'", '"A\\rB"'):
        [fault] = faults(tmp_path, node.replace("application: RIS", f"application: {wrong}"))
        assert "node.yaml:9: destinations[1].application" in fault
    [fault] = faults(tmp_path, node.replace("urn:oid:1.2.3", "my hospital"))
    assert "node.yaml:10: destinations[2].patient_system" in fault
