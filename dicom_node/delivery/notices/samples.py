"""Made-up notices: for `notices test` and `notices preview`, and to try a site's templates before they are needed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

from dicom_node.delivery.notices.message import Message, Surroundings
from dicom_node.domain.notice_facts import (
    DigestFacts,
    FailedDeliveries,
    Identifiers,
    JobFacts,
    Measured,
    NoticeFacts,
    OverdueFacts,
    RuleCounts,
    SilenceFacts,
)
from dicom_node.domain.notices import NoticeEvent

_UUID = "00000000-0000-4000-8000-000000000000"
_AT = datetime(2026, 3, 2, 6, 0, tzinfo=UTC)
_JOB = JobFacts(
    job=4711,
    rule="chest-ct-densitometry",
    model="chest-ct-densitometry",
    model_version="1.0.0",
    study="study-1234",
    revision=1,
    state="DELIVERING",
    outcome="analysed",
    reason="results written",
    attempt=1,
    images=133,
    objects={"SC": 1, "SEG": 1, "SR": 1},
    findings=1,
    measurements=5,
    run_s=12.3,
    total_s=48.0,
)
_REFUSED = FailedDeliveries("pacs", "REFUSED", 2, "status A900 (data set does not match SOP class)")
_FAILED = replace(_JOB, state="FAILED", outcome="failed", reason="model-stopped: the model took longer than 600 s", objects={}, attempt=2)
_PATIENT = Identifiers(
    "1.2.826.0.1.3680043.8.498.1", "Sample^Patient", "SAMPLE-1", "19700101", "SAMPLE-ACC", "20260302", "CT chest",
    ("emphysema",), (Measured("laa_950", 12.5, "%"),),
)  # fmt: skip
_DIGEST = DigestFacts(
    since="2026-03-01T06:00:00+00:00",
    until="2026-03-02T06:00:00+00:00",
    instances=41873,
    revisions=112,
    rules=(
        RuleCounts("brain-extraction", "brain-extraction", 31, 0, 0, 21.4, 40.2),
        RuleCounts("chest-ct-densitometry", "chest-ct-densitometry", 58, 2, 1, 12.3, 61.0),
    ),
    deliveries_sent=267,
    deliveries_failed=2,
    notices_sent={"critical": 3, "failure": 1},
    notices_dead=0,
    waiting={"QUEUED": 4, "RUNNING": 1},
)
_SILENT = SilenceFacts("pacs", over=False, last_received="2026-03-02T03:55:00+00:00", silent_s=7500.0, limit_s=7200.0)
_OVERDUE = OverdueFacts("pacs", False, 14, 5, "2026-03-02T04:40:00+00:00", 3600.0, "pacs: nobody listens there")  # noqa: FBT003
_FACTS = {
    NoticeEvent.RESULT: NoticeFacts((_JOB,)),
    NoticeEvent.CRITICAL: NoticeFacts((replace(_JOB, critical=True),)),
    NoticeEvent.FAILURE: NoticeFacts((replace(_JOB, state="FAILED", deliveries=(_REFUSED,)),)),
    NoticeEvent.SILENCE: NoticeFacts(silence=_SILENT),
    NoticeEvent.OVERDUE: NoticeFacts(overdue=_OVERDUE),
    NoticeEvent.DIGEST: NoticeFacts(digest=_DIGEST),
    NoticeEvent.TEST: NoticeFacts(),
}


def sample(event: NoticeEvent, language: str, surroundings: Surroundings, *, identified: bool = False) -> Message:
    """Make up a notice.

    Args:
        event: What it is about.
        language: One of `wording.languages()`.
        surroundings: Of the node.
        identified: With a made-up patient.
    """
    facts = _FACTS[event]
    return Message(_UUID, event, _AT, facts, language, surroundings, {j.job: _PATIENT for j in facts.jobs} if identified else {})


def all_samples(surroundings: Surroundings, languages: tuple[str, ...]) -> Iterator[Message]:
    """Make up notices of every kind, so that a template is tried in all its cases."""
    further = (
        (NoticeEvent.RESULT, NoticeFacts((replace(_JOB, outcome="not-analysed", findings=0, measurements=0),))),
        (NoticeEvent.FAILURE, NoticeFacts((_FAILED,))),
        (NoticeEvent.FAILURE, NoticeFacts((replace(_JOB, state="FAILED", outcome="forwarded", deliveries=(_REFUSED,)),))),
        (NoticeEvent.FAILURE, NoticeFacts((_FAILED, replace(_JOB, deliveries=(_REFUSED,))), more_jobs=3)),
        (NoticeEvent.SILENCE, NoticeFacts(silence=SilenceFacts("any", over=True, last_received=None, silent_s=90.0, limit_s=60.0))),
        (NoticeEvent.OVERDUE, NoticeFacts(overdue=replace(_OVERDUE, over=True, objects=0, jobs=0, owed_since=None, reason=""))),
        (NoticeEvent.DIGEST, NoticeFacts(digest=replace(_DIGEST, rules=(RuleCounts("r", "m", 0, 1, 0, None, None),), waiting={}))),
    )
    for language in languages:
        for event in NoticeEvent:
            yield sample(event, language, surroundings)
            yield sample(event, language, surroundings, identified=True)
        for event, facts in further:
            yield Message(_UUID, event, _AT, facts, language, surroundings)
