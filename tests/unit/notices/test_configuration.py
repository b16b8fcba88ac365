"""Sections of node.yaml and rules.yaml about notices; every fault has its line."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from dicom_node.app import load_checked
from dicom_node.config import Configuration, ConfigurationFaults, dump_snapshot, load_snapshot
from dicom_node.config.rules_diff import compare_rules
from dicom_node.domain.notices import Mailbox, SmtpSecurity
from dicom_node.domain.rules import Notify, RuleEvent
from tests.unit.test_config import NODE, RULES, load
from tests.unit.test_config import faults as faults_of

NOTICES = (
    NODE
    + """\
notifications:
  smtp: {host: mail.hospital.example, sender: node@hospital.example, username: node, password_file: password}
  web_url_base: https://ai.hospital.example/
  time_zone: Europe/Berlin
  receivers:
    - {name: ops, email: [ops@hospital.example, night@hospital.example]}
    - {name: ris, webhook: {url: https://ris.hospital.example/hook, secret_file: secret}}
    - {name: ward, email: [ward@hospital.example], language: ko, include_identifiers: true}
  failures_to: [ops]
  silence:
    - {peer: pacs, after: 2h, hours: [mon-fri 07:00-19:00], to: [ops]}
  digest: {cron: 0 7 * * 1-5, to: [ops]}
  overdue: {to: [ops]}
"""
)
TOLD = RULES + (
    "    notify:\n"
    "      - {event: result, to: [ris]}\n"
    "      - {event: critical, to: [ward], when: 'result.measurements[\"laa_950\"].value > 25.0'}\n"
    "      - {event: failure, to: [ops, ris]}\n"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "password").write_text("p")
    (tmp_path / "secret").write_text(f"whsec_{base64.b64encode(b'x' * 24).decode()}")
    return tmp_path


def loaded(folder: Path) -> Configuration:
    return load(folder, NOTICES, TOLD)


def test_receivers_and_rules_are_read(folder: Path) -> None:
    configuration = loaded(folder)
    assert configuration.smtp is not None
    assert (configuration.smtp.port, configuration.smtp.security) == (587, SmtpSecurity.STARTTLS)
    assert configuration.smtp.password_file == folder / "password"
    assert configuration.receivers["ops"].way == Mailbox(("ops@hospital.example", "night@hospital.example"))
    assert configuration.rules[0].notify == (
        Notify(RuleEvent.RESULT, ("ris",)),
        Notify(RuleEvent.CRITICAL, ("ward",), 'result.measurements["laa_950"].value > 25.0'),
        Notify(RuleEvent.FAILURE, ("ops", "ris")),
    )
    [watch] = configuration.silence_watches
    assert (watch.name, watch.ae_title) == ("pacs", "ORTHANC")
    assert load_snapshot(dump_snapshot(configuration)) == configuration


def test_difference_of_rules_names_who_is_told(folder: Path) -> None:
    before, after = load(folder, NOTICES, RULES), loaded(folder)
    lines = list(compare_rules(before.rules_file, after.rules_file).lines())
    critical = '{event: critical, to: [ward], when: result.measurements["laa_950"].value > 25.0}'
    assert lines == [
        "rule chest is changed",
        f"  notify: not set -> [{{event: result, to: [ris]}}, {critical}, {{event: failure, to: [ops, ris]}}]",
    ]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("failures_to: [ops]", "failures_to: [opps]", 18, "did you mean 'ops'"),
        ("digest: {cron: 0 7 * * 1-5, to: [ops]}", "digest: {cron: 0 7 * * 1-5, to: [x]}", 21, "no receiver is named 'x'"),
        ("digest: {cron: 0 7 * * 1-5,", "digest: {cron: 0 7 * * 9,", 21, "9"),
        ("digest: {cron: 0 7 * * 1-5,", "digest: {at: '7:00',", 21, "07:00"),
        ("digest: {cron: 0 7 * * 1-5,", "digest: {at: '07:00', cron: 0 7 * * 1,", 21, "either at or cron"),
        ("overdue: {to: [ops]}", "overdue: {to: [osp]}", 22, "did you mean 'ops'"),
        ("{peer: pacs,", "{peer: pasc,", 20, "did you mean 'pacs'"),
        ("after: 2h", "after: 30s", 20, "at least 1m"),
        ("ops@hospital.example,", "ops,", 15, "no e-mail address"),
        ("ops@hospital.example,", '"ops@hospital.example\\r\\nBcc: x@y.example",', 15, "no e-mail address"),
        ("sender: node@hospital.example", "sender: 'Node <node@hospital.example>'", 11, "no e-mail address"),
        ("language: ko", "language: kr", 17, "no catalogue of language 'kr'"),
        ("secret_file: secret", "secret_file: nothing", 16, "openssl rand"),
        ("password_file: password", "password_file: nothing", 11, "no file"),
        (", password_file: password", "", 11, "belong together"),
        ("{host: mail", "{security: none, host: mail", 11, "password would go over the network in the clear"),
        ("{name: ris,", "{name: ops,", 16, "used twice"),
        ("{name: ris, webhook", "{name: ris, email: [a@b.example], webhook", 16, "either email"),
        ("  time_zone: Europe/Berlin", "  time_zone: Europe/Berln", 13, "no time zone"),
        ("  time_zone: Europe/Berlin", "  templates: nowhere", 13, "no folder"),
    ],
)
def test_faults_of_node_yaml_have_their_line(folder: Path, old: str, new: str, line: int, words: str) -> None:
    found = faults_of(folder, NOTICES.replace(old, new, 1), TOLD)
    assert any(f"node.yaml:{line}:" in f and words in f for f in found), found


def test_patient_data_only_over_tls(folder: Path) -> None:
    plain = NOTICES.replace("{host: mail.hospital.example,", "{security: none, host: mail.hospital.example,")
    [found] = faults_of(folder, plain.replace(", username: node, password_file: password", ""), TOLD)
    assert "node.yaml:17:" in found
    assert "patient data would go over the network in the clear" in found
    hook = NOTICES.replace("{name: ris, webhook: {url: https:", "{name: ris, include_identifiers: true, webhook: {url: http:")
    [found] = faults_of(folder, hook, TOLD)
    assert "node.yaml:16:" in found
    assert "use a https URL" in found


def test_receivers_of_mail_need_a_mail_server(folder: Path) -> None:
    without = "\n".join(line for line in NOTICES.splitlines() if "smtp:" not in line)
    assert len([f for f in faults_of(folder, without, TOLD) if "there is no mail server" in f]) == 2


def test_rule_that_only_forwards_tells_of_failures_alone(folder: Path) -> None:
    rules = TOLD.replace("    model: chest-ct-densitometry\n    send_to: [pacs]\n", "    forward_to: [pacs]\n")
    [found] = faults_of(folder, NOTICES, rules)
    assert "rules.yaml:5:" in found
    assert "only forwards images" in found
    failures = "\n".join(line for line in rules.splitlines() if "result" not in line) + "\n"
    assert [n.event for n in load(folder, NOTICES, failures).rules[0].notify] == [RuleEvent.FAILURE]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("to: [ris]", "to: [rsi]", "did you mean 'ris'"),
        ("to: [ris]", "to: []", "at least 1 item"),
        ("event: result", "event: results", "'result', 'critical' or 'failure'"),
        (", when: 'result.measurements[\"laa_950\"].value > 25.0'", "", "critical needs when"),
        ("25.0'", "'", "rules.yaml:8"),
        ("{event: failure,", "{event: failure, when: 'true',", "when belongs to critical"),
        ("    model: chest-ct-densitometry\n    send_to: [pacs]\n", "    hold: true\n", "a hold rule runs no job"),
    ],
)
def test_faults_of_rules_yaml(folder: Path, old: str, new: str, words: str) -> None:
    found = faults_of(folder, NOTICES, TOLD.replace(old, new, 1))
    assert any(words in f for f in found), found


def test_templates_are_tried_before_the_configuration_is_taken(folder: Path) -> None:
    (folder / "mails").mkdir()
    (folder / "mails" / "result.txt.j2").write_text("\n{{ no_such_name }}")
    load(folder, NOTICES.replace("  time_zone", "  templates: mails\n  time_zone"), TOLD)
    with pytest.raises(ConfigurationFaults) as caught:
        load_checked(folder / "node.yaml")
    [fault] = caught.value.faults
    assert (Path(fault.file), fault.line) == (folder / "mails" / "result.txt.j2", 2)
    assert "no_such_name" in fault.message
