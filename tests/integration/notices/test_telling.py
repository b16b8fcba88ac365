"""From what happens to a job to what people and programs get of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dicom_node.domain.jobs import FORWARD, DeliveryState, JobState
from dicom_node.domain.notices import NoticeState
from dicom_node.domain.routing import JobInput, RouteDecision
from dicom_node.errors import StorageError
from dicom_node.jobs import queue
from dicom_node.pipeline.forwarding import forward_key
from dicom_node.pipeline.notifying import addressing
from dicom_node.storage import Database, deliveries, delivery_operations, forwarded, notices
from dicom_node.storage.forwarded import ReceivedImage, SentBy
from dicom_node.storage.notice_tables import NoticeRow
from tests.integration.notices.house import FINDINGS, PRIVATE, SECRET, STUDY, NoticeHouse
from tests.unit.notices.test_webhook import is_signed_by

MINE = {**FINDINGS, "measurements": {"laa_950": {"value": 3.0, "unit": "%"}}}
OWED, SENT, DEAD = NoticeState.OWED, NoticeState.SENT, NoticeState.DEAD


def test_result_is_told_to_whom_the_rule_names(house: NoticeHouse) -> None:
    house.finish(house.job(), MINE, objects=2)
    house.turn()
    assert house.told() == [("ris", "result"), ("ward", "result")]
    assert house.states() == [SENT, SENT]
    [body] = house.posted()
    [job] = body["data"]["jobs"]
    assert body["type"] == "job.result"
    assert (job["rule"], job["outcome"], job["study"], job["images"], job["objects"]) == ("chest", "analysed", "study-1", 1, {"SC": 2})
    assert (job["findings"], job["measurements"], job["run_s"]) == (1, 1, 4.0)
    assert job["link"] == f"https://ai.hospital.example/jobs/{job['job']}"
    assert is_signed_by(house.web.posted[0], SECRET)
    assert house.web.posted[0].headers["webhook-id"] == house.notices()[0].uuid == body["data"]["id"]


def test_critical_finding_is_told_instead_of_the_result(house: NoticeHouse) -> None:
    house.finish(house.job())
    house.turn()
    assert house.told() == [("ris", "result"), ("ward", "critical")]
    [mail] = house.mail.taken
    assert "긴급 소견" in mail.message["Subject"]


def test_only_receivers_that_may_know_get_patient_data(house: NoticeHouse, capfd: pytest.CaptureFixture[str]) -> None:
    house.finish(house.job(), objects=1)
    failing = house.job("head")
    house.fail(failing, f"volume-irregular: study {STUDY} is odd")
    other = house.job(study=STUDY + ".2")
    house.fail(other, f"volume-irregular: study {STUDY}.2 is odd")
    house.turn()
    [to_ops], [to_ward] = house.mails_to("ops"), house.mails_to("ward")
    assert to_ops.recipients == ["ops@hospital.example", "night@hospital.example"]
    everything_else = [
        to_ops.content.decode(),
        to_ops.part("plain"),
        to_ops.part("html"),
        str(to_ward.message["Subject"]),
        *(p.body.decode() for p in house.web.posted),
        *(f"{p.headers}{p.path}" for p in house.web.posted),
        json.dumps([dict(n.facts) for n in house.notices()]),
        "".join(capfd.readouterr()),
    ]
    assert len(house.web.posted) == 2
    for text in everything_else:
        assert not [word for word in PRIVATE if word in text]
    assert "[UID]" in to_ops.part("plain")
    assert all(word in to_ward.part("plain") for word in PRIVATE)


def test_reason_of_what_was_not_analysed_stays_with_those_who_may_know(house: NoticeHouse) -> None:
    """It quotes the header: the wanted and the seen value."""
    house.finish(house.job(), {}, not_analysed="PatientAge is 012Y, wanted is >= 18Y")
    house.turn()
    [body] = house.posted()
    assert body["data"]["jobs"][0]["outcome"] == "not-analysed"
    assert "012Y" not in house.web.posted[0].body.decode()
    assert "012Y" in house.mail.taken[0].part("plain")
    assert house.told() == [("ris", "result"), ("ward", "result")]  # nothing that was not analysed is critical


def test_shadow_run_tells_of_failures_only(house: NoticeHouse) -> None:
    house.finish(house.job(shadow=True))
    house.turn()
    assert house.told() == []
    house.fail(house.job(shadow=True, revision=2))
    house.turn()
    assert house.told() == [("ops", "failure")]


def test_failure_goes_where_the_rule_says_or_else_to_the_defaults(house: NoticeHouse) -> None:
    house.fail(house.job("head"))
    house.turn()
    house.fail(house.job("a-rule-that-is-gone", study="1.3"))
    house.turn()
    assert house.told() == [("ris", "failure"), ("ops", "failure")]
    assert "model-error: it broke" in house.mail.taken[0].part("plain")


def test_fifty_deliveries_that_fail_are_one_notice(house: NoticeHouse) -> None:
    job = house.job()
    house.finish(job, MINE, objects=50)
    house.refuse(job, 50)
    house.turn()
    assert house.told() == [("ris", "result"), ("ward", "result"), ("ops", "failure")]
    assert "50 object(s) to pacs: status A900" in house.mails_to("ops")[0].part("plain")
    house.turn()
    assert len(house.notices()) == 3


def test_images_that_cannot_be_forwarded_are_told(house: NoticeHouse) -> None:
    now = datetime.now(UTC)
    with house.database.transaction() as session:
        decision = RouteDecision("chest", FORWARD, (JobInput(FORWARD, STUDY, STUDY + ".1", (STUDY + ".1.1",)),), ("pacs",))
        job = queue.create_delivering(
            session, queue.NewJob(forward_key(STUDY, 1, "chest"), decision, "", 3), "forwards", now, delivering=True
        )
        image = ReceivedImage(STUDY + ".1.1", "1.2", STUDY + ".1", "path", SentBy("CT", "127.0.0.1"))
        forwarded.record_images(session, job, [image], {"pacs": frozenset({STUDY + ".1.1"})}, now)
    house.refuse(job, 1)
    house.turn()
    assert house.told() == [("ops", "failure")]
    text = house.mail.taken[0].part("plain")
    assert "Outcome: images forwarded" in text
    assert "1 object(s) to pacs: status A900" in text


def test_failures_of_many_jobs_are_told_together(house: NoticeHouse) -> None:
    for revision in range(1, 61):
        house.fail(house.job(revision=revision))
    house.turn()
    [mail] = house.mail.taken
    assert mail.message["Subject"] == "[AINODE] 60 jobs with failures"
    assert "and 10 further jobs" in mail.part("plain")


@pytest.fixture
def patient_house(tmp_path: Path, database: Database) -> Iterator[NoticeHouse]:
    built = NoticeHouse(tmp_path, database, group_wait="30s")
    yield built
    built.close()


def test_failures_are_gathered_for_a_while(patient_house: NoticeHouse) -> None:
    patient_house.fail(patient_house.job())
    patient_house.turn()
    assert patient_house.told() == []
    patient_house.fail(patient_house.job(revision=2))
    patient_house.turn(timedelta(seconds=31))
    [mail] = patient_house.mail.taken
    assert mail.message["Subject"] == "[AINODE] 2 jobs with failures"


@pytest.mark.parametrize("covered", [False, True])
def test_refused_object_that_another_one_replaces_is_no_failure(house: NoticeHouse, covered: bool) -> None:
    job = house.job()
    house.finish(job, MINE, objects=2 if covered else 1)
    now = datetime.now(UTC)
    with house.database.transaction() as session:
        owed = deliveries.of_job(session, job.id)[-1]
        deliveries.record_attempt(session, owed.id, deliveries.Attempt(DeliveryState.OWED, 0x0122, "SOP class", now), now)
    with house.database.transaction() as session:
        if covered:
            assert delivery_operations.not_taken(session, owed, "SOP class", "Basic Text SR", now)
        else:
            assert delivery_operations.put_in_place(session, owed, [owed.result], "SC", now)
    house.turn()
    assert "failure" not in [event for _, event in house.told()]
    house.refuse(job, 1)
    house.turn()
    assert house.told()[-1] == ("ops", "failure")


def test_object_that_goes_in_another_form_is_not_listed_with_what_failed(house: NoticeHouse) -> None:
    job = house.job()
    house.finish(job, MINE, objects=2)
    with house.database.transaction() as session:
        covered, _ = deliveries.of_job(session, job.id)
        delivery_operations.not_taken(session, covered, "status 0122; SR goes as an object of its own", "SR", datetime.now(UTC))
    house.turn()
    assert "failure" not in [event for _, event in house.told()]
    house.refuse(job, 1)
    house.turn()
    [mail] = house.mails_to("ops")
    assert "1 object(s) to pacs: status A900" in mail.part("plain")
    assert "0122" not in mail.part("plain")


def test_failure_that_a_person_retried_before_it_was_told_is_not_told(house: NoticeHouse) -> None:
    job, other = house.job(), house.job("chest", revision=2)
    house.finish(job, MINE, objects=2)
    house.refuse(job, 2)
    house.fail(other)
    now = datetime.now(UTC)
    with house.database.transaction() as session:
        delivery_operations.reopen(session, job.id, now)
        queue.settle(session, job.id, JobState.DELIVERING, "retried", now)
        queue.settle(session, other.id, JobState.QUEUED, "retried", now)
    house.turn()
    assert "failure" not in [event for _, event in house.told()]


def test_rest_of_a_job_that_was_told_is_told_when_it_fails_too(house: NoticeHouse) -> None:
    job = house.job()
    house.finish(job, MINE, objects=3)
    house.refuse(job, 1)
    house.turn()
    assert house.told().count(("ops", "failure")) == 1
    house.refuse(job, 2, DeliveryState.DEAD)
    house.turn()
    assert house.told().count(("ops", "failure")) == 2
    assert "2 object(s) to pacs" in house.mails_to("ops")[-1].part("plain")


def test_record_that_cannot_be_read_keeps_nobody_from_being_told(house: NoticeHouse, capfd: pytest.CaptureFixture[str]) -> None:
    house.finish(house.job(), {"findings": ["odd"], "measurements": {"laa_950": {"value": 99.0, "unit": "%"}}})
    house.finish(house.job(revision=2), MINE)
    house.turn()
    assert house.told() == [("ris", "result"), ("ward", "result")] * 2
    assert "critical_not_computed" in capfd.readouterr().out


def test_many_results_are_told_in_turns(house: NoticeHouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that nobody waits long for the database."""
    monkeypatch.setattr(addressing, "_RESULTS_AT_ONCE", 5)
    for revision in range(1, 9):
        house.finish(house.job(revision=revision), MINE)
    assert house.notifier.turn(datetime.now(UTC)) < 0.1
    assert len(house.notices()) == 10
    house.turn()
    assert len(house.notices()) == 16
    while NoticeState.OWED in house.states():
        house.turn()
    assert len({p.headers["webhook-id"] for p in house.web.posted}) == len(house.web.posted) == 8


def test_events_roll_back_with_what_they_are_about(house: NoticeHouse) -> None:
    job = house.job()
    with pytest.raises(RuntimeError), house.database.transaction() as session:  # noqa: PT012 - the transaction has to fail as a whole
        queue.finish(session, job, queue.Finished(delivering=False, timings={}, findings=FINDINGS), datetime.now(UTC))
        raise RuntimeError
    house.turn()
    assert house.told() == []


def test_mail_server_that_is_away_gets_everything_once_it_is_back(house: NoticeHouse) -> None:
    house.mail.handler.to_data = ["451 4.3.0 later", "250 OK"]
    house.finish(house.job(), MINE)
    house.turn()
    [_, to_ward] = house.notices()
    assert (to_ward.state, to_ward.attempt) == (OWED, 1)
    assert "451" in to_ward.reason
    assert timedelta(seconds=6) < to_ward.next_attempt_at - datetime.now(UTC) < timedelta(seconds=11)
    house.turn(timedelta(seconds=5))
    assert house.notices()[1].attempt == 1
    house.turn(timedelta(seconds=11))
    assert house.states() == [SENT, SENT]
    [mail] = house.mail.taken
    assert mail.message["Message-ID"] == f"<{to_ward.uuid}@hospital.example>"


def test_mail_server_that_takes_a_message_and_says_nothing_gets_it_again(house: NoticeHouse) -> None:
    """Under the same identity, since nobody knows whether it was taken."""
    house.reconfigure("timeout: 2s}\n  web", "timeout: 300ms}\n  web")
    over = threading.Event()
    house.mail.handler.before_answer = lambda: over.wait(5)
    house.fail(house.job())
    house.turn()
    over.set()
    [notice] = house.notices()
    assert notice.state is OWED
    assert "did not answer within 0.3 s" in notice.reason or "no answer within 0.3 s" in notice.reason
    house.turn(timedelta(minutes=1))
    assert house.states() == [SENT]
    assert [m.message["Message-ID"] for m in house.mail.taken] == [f"<{notice.uuid}@hospital.example>"] * 2


def test_only_those_who_have_not_taken_it_are_told_again(house: NoticeHouse) -> None:
    house.mail.handler.by_recipient = {"night@hospital.example": "450 4.2.0 greylisted"}
    house.fail(house.job())
    house.turn()
    [notice] = house.notices()
    assert (notice.state, notice.taken) == (OWED, ("ops@hospital.example",))
    house.mail.handler.by_recipient = {}
    house.turn(timedelta(minutes=1))
    assert [m.recipients for m in house.mail.taken] == [["ops@hospital.example"], ["night@hospital.example"]]
    assert len({m.message["Message-ID"] for m in house.mail.taken}) == 1
    assert house.states() == [SENT]


def test_refused_recipient_is_on_record(house: NoticeHouse) -> None:
    house.mail.handler.by_recipient = {"night@hospital.example": "550 5.1.1 nobody of that name"}
    house.fail(house.job())
    house.turn()
    [notice] = house.notices()
    assert notice.state is SENT
    assert notice.refused == {"night@hospital.example": "550 5.1.1 nobody of that name"}


def test_webhook_that_answers_gone_is_given_up_and_can_be_retried(house: NoticeHouse) -> None:
    house.web.answers = [(410, {}), (204, {})]
    house.fail(house.job("head"))
    house.turn()
    [notice] = house.notices()
    assert (notice.state, notice.reason) == (DEAD, "answered 410: the receiver wants no more of this")
    with house.database.transaction() as session:
        notices.retry(session, notice.id, datetime.now(UTC))
    house.turn()
    assert house.states() == [SENT]
    assert len({p.headers["webhook-id"] for p in house.web.posted}) == 1
    with pytest.raises(StorageError, match="sent already"), house.database.transaction() as session:
        notices.retry(session, notice.id, datetime.now(UTC))


def test_webhook_that_asks_for_time_gets_it(house: NoticeHouse) -> None:
    house.web.answers = [(503, {"Retry-After": "600"})]
    house.fail(house.job("head"))
    house.turn()
    [notice] = house.notices()
    assert timedelta(seconds=590) < notice.next_attempt_at - datetime.now(UTC) < timedelta(seconds=601)


def test_notice_that_nobody_takes_is_given_up_after_days(house: NoticeHouse) -> None:
    house.web.answers = [(500, {})]
    house.fail(house.job("head"))
    house.turn()
    house.reconfigure("retry_first: 10s", "retry_first: 10s\n  max_age: 0s")
    house.turn(timedelta(hours=1))
    [notice] = house.notices()
    assert notice.state is DEAD
    assert notice.reason.startswith("given up after")


def test_receiver_that_is_gone_keeps_its_notices_until_it_is_back(house: NoticeHouse) -> None:
    house.web.answers = [(500, {}), (204, {})]
    house.fail(house.job("head"))
    house.turn()
    with house.database.transaction() as session:
        session.get_one(NoticeRow, 1).receiver = "rsi"
    house.turn(timedelta(minutes=1))
    [notice] = house.notices()
    assert (notice.state, notice.reason) == (OWED, "no receiver is named rsi (restore it in node.yaml)")


def test_own_template_that_breaks_gives_way_to_the_nodes(house: NoticeHouse, tmp_path: Path) -> None:
    folder = tmp_path / "mails"
    folder.mkdir()
    (folder / "failure.subject.j2").write_text("own")
    (folder / "failure.txt.j2").write_text("own")
    house.reconfigure("  group_wait", "  templates: mails\n  group_wait")
    house.fail(house.job())
    house.turn()
    (folder / "failure.subject.j2").write_text("{{ broken }}")
    house.fail(house.job(revision=2))
    house.turn()
    assert [m.message["Subject"] for m in house.mail.taken] == ["own", "[AINODE] Job 2 of chest failed"]
    assert "model-error" in house.mail.taken[1].part("plain")


def test_old_notices_are_forgotten_and_owed_ones_are_not(house: NoticeHouse) -> None:
    house.web.answers = [(500, {})]
    house.fail(house.job("head"))
    house.fail(house.job())
    house.turn()
    assert sorted(house.states()) == [OWED, SENT]
    with house.database.transaction() as session:
        assert notices.forget(session, datetime.now(UTC) - timedelta(days=1)) == 0
        assert notices.forget(session, datetime.now(UTC) + timedelta(seconds=1)) == 1
    assert house.states() == [OWED]
