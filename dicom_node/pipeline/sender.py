"""Sends what is owed, and settles the jobs whose deliveries are through."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import groupby

from sqlmodel import Session

from dicom_node.config import Configuration
from dicom_node.delivery import scu
from dicom_node.delivery.outcomes import Backoff, Outcome, Verdict
from dicom_node.domain.destinations import Destination
from dicom_node.domain.jobs import Delivery, DeliveryState, JobState
from dicom_node.errors import DeliveryError, DicomNodeError
from dicom_node.jobs import queue
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.storage import Database, deliveries

_PARALLEL_DESTINATIONS = 8
_STATES = {Verdict.STORED: DeliveryState.SENT, Verdict.RETRY: DeliveryState.OWED, Verdict.REFUSED: DeliveryState.REFUSED}


class Sender:
    """Sends to each destination in a thread of its own, so that a silent one does not hold up the others."""

    def __init__(self, configuration: Configuration, database: Database, wake: Callable[[], None]) -> None:
        """Start idle.

        Args:
            configuration: Destinations and back-off.
            database: State.
            wake: Called when a destination is through, from its thread.
        """
        self._configuration = configuration
        self._database = database
        self._wake = wake
        self._busy: set[str] = set()
        self._pool = ThreadPoolExecutor(_PARALLEL_DESTINATIONS, thread_name_prefix="send")
        self._log: Logger = get_logger()

    def reconfigure(self, configuration: Configuration) -> None:
        """Use new destinations from the next attempt on."""
        self._configuration = configuration

    def start_due(self, now: datetime) -> None:
        """Begin sending to every destination that is owed something and not busy."""
        with self._database.transaction() as session:
            owed = deliveries.owed(session, now)
        for name, group in groupby(owed, key=lambda d: d.destination):
            if name not in self._busy and len(self._busy) < _PARALLEL_DESTINATIONS:
                self._busy.add(name)
                future = self._pool.submit(self._send_all, name, list(group))
                future.add_done_callback(lambda done, name=name: self._through(name, done))  # type: ignore[misc]

    def next_due(self) -> datetime | None:
        """Say when something is due to a destination that is not busy."""
        if self._busy:
            return None
        with self._database.transaction() as session:
            return deliveries.next_owed_at(session)

    def close(self) -> None:
        """Wait for the sends under way; what was not begun stays owed."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _through(self, name: str, done: Future[None]) -> None:
        self._busy.discard(name)
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._log.error("delivery_crashed", destination=name, error=type(error).__name__)
        self._wake()

    def _send_all(self, name: str, owed: Sequence[Delivery]) -> None:
        destination = self._configuration.destinations.get(name)
        unreachable = "" if destination else f"no destination is named {name}: restore it in node.yaml, or cancel the delivery"
        for job_id, group in groupby(owed, key=lambda d: d.job_id):
            items = list(group)
            if destination is not None and not unreachable:
                unreachable = self._send_job(destination, job_id, items)
            else:
                self._postpone(items, unreachable)

    def _send_job(self, destination: Destination, job_id: int, items: Sequence[Delivery]) -> str:
        """Send one job's objects over one association; returns why the destination cannot be used any more, or nothing."""
        answered: set[int] = set()

        def note(position: int, outcome: Outcome) -> None:
            answered.add(position)
            self._record(items[position], outcome)

        try:
            scu.send(self._configuration.ae_title, destination, [d.result.path for d in items], note)
        except DicomNodeError as error:
            self._postpone([d for position, d in enumerate(items) if position not in answered], str(error))
            return str(error) if isinstance(error, DeliveryError) else ""
        self._log.info("results_delivered", job=job_id, destination=destination.name, objects=len(items))
        return ""

    def _record(self, delivery: Delivery, outcome: Outcome) -> None:
        now = datetime.now(UTC)
        again = now + (self._backoff().delay(delivery.attempt + 1) if outcome.verdict is Verdict.RETRY else timedelta(0))
        attempt = deliveries.Attempt(_STATES[outcome.verdict], outcome.status, outcome.reason, again)
        with self._database.transaction() as session:
            deliveries.record_attempt(session, delivery.id, attempt, now)
            if outcome.verdict is not Verdict.STORED:
                queue.note(session, delivery.job_id, f"{delivery.destination}: {outcome.reason}", again)
            settled = _settle(session, delivery.job_id, now)
        if settled is not None:
            self._log.info("job_settled", job=delivery.job_id, state=str(settled))
        if outcome.verdict is not Verdict.STORED:
            self._log.warning("delivery_not_stored", job=delivery.job_id, destination=delivery.destination, reason=outcome.reason)

    def _postpone(self, items: Sequence[Delivery], reason: str) -> None:
        if not items:
            return
        now = datetime.now(UTC)
        again = now + self._backoff().delay(min(d.attempt for d in items) + 1)
        attempt = deliveries.Attempt(DeliveryState.OWED, None, reason, again)
        with self._database.transaction() as session:
            for item in items:
                deliveries.record_attempt(session, item.id, attempt, now)
            queue.note(session, items[0].job_id, reason, again)
        self._log.warning(
            "delivery_postponed",
            job=items[0].job_id,
            destination=items[0].destination,
            objects=len(items),
            reason=reason,
            next_attempt=again.isoformat(timespec="seconds"),
        )

    def _backoff(self) -> Backoff:
        section = self._configuration.node.delivery
        return Backoff(section.retry_first, section.retry_factor, section.retry_max)


def _settle(session: Session, job_id: int, now: datetime) -> JobState | None:
    """End the job in the transaction that records its last answer; None while something is owed."""
    job = queue.get(session, job_id)
    states = [d.state for d in deliveries.of_job(session, job_id)]
    if job is None or job.state is not JobState.DELIVERING or DeliveryState.OWED in states:
        return None
    refused = states.count(DeliveryState.REFUSED)
    to = JobState.FAILED if refused else JobState.DONE
    reason = f"{refused} of {len(states)} deliveries refused: {job.reason}" if refused else "delivered"
    queue.settle(session, job_id, to, reason, now)
    return to
