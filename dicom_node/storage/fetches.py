"""Requests to archives on record: counts, missing instances, priors; their states and events.

Whoever needs an answer asks (`ask_count`, `ask_missing`, `ask_prior`) and reads what is known (`expected`, `prior_searches`) in
transactions of its own. Asking again while a request is under way changes nothing but its deadline; asking again after its end
asks anew, and the last answer stays until there is a new one. A prior is asked once: a finished search is searched again only if
the rule wants another prior by now.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlmodel import Session, col, func, select

from dicom_node.domain.fetches import Expected, Fetch, FetchEvent, FetchKind, FetchState
from dicom_node.domain.jobs import IMAGE
from dicom_node.domain.patients import first_value
from dicom_node.domain.routing import PriorSearch
from dicom_node.domain.rules import OnMissing, Prior
from dicom_node.domain.studies import Study
from dicom_node.storage import fetched_studies, index
from dicom_node.storage.fetch_tables import FetchEventRow, FetchRow
from dicom_node.storage.tables import InstanceRow, JobRow, ResultRow, SeriesRow, StudyRow

_MOST_PARAMETERS = 500
_UNDER_WAY = (FetchState.OWED, FetchState.RUNNING)


@dataclass(frozen=True, slots=True)
class Counted:
    """What an archive said.

    Attributes:
        count: None: it cannot say, or does not know the study.
        missing: SOP Instance UIDs that it listed and that the node had not when it was asked.
        asked_at: Before the first question.
        reason: How it was counted, or why not.
    """

    count: int | None
    missing: tuple[str, ...]
    asked_at: datetime
    reason: str


def ask_count(session: Session, study_instance_uid: str, source: str, now: datetime, deadline: datetime) -> None:
    """Ask a source how many instances it has of a study; see `expected`."""
    _ask(session, FetchRow(**_key(FetchKind.COUNT, study_instance_uid, source)), now, deadline)


def ask_missing(session: Session, study_instance_uid: str, source: str, now: datetime, deadline: datetime) -> None:
    """Ask for the instances that a source has of a study and the node has not; they arrive like others."""
    _ask(session, FetchRow(**_key(FetchKind.MISSING, study_instance_uid, source)), now, deadline)


def ask_prior(session: Session, study_instance_uid: str, rule: str, input_name: str, prior: Prior, now: datetime) -> None:  # noqa: PLR0913, PLR0917 - what makes it one
    """Ask for earlier studies of the patient for an input of a rule; `prior.timeout` from now is its deadline."""
    key = _key(FetchKind.PRIOR, study_instance_uid, prior.source) | {"rule": rule, "input": input_name, "wanted": _json_from_prior(prior)}
    _ask(session, FetchRow(**key), now, now + prior.timeout)


def expected(session: Session, study_instance_uid: str, source: str) -> Expected | None:
    """Return what a source says of a study; None if it was never asked."""
    row = _find(session, FetchRow(**_key(FetchKind.COUNT, study_instance_uid, source)))
    if row is None:
        return None
    here = instances_here(session, study_instance_uid)
    missing = tuple(uid for uid in row.missing if uid not in here)
    return Expected(row.counted, len(here), missing, row.answered_at, not FetchState(row.state).is_final, row.reason)


def missing_fetch(session: Session, study_instance_uid: str, source: str) -> Fetch | None:
    """Return where the request for a study's missing instances stands; None if there is none."""
    row = _find(session, FetchRow(**_key(FetchKind.MISSING, study_instance_uid, source)))
    return None if row is None else _fetch(row)


def prior_searches(session: Session, study_instance_uid: str) -> list[PriorSearch]:
    """Return what was found for each input with `prior`; studies newest first, each as the node holds it now.

    A study whose Patient ID or issuer differs from the current study's is left out whatever the request recorded.
    """
    rows = session.exec(
        select(FetchRow)
        .where(FetchRow.kind == FetchKind.PRIOR, FetchRow.study_instance_uid == study_instance_uid)
        .order_by(col(FetchRow.id))
    ).all()
    taken = fetched_studies.taken_by(session, [row.id or 0 for row in rows])
    patients = index.patients(session, study_instance_uid)
    studies: dict[str, Study] = {}
    for uid in {uid for uids in taken.values() for uid in uids}:
        if len(patients) == 1 and index.patients(session, uid) == patients:
            studies[uid] = index.load_present_study(session, uid)
    return [
        PriorSearch(
            row.rule,
            row.input,
            tuple(sorted((studies[uid] for uid in taken.get(row.id or 0, ()) if uid in studies), key=study_moment, reverse=True)),
            FetchState(row.state).is_final,
            row.reason,
        )
        for row in rows
    ]


def study_moment(study: Study) -> tuple[str, str]:
    """Return Study Date and Study Time, by which studies are ordered."""
    header = next((i.attributes for s in study.series for i in s.instances), {})
    return first_value(header, "StudyDate"), first_value(header, "StudyTime")


def instances_here(session: Session, study_instance_uid: str) -> set[str]:
    """Return the SOP Instance UIDs of a study that have arrived, the node's own results left out."""
    statement = (
        select(InstanceRow.sop_instance_uid)
        .join(SeriesRow, col(SeriesRow.id) == col(InstanceRow.series_id))
        .join(StudyRow, col(StudyRow.id) == col(SeriesRow.study_id))
        .where(StudyRow.study_instance_uid == study_instance_uid, InstanceRow.variant == 0, col(InstanceRow.own_result).is_(False))
    )
    return set(session.exec(statement))


def results_made(session: Session, study_instance_uid: str) -> bool:
    """Say whether the node made results for a study, which may lie in an archive by now."""
    statement = (
        select(ResultRow.id)
        .join(JobRow, col(JobRow.id) == col(ResultRow.job_id))
        .where(JobRow.study_instance_uid == study_instance_uid, ResultRow.kind != IMAGE)
    )
    return session.exec(statement.limit(1)).first() is not None


def own_results(session: Session, sop_instance_uids: Sequence[str]) -> set[str]:
    """Return those instances that the node itself made, by its records and by what came back to it."""
    found: set[str] = set()
    for start in range(0, len(sop_instance_uids), _MOST_PARAMETERS):
        some = sop_instance_uids[start : start + _MOST_PARAMETERS]
        made = select(ResultRow.sop_instance_uid).where(col(ResultRow.sop_instance_uid).in_(some), ResultRow.kind != IMAGE)
        found.update(session.exec(made))
        arrived = select(InstanceRow.sop_instance_uid).where(col(InstanceRow.sop_instance_uid).in_(some), col(InstanceRow.own_result))
        found.update(session.exec(arrived))
    return found


def claim_due(session: Session, now: datetime, limit: int) -> list[Fetch]:
    """Take the requests whose time has come, counts first; they are RUNNING then."""
    order = {FetchKind.COUNT: 0, FetchKind.MISSING: 1, FetchKind.PRIOR: 2}
    rows = session.exec(
        select(FetchRow).where(FetchRow.state == FetchState.OWED, col(FetchRow.next_attempt_at) <= now, col(FetchRow.deadline) > now)
    ).all()
    claimed = sorted(rows, key=lambda row: (order[FetchKind(row.kind)], row.next_attempt_at, row.id or 0))[:limit]
    for row in claimed:
        row.attempt += 1
        _change(session, row, FetchState.RUNNING, now, f"attempt {row.attempt}")
    return [_fetch(row) for row in claimed]


def next_due(session: Session) -> datetime | None:
    """Say when the next request begins or runs out of time; None if nothing waits."""
    begins = session.exec(select(func.min(FetchRow.next_attempt_at)).where(FetchRow.state == FetchState.OWED)).one()
    ends = session.exec(select(func.min(FetchRow.deadline)).where(col(FetchRow.state).in_(_UNDER_WAY))).one()
    return min((moment for moment in (begins, ends) if moment is not None), default=None)


def take_back(session: Session, now: datetime) -> int:
    """Owe again what a killed process had begun; returns how many."""
    rows = session.exec(select(FetchRow).where(FetchRow.state == FetchState.RUNNING)).all()
    for row in rows:
        row.next_attempt_at, row.attempt = now, row.attempt - 1  # the attempt was not the source's fault; its deadline ends it
        _change(session, row, FetchState.OWED, now, "taken up again after a restart")
    return len(rows)


def expire(session: Session, now: datetime) -> list[Fetch]:
    """End the requests that are out of time; returns them."""
    rows = session.exec(select(FetchRow).where(col(FetchRow.state).in_(_UNDER_WAY), col(FetchRow.deadline) <= now)).all()
    for row in rows:
        _end(
            session, row, FetchState.FAILED, now, f"out of time after {row.attempt} attempt(s)" + (f": {row.reason}" if row.reason else "")
        )
    return [_fetch(row) for row in rows]


def record_count(session: Session, fetch_id: int, counted: Counted, now: datetime) -> bool:
    """Write an archive's answer; False if the request has ended meanwhile."""
    row = session.get_one(FetchRow, fetch_id)
    if row.state != FetchState.RUNNING:
        return False
    row.counted, row.missing, row.answered_at = counted.count, list(counted.missing), counted.asked_at
    _end(session, row, FetchState.DONE, now, counted.reason)
    return True


def finish(session: Session, fetch_id: int, state: FetchState, reason: str, now: datetime) -> bool:
    """End a request; False if it has ended meanwhile, nothing changes then."""
    row = session.get_one(FetchRow, fetch_id)
    if row.state != FetchState.RUNNING:
        return False
    _end(session, row, state, now, reason)
    return True


def postpone(session: Session, fetch_id: int, reason: str, next_attempt_at: datetime, now: datetime) -> bool:
    """Write that an attempt failed and when the next one begins; False if the request has ended meanwhile."""
    row = session.get_one(FetchRow, fetch_id)
    if row.state != FetchState.RUNNING:
        return False
    row.next_attempt_at = next_attempt_at
    _change(session, row, FetchState.OWED, now, reason)
    return True


def search_again(session: Session, fetch_id: int, reason: str, at: datetime, now: datetime) -> bool:
    """Write that a search found nothing yet and when it is repeated; that was no failed attempt. False if it has ended meanwhile."""
    if not postpone(session, fetch_id, reason, at, now):
        return False
    session.get_one(FetchRow, fetch_id).attempt = 0
    return True


def recent(session: Session, limit: int, study_instance_uid: str = "") -> list[Fetch]:
    """List the newest requests, or those for a study."""
    statement = select(FetchRow).order_by(col(FetchRow.id).desc()).limit(limit)
    if study_instance_uid:
        statement = statement.where(FetchRow.study_instance_uid == study_instance_uid)
    return [_fetch(row) for row in session.exec(statement)]


def get(session: Session, fetch_id: int) -> Fetch:
    """Read a request."""
    return _fetch(session.get_one(FetchRow, fetch_id))


def find(session: Session, fetch_id: int) -> Fetch | None:
    """Read a request; None if there is none of that number."""
    row = session.get(FetchRow, fetch_id)
    return None if row is None else _fetch(row)


def events(session: Session, fetch_id: int) -> list[FetchEvent]:
    """List the history of a request."""
    rows = session.exec(select(FetchEventRow).where(FetchEventRow.fetch_id == fetch_id).order_by(col(FetchEventRow.id)))
    return [FetchEvent(r.at, FetchState(r.from_state) if r.from_state else None, FetchState(r.to_state), r.reason) for r in rows]


def _key(kind: FetchKind, study_instance_uid: str, source: str) -> dict[str, Any]:
    return {"kind": kind, "study_instance_uid": study_instance_uid, "source": source}


def _find(session: Session, wanted: FetchRow) -> FetchRow | None:
    statement = select(FetchRow).where(FetchRow.kind == wanted.kind, FetchRow.study_instance_uid == wanted.study_instance_uid)
    if wanted.kind == FetchKind.PRIOR:
        return session.exec(statement.where(FetchRow.rule == wanted.rule, FetchRow.input == wanted.input)).first()
    return session.exec(statement.where(FetchRow.source == wanted.source)).first()


def _ask(session: Session, wanted: FetchRow, now: datetime, deadline: datetime) -> None:
    row = _find(session, wanted)
    deadline = max(deadline, now)
    if row is None:
        wanted.state, wanted.asked_at, wanted.next_attempt_at, wanted.deadline = FetchState.OWED, now, now, deadline
        session.add(wanted)
        session.flush()
        session.add(FetchEventRow(fetch_id=wanted.id or 0, at=now, to_state=FetchState.OWED, reason="asked"))
        return
    is_final = FetchState(row.state).is_final
    if wanted.kind == FetchKind.PRIOR:
        if (row.source, row.wanted) == (wanted.source, wanted.wanted) or not is_final:
            return
        row.source, row.wanted = wanted.source, wanted.wanted
    if not is_final:
        row.deadline = max(row.deadline, deadline)
        return
    row.asked_at, row.next_attempt_at, row.deadline, row.finished_at, row.attempt = now, now, deadline, None, 0
    _change(session, row, FetchState.OWED, now, "asked again")


def _end(session: Session, row: FetchRow, state: FetchState, now: datetime, reason: str) -> None:
    if row.kind == FetchKind.PRIOR:
        fetched_studies.close(session, row.id or 0, now)
    if row.kind == FetchKind.COUNT and state is FetchState.FAILED:
        row.counted, row.missing = None, []
    row.finished_at = now
    _change(session, row, state, now, reason)


def _change(session: Session, row: FetchRow, to: FetchState, at: datetime, reason: str) -> None:
    session.add(FetchEventRow(fetch_id=row.id or 0, at=at, from_state=row.state, to_state=to, reason=reason))
    row.state, row.reason = to, reason


def _json_from_prior(prior: Prior) -> dict[str, Any]:
    return {
        "within_s": prior.within.total_seconds(),
        "same": list(prior.same),
        "most": prior.most,
        "timeout_s": prior.timeout.total_seconds(),
        "on_missing": str(prior.on_missing),
    }


def _prior_from_json(source: str, wanted: dict[str, Any]) -> Prior:
    return Prior(
        timedelta(seconds=wanted["within_s"]),
        tuple(wanted["same"]),
        int(wanted["most"]),
        source,
        timedelta(seconds=wanted["timeout_s"]),
        OnMissing(wanted["on_missing"]),
    )


def _fetch(row: FetchRow) -> Fetch:
    return Fetch(
        id=row.id or 0,
        kind=FetchKind(row.kind),
        state=FetchState(row.state),
        study_instance_uid=row.study_instance_uid,
        source=row.source,
        rule=row.rule,
        input=row.input,
        prior=_prior_from_json(row.source, row.wanted) if row.kind == FetchKind.PRIOR else None,
        attempt=row.attempt,
        asked_at=row.asked_at,
        next_attempt_at=row.next_attempt_at,
        deadline=row.deadline,
        finished_at=row.finished_at,
        reason=row.reason,
    )
