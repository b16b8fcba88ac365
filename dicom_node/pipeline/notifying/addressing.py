"""From events to notices: whom the rules have told. All of it in one transaction, so that nothing is told twice and nothing is lost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from importlib import import_module

from sqlmodel import Session, col

from dicom_node.config import Configuration
from dicom_node.domain.jobs import JobState
from dicom_node.domain.notice_facts import FailedDeliveries, JobFacts, NoticeFacts, without_uids
from dicom_node.domain.notices import NoticeEvent
from dicom_node.domain.rules import Rule, RuleEvent
from dicom_node.errors import place_of
from dicom_node.ops.logs import get_logger
from dicom_node.pipeline.settling import is_covered_by_another
from dicom_node.storage import deliveries, notice_events, notices
from dicom_node.storage.notice_facts import bare_facts, job_facts
from dicom_node.storage.notice_tables import NoticeEventRow
from dicom_node.storage.tables import DeliveryRow, JobRow

_FALSE = "the expression is false"
_RESULTS_AT_ONCE, _FAILURES_AT_ONCE = 200, 2000


@dataclass(frozen=True, slots=True)
class Waiting:
    """Since when something waits to be told; None: nothing does."""

    result: datetime | None
    failure: datetime | None

    def due_at(self, group_wait: timedelta) -> datetime | None:
        """Say when it is told: results at once, failures when others had time to join them."""
        moments = (self.result, self.failure + group_wait if self.failure else None)
        return min((m for m in moments if m is not None), default=None)


def waiting(session: Session) -> Waiting:
    """Look whether something is to be told."""
    return Waiting(notice_events.oldest(session, RuleEvent.RESULT), notice_events.oldest(session, RuleEvent.FAILURE))


def address(session: Session, configuration: Configuration, now: datetime) -> int:
    """Owe notices about what happened, so much at once that nobody waits long for the database; returns how many.

    Failures are told together as soon as the first is `group_wait` old, one notice a receiver, however many jobs and deliveries failed.
    """
    rules = {rule.name: rule for rule in configuration.rules}
    owed = 0
    results = notice_events.pending(session, RuleEvent.RESULT, _RESULTS_AT_ONCE)
    for row in results:
        owed += _tell_result(session, rules, row, now)
    notice_events.remove(session, results)
    failures = notice_events.pending(session, RuleEvent.FAILURE, _FAILURES_AT_ONCE)
    if failures and failures[0].at + configuration.node.notifications.group_wait <= now:
        owed += _tell_failures(session, configuration, failures, now)
        notice_events.remove(session, failures)
    return owed


def _tell_result(session: Session, rules: dict[str, Rule], event: NoticeEventRow, now: datetime) -> int:
    job = session.get_one(JobRow, event.job_id)
    rule = rules.get(job.rule)
    if rule is None or job.shadow:  # what is not sent is not told either
        return 0
    facts = _facts(session, job, event.at)
    critical = _critical_receivers(rule, job, facts)
    others = [name for n in rule.notify if n.event is RuleEvent.RESULT for name in n.to if name not in critical]
    told = notices.owe(session, others, NoticeEvent.RESULT, NoticeFacts((facts,)), now)
    return told + notices.owe(session, critical, NoticeEvent.CRITICAL, NoticeFacts((replace(facts, critical=True),)), now)


def _facts(session: Session, job: JobRow, at: datetime, undelivered: tuple[FailedDeliveries, ...] = ()) -> JobFacts:
    """Read what is told of a job. A record that cannot be read must not keep all later events: then the job is told without it."""
    try:
        return job_facts(session, job, at, undelivered)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        get_logger().error("job_record_unreadable", job=job.id, error=type(error).__name__, place=place_of(error))
        return replace(bare_facts(job), deliveries=undelivered)


def _undelivered(session: Session, job_id: int) -> tuple[FailedDeliveries, ...]:
    """List what destinations have not taken; what they were owed in another form is listed there, if that was not taken either."""
    found = deliveries.some(session, DeliveryRow.job_id == job_id, col(DeliveryRow.state).in_(deliveries.GIVEN_UP))
    failed = [d for d in found if not is_covered_by_another(d)]
    counted = Counter((d.destination, str(d.state), without_uids(d.reason)) for d in failed)
    return tuple(FailedDeliveries(name, state, count, reason) for (name, state, reason), count in sorted(counted.items()))


def _critical_receivers(rule: Rule, job: JobRow, facts: JobFacts) -> list[str]:
    wanted = [n for n in rule.notify if n.event is RuleEvent.CRITICAL]
    if not wanted or facts.outcome != "analysed":
        return []
    compile_after = import_module("dicom_node.config.expressions").compile_after  # the engine takes 20 MB, for rules that need it
    found: list[str] = []
    for notify in wanted:
        met, why = compile_after(notify.when).holds(job.findings)
        if met:
            found += notify.to
        elif why != _FALSE:
            get_logger().warning("critical_not_computed", job=job.id, rule=rule.name, reason=why)
    return found


def _tell_failures(session: Session, configuration: Configuration, events: Sequence[NoticeEventRow], now: datetime) -> int:
    by_job: dict[int, list[NoticeEventRow]] = defaultdict(list)
    for event in events:
        by_job[event.job_id].append(event)
    by_receiver: dict[str, list[JobFacts]] = defaultdict(list)
    for job_id, rows in by_job.items():
        job = session.get_one(JobRow, job_id)
        facts = _facts(session, job, rows[0].at, _undelivered(session, job_id))
        if _is_news(job, facts, rows):
            for name in _failure_receivers(configuration, job.rule):
                by_receiver[name].append(facts)
    return sum(
        notices.owe(session, [name], NoticeEvent.FAILURE, NoticeFacts.of_jobs(tuple(jobs)), now) for name, jobs in by_receiver.items()
    )


def _is_news(job: JobRow, facts: JobFacts, events: Sequence[NoticeEventRow]) -> bool:
    """Say whether there is something to tell: a job that failed by deliveries is told with them, one that runs again not at all."""
    if any(event.delivery_id is not None for event in events):
        return True
    return job.state == JobState.FAILED and not facts.deliveries


def _failure_receivers(configuration: Configuration, rule_name: str) -> tuple[str, ...]:
    rule = next((r for r in configuration.rules if r.name == rule_name), None)
    own = [name for n in rule.notify if n.event is RuleEvent.FAILURE for name in n.to] if rule else []
    return tuple(dict.fromkeys(own or configuration.node.notifications.failures_to))
