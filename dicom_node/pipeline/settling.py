"""When the deliveries of a job are through, and what that makes of the job."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlmodel import Session

from dicom_node.delivery.fallbacks import form_of
from dicom_node.domain.jobs import Delivery, DeliveryState, JobState
from dicom_node.jobs import queue
from dicom_node.storage import deliveries


def is_covered_by_another(delivery: Delivery) -> bool:
    """Say whether what an object says was owed to its destination in another form beside it, which `went_as` names."""
    return bool(delivery.went_as) and delivery.went_as != str(form_of(delivery.result.sop_class_uid) or delivery.result.kind)


def is_made_good(delivery: Delivery, found: Iterable[Delivery]) -> bool:
    """Say whether a refused object is no fault, since its destination accepted what it says in another form.

    Args:
        delivery: Of the refused object.
        found: All deliveries of its job.
    """
    return (
        delivery.state is DeliveryState.REFUSED
        and is_covered_by_another(delivery)
        and any(
            other.destination == delivery.destination
            and other.state in deliveries.ACCEPTED
            and str(form_of(other.result.sop_class_uid)) == delivery.went_as
            for other in found
        )
    )


def settle(session: Session, job_id: int, now: datetime) -> JobState | None:
    """End the job in the transaction that records its last answer; None while it has to wait."""
    if deliveries.is_any_pending(session, job_id):  # asked of the database: a job may owe thousands
        return None
    job = queue.get(session, job_id)
    found = deliveries.of_job(session, job_id)
    if job is None or job.state is not JobState.DELIVERING:
        return None
    made_good = [d for d in found if is_made_good(d, found)]
    failed = [d for d in found if d.state in deliveries.GIVEN_UP and d not in made_good]
    to = JobState.FAILED if failed else JobState.DONE
    words = f"{len(failed)} of {len(found)} deliveries refused or given up: {failed[0].destination}: {failed[0].reason}" if failed else ""
    queue.settle(session, job_id, to, words or "; ".join(["delivered", *map(_made_good, made_good)]), now)
    return to


def _made_good(delivery: Delivery) -> str:
    return f"{delivery.destination} takes no {delivery.result.kind} {delivery.result.number}, {delivery.went_as} was sent"


def resume(session: Session, job_id: int, reason: str, now: datetime) -> None:
    """Let a job that was through deliver again, because a destination did not keep what it had accepted."""
    job = queue.get(session, job_id)
    if job is not None and job.state in (JobState.DONE, JobState.FAILED):
        queue.settle(session, job_id, JobState.DELIVERING, reason, now)
