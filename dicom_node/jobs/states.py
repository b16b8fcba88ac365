"""The state table of jobs: what may follow what. Nothing else in the node decides this.

Rules:
1. Every change is a row in `job_event`, written in the same transaction.
2. Only a RUNNING job has a lease. A lease that ran out sends the job back to QUEUED, or to FAILED after the last attempt. A job that an
   operator cancels loses its lease, by which its worker knows.
3. DELIVERING begins in the transaction that records the result files and the deliveries owed. A job that only forwards received images
   has no run: it is DELIVERING from the start, or DONE if nothing is left to forward.
4. DONE means that every delivery was accepted; it goes back to DELIVERING when a person sends its results to one more destination.
   FAILED is visible and can be retried by a person.
"""

from __future__ import annotations

from collections.abc import Mapping

from dicom_node.domain.jobs import JobState
from dicom_node.errors import TransitionError

ALLOWED: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.DELIVERING, JobState.DONE, JobState.QUEUED, JobState.FAILED, JobState.CANCELLED}),
    JobState.DELIVERING: frozenset({JobState.DONE, JobState.FAILED}),
    JobState.DONE: frozenset({JobState.DELIVERING}),
    JobState.FAILED: frozenset({JobState.QUEUED, JobState.DELIVERING}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}


def check_transition(from_state: JobState, to_state: JobState) -> None:
    """Refuse a change that the table does not allow.

    Raises:
        TransitionError: naming both states.
    """
    if to_state not in ALLOWED[from_state]:
        raise TransitionError(f"a job cannot go from {from_state} to {to_state}")
