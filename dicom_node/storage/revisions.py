"""Which rule has decided on which revision, what waits, and what operators asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime

from sqlmodel import Session, col, func, select

from dicom_node.domain.instances import Attributes
from dicom_node.domain.routing import Outcome, RuleTrace
from dicom_node.domain.studies import Study, StudyState
from dicom_node.storage.tables import InstanceRow, JobRow, RevisionRow, RunRequestRow, SeriesRow, StudyRow


@dataclass(frozen=True, slots=True)
class Arrivals:
    """The instances of one revision, or those of none yet; own results and differing duplicates left out.

    Attributes:
        revision: None: pending.
    """

    revision: int | None
    first_at: datetime
    last_at: datetime
    instances: int


@dataclass(frozen=True, slots=True)
class RuleHistory:
    """What a rule did with a study so far.

    Attributes:
        decided_on: Last revision that it decided on; what came later waits for it.
        ran_on: Last revision that it asked for a job on; 0: none.
    """

    decided_on: int
    ran_on: int


@dataclass(frozen=True, slots=True)
class RunRequest:
    """An operator's wish.

    Attributes:
        rule: Empty: all.
        even_held: Also if a hold rule matches.
    """

    id: int
    study_instance_uid: str
    rule: str
    even_held: bool


def waiting_studies(session: Session, among: Iterable[str] | None = None) -> list[str]:
    """List the studies that a rule waits for; all, or which of some."""
    statement = select(StudyRow.study_instance_uid).where(StudyRow.state == StudyState.RECEIVING)
    if among is not None:
        statement = statement.where(col(StudyRow.study_instance_uid).in_(list(among)))
    return list(session.exec(statement))


def arrivals(session: Session, study_instance_uid: str) -> list[Arrivals]:
    """List when the instances of each revision arrived."""
    statement = (
        select(InstanceRow.revision, func.min(InstanceRow.received_at), func.max(InstanceRow.received_at), func.count(col(InstanceRow.id)))
        .join(SeriesRow, col(SeriesRow.id) == col(InstanceRow.series_id))
        .join(StudyRow, col(StudyRow.id) == col(SeriesRow.study_id))
        .where(StudyRow.study_instance_uid == study_instance_uid, InstanceRow.variant == 0, col(InstanceRow.own_result).is_(False))
        .group_by(col(InstanceRow.revision))
    )
    return [Arrivals(*row) for row in session.exec(statement)]


def headers(session: Session, study_instance_uid: str) -> Iterator[tuple[Attributes, str, str]]:
    """Yield attributes, calling and called AE title of every instance that counts."""
    statement = (
        select(SeriesRow.attributes, InstanceRow.attributes, InstanceRow.calling_ae_title, InstanceRow.called_ae_title)
        .join(SeriesRow, col(SeriesRow.id) == col(InstanceRow.series_id))
        .join(StudyRow, col(StudyRow.id) == col(SeriesRow.study_id))
        .where(StudyRow.study_instance_uid == study_instance_uid, InstanceRow.variant == 0, col(InstanceRow.own_result).is_(False))
    )
    for of_series, of_instance, calling, called in session.exec(statement):
        merged = {**of_series, **of_instance}
        yield {keyword: tuple(values) for keyword, values in merged.items() if values is not None}, calling, called


def histories(session: Session, study_instance_uid: str) -> dict[str, RuleHistory]:
    """Say how far each rule has come, by its name; a rule that no revision names has nothing to catch up on."""
    decided: dict[str, int] = {}
    ran: dict[str, int] = {}
    for row in _revisions(session, study_instance_uid):
        for trace in row.traces:
            decided.setdefault(trace["rule"], 0)
            if trace["outcome"] != Outcome.WAITS:
                decided[trace["rule"]] = row.revision
            if trace["outcome"] == Outcome.RUN:
                ran[trace["rule"]] = row.revision
    jobs = select(JobRow.rule, func.max(JobRow.revision)).where(JobRow.study_instance_uid == study_instance_uid).group_by(JobRow.rule)
    for rule, revision in session.exec(jobs):
        ran[rule] = max(ran.get(rule, 0), revision)
    return {rule: RuleHistory(revision, ran.get(rule, 0)) for rule, revision in decided.items()}


def last_revision(session: Session, study_instance_uid: str) -> RevisionRow | None:
    """Return the newest revision, or None before the first."""
    return next(iter(_revisions(session, study_instance_uid)[-1:]), None)


def new_revision(session: Session, study: Study, rules_digest: str) -> RevisionRow:
    """Record a revision that was just frozen; the traces follow."""
    row = RevisionRow(
        study_id=study_row(session, study.study_instance_uid).id or 0,
        revision=study.revision,
        closed_at=study.closed_at,
        closed_because=study.closed_because,
        rules_digest=rules_digest,
        traces=[],
    )
    session.add(row)
    return row


def replace_traces(row: RevisionRow, traces: Sequence[RuleTrace]) -> None:
    """Put traces in the place of what the same rules said of the revision before; those of other rules stay.

    What a rule came to that follows a result stays as well: another decision on the revision brings no other result.
    """
    known = {trace["rule"] for trace in row.traces}
    fresh = {trace.rule: asdict(trace) for trace in traces if trace.outcome is not Outcome.AFTER or trace.rule not in known}
    kept = [fresh.pop(trace["rule"], trace) for trace in row.traces]
    row.traces = [*kept, *fresh.values()]


def set_waits(session: Session, study_instance_uid: str, waits: Sequence[dict[str, str]]) -> None:
    """Write down for operators what each rule waits for."""
    study_row(session, study_instance_uid).waits = list(waits)


def study_row(session: Session, study_instance_uid: str) -> StudyRow:
    """Return the row of a study that is there."""
    return session.exec(select(StudyRow).where(StudyRow.study_instance_uid == study_instance_uid)).one()


def is_known(session: Session, study_instance_uid: str) -> bool:
    """Say whether anything of a study has arrived."""
    return session.exec(select(StudyRow.id).where(StudyRow.study_instance_uid == study_instance_uid)).first() is not None


def ask_run(session: Session, study_instance_uid: str, rule: str, now: datetime, *, even_held: bool) -> None:
    """Write down an operator's wish; whoever closes studies grants it."""
    session.add(RunRequestRow(study_instance_uid=study_instance_uid, rule=rule, even_held=even_held, requested_at=now))


def run_requests(session: Session) -> list[RunRequest]:
    """List what operators asked for, oldest first."""
    rows = session.exec(select(RunRequestRow).order_by(col(RunRequestRow.id))).all()
    return [RunRequest(row.id or 0, row.study_instance_uid, row.rule, row.even_held) for row in rows]


def grant(session: Session, request: RunRequest) -> None:
    """Remove a request, in the transaction that fulfils it."""
    session.delete(session.get_one(RunRequestRow, request.id))


def _revisions(session: Session, study_instance_uid: str) -> Sequence[RevisionRow]:
    statement = (
        select(RevisionRow)
        .join(StudyRow, col(StudyRow.id) == col(RevisionRow.study_id))
        .where(StudyRow.study_instance_uid == study_instance_uid)
        .order_by(col(RevisionRow.revision))
    )
    return session.exec(statement).all()
