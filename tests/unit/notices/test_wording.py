"""E-mails in words: both languages, without patient data unless asked for, and a site's own templates."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
import yaml

from dicom_node.delivery.notices.message import Message, Surroundings
from dicom_node.delivery.notices.samples import all_samples, sample
from dicom_node.delivery.notices.trial import faults_of
from dicom_node.delivery.notices.wording import PARTS, TemplateFaultError, Templates, languages, span_text
from dicom_node.domain.notice_facts import NoticeFacts, without_uids
from dicom_node.domain.notices import NoticeEvent
from tests.conftest import ROOT

HERE = Surroundings("AINODE", "https://ai.example.org")
FOLDER = ROOT / "dicom_node" / "delivery" / "notices"
PATIENT = ("Sample^Patient", "SAMPLE-1", "19700101", "SAMPLE-ACC", "1.2.826.0.1.3680043.8.498.1", "emphysema", "laa_950")


def test_catalogues_have_the_same_keys_and_names() -> None:
    def names(language: str) -> dict[str, set[str]]:
        entries = yaml.safe_load((FOLDER / "languages" / f"{language}.yaml").read_text("utf-8"))
        return {key: set(re.findall(r"{(\w+)}", text)) for key, text in entries.items()}

    assert languages() == ("en", "ko")
    assert names("ko") == names("en")


@pytest.mark.parametrize("language", languages())
def test_every_notice_can_be_written(language: str) -> None:
    subjects = []
    for message in all_samples(HERE, (language,)):
        mail = Templates().write(message)
        subjects.append(mail.subject)
        assert mail.subject.startswith("[AINODE] ")
        assert "\n" not in mail.subject
        assert mail.text.strip()
        assert mail.html.startswith("<!DOCTYPE html>")
        assert message.uuid in mail.text
        assert message.uuid in mail.html
    assert len(set(subjects)) == 13


def test_patient_data_only_for_those_who_may_know_and_never_in_a_subject() -> None:
    for event in NoticeEvent:
        open_mail = Templates().write(sample(event, "en", HERE))
        assert not any(word in f"{open_mail}" for word in PATIENT)
        told = Templates().write(sample(event, "en", HERE, identified=True))
        assert not any(word in told.subject for word in PATIENT)
        if event in (NoticeEvent.RESULT, NoticeEvent.CRITICAL, NoticeEvent.FAILURE):
            assert all(word in told.text and word in told.html for word in PATIENT)
            assert "holds patient data" in told.text


def test_subject_template_cannot_see_patient_data(tmp_path: Path) -> None:
    (tmp_path / "result.subject.j2").write_text("{{ jobs[0].patient.patient_name }}")
    with pytest.raises(TemplateFaultError, match="patient_name"):
        Templates(tmp_path).write(sample(NoticeEvent.RESULT, "en", HERE, identified=True))


def test_html_is_escaped_and_text_is_not() -> None:
    facts = NoticeFacts((replace(sample(NoticeEvent.FAILURE, "en", HERE).facts.jobs[0], rule="<b>&r"),))
    mail = Templates().write(replace(sample(NoticeEvent.FAILURE, "en", HERE), facts=facts))
    assert "<b>&r" in mail.text
    assert "<b>" not in mail.html
    assert "&lt;b&gt;&amp;r" in mail.html


def test_own_templates_go_first_and_those_of_a_language_before_all(tmp_path: Path) -> None:
    (tmp_path / "result.subject.j2").write_text("Job {{ jobs[0].job }}\n done")
    (tmp_path / "result.ko.txt.j2").write_text("작업 {{ jobs[0].job }}")
    english, korean = (Templates(tmp_path).write(sample(NoticeEvent.RESULT, language, HERE)) for language in ("en", "ko"))
    assert english.subject == korean.subject == "Job 4711 done"
    assert korean.text == "작업 4711"
    assert english.text == Templates().write(sample(NoticeEvent.RESULT, "en", HERE)).text
    assert faults_of(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "text", "line", "words"),
    [
        ("result.txt.j2", "a\n{{ jobs[0].patient_name }}", 2, "patient_name"),
        ("result.txt.j2", "a\nb\n{% if %}", 3, "Expected an expression"),
        ("digest.html.j2", "{{ jobs[0].job }}", 1, "no element 0"),
        ("result.txt.j2", "{{ ''.__class__.__mro__ }}", 1, "unsafe"),
        ("result.txt.j2", "{{ words.__globals__ }}", 1, "unsafe"),
        ("result.txt.j2", "{% include '../secret' %}", 1, "secret"),
        ("result.txt.j2", "{{ words('no_such_key') }}", 1, "KeyError"),
        ("reslut.txt.j2", "x", 1, "no notice uses it"),
        ("result.de.txt.j2", "x", 1, "no notice uses it"),
    ],
)
def test_fault_of_a_template_is_found_before_it_is_needed(tmp_path: Path, name: str, text: str, line: int, words: str) -> None:
    (tmp_path / name).write_text(text)
    (tmp_path.parent / "secret").write_text("secret")
    [(file, found_line, message, _), *more] = faults_of(tmp_path)
    assert (Path(file), found_line) == (tmp_path / name, line)
    assert words in message
    assert not more


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.5, "0.5 s"), (59, "59 s"), (60, "1 min"), (125, "2 min"), (7500, "2 h 5 min"), (90000, "1 d 1 h"), (3600, "1 h")],
)
def test_spans_in_words(seconds: float, text: str) -> None:
    assert span_text(seconds) == text


def test_uids_are_taken_out_of_sentences_and_nothing_else_is() -> None:
    uid = "1.2.826.0.1.3680043.8.498.12345"
    assert without_uids(f"data/studies/{uid}/x: study {uid}, at 127.0.0.1:104, model 1.2.0") == (
        "data/studies/[UID]/x: study [UID], at 127.0.0.1:104, model 1.2.0"
    )


def test_templates_of_every_event_are_there() -> None:
    names = {path.name for path in (FOLDER / "templates").iterdir()}
    assert {f"{event}.{part}.j2" for event in NoticeEvent for part in PARTS} < names


def test_message_is_written_in_the_time_zone_of_the_node() -> None:
    message: Message = replace(sample(NoticeEvent.TEST, "en", HERE), surroundings=replace(HERE, zone=ZoneInfo("Asia/Seoul")))
    assert "2026-03-02 15:00 KST" in Templates().write(message).text
