"""Sends what is owed, and settles the jobs whose deliveries are through."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

from dicom_node.config import Configuration
from dicom_node.delivery.channel import Channel, channel_to
from dicom_node.delivery.outcomes import NOT_SUPPORTED, Backoff, Outcome, Patience, Verdict
from dicom_node.domain.destinations import Destination, StorageScp
from dicom_node.domain.jobs import CommitPolicy, Delivery, DeliveryState
from dicom_node.errors import DeliveryError
from dicom_node.jobs import queue
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.pipeline.circuits import Circuits
from dicom_node.pipeline.committing import Committing
from dicom_node.pipeline.results.apart import Build, BuildApart
from dicom_node.pipeline.returning import address_owed
from dicom_node.pipeline.settling import is_covered_by_another, settle
from dicom_node.pipeline.standing_in import StandIns
from dicom_node.storage import Database, InstanceFiles, deliveries, delivery_commitments, delivery_operations

_PARALLEL_DESTINATIONS = 8
_STATES = {Verdict.STORED: DeliveryState.SENT, Verdict.RETRY: DeliveryState.OWED, Verdict.REFUSED: DeliveryState.REFUSED}


class Sender:
    """Sends to each destination in a thread of its own, so that a silent one does not hold up the others."""

    def __init__(
        self,
        configuration: Configuration,
        database: Database,
        wake: Callable[[], None],
        build: Build | None = None,
    ) -> None:
        """Start idle.

        Args:
            configuration: Destinations and back-off.
            database: State.
            wake: Called when a destination is through, from its thread.
            build: Builds what goes instead of an object that a destination does not take; in a process of its own if left out.
        """
        self._configuration = configuration
        self._database = database
        self._wake = wake
        self._stand_ins = StandIns(lambda: self._configuration, database, build or BuildApart(lambda: self._configuration))
        self._busy: set[str] = set()
        self._circuits = Circuits(InstanceFiles(configuration.data_dir).run)
        self._committing = Committing(configuration, database)
        self._pool = ThreadPoolExecutor(_PARALLEL_DESTINATIONS, thread_name_prefix="send")
        self._log: Logger = get_logger()

    def reconfigure(self, configuration: Configuration) -> None:
        """Use new destinations from the next attempt on."""
        self._configuration = configuration

    def start_due(self, now: datetime) -> None:
        """Take commitment reports, and begin to send to every destination that is owed something, not busy and not left alone."""
        self._committing.take_reports()
        with self._database.transaction() as session:
            address_owed(session, self._configuration, now)
            due = [*deliveries.next_owed_at(session).items(), *delivery_commitments.next_unasked_at(session).items()]
        for name in dict.fromkeys(name for name, moment in due if moment <= now):
            if name not in self._busy and len(self._busy) < _PARALLEL_DESTINATIONS and not self._circuits.is_open(name, now):
                self._busy.add(name)
                future = self._pool.submit(self._serve, name, now)
                future.add_done_callback(lambda done, name=name: self._through(name, done))  # type: ignore[misc]

    def next_due(self) -> datetime | None:
        """Say when something is due to a destination that is not busy."""
        if self._busy:
            return None
        with self._database.transaction() as session:
            due = [*deliveries.next_owed_at(session).items(), *delivery_commitments.next_unasked_at(session).items()]
        return min((self._circuits.not_before(name, moment) for name, moment in due), default=None)

    def close(self) -> None:
        """Wait for the sends under way; what was not begun stays owed."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _through(self, name: str, done: Future[None]) -> None:
        self._busy.discard(name)
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._log.error("delivery_crashed", destination=name, error=type(error).__name__)
            crash = DeliveryError(f"{name}: sending failed ({type(error).__name__})")
            self._circuits.failed(name, crash, datetime.now(UTC), opens_after=1, backoff=self._backoff())
        self._wake()

    def _serve(self, name: str, now: datetime) -> None:
        """Send what a destination is owed, study by study, then ask for commitment."""
        with self._database.transaction() as session:
            owed = _by_destination(deliveries.owed(session, now)).get(name, [])
        destination = self._configuration.destinations.get(name)
        if destination is None:
            self._postpone(owed, f"no destination is named {name}: restore it in node.yaml, or cancel the delivery")
            return
        answered: set[int] = set()
        try:
            channel = channel_to(self._configuration.ae_title, destination)
            if self._circuits.admit(name, channel, now):
                with self._database.transaction() as session:
                    deliveries.hasten(session, name, datetime.now(UTC))
            for _, group in groupby(owed, key=lambda d: d.study_instance_uid):
                self._send_study(destination, channel, list(group), answered)
                self._circuits.succeeded(name)
            if isinstance(destination, StorageScp):
                self._commit(destination, now)
        except DeliveryError as error:
            opens_after = self._configuration.node.delivery.breaker_failures
            self._circuits.failed(name, error, datetime.now(UTC), opens_after=opens_after, backoff=self._backoff())
            self._postpone([d for d in owed if d.id not in answered], str(error))

    def _send_study(self, destination: Destination, channel: Channel, items: Sequence[Delivery], answered: set[int]) -> None:
        """Send one study's objects, and add those that were answered.

        Raises:
            DeliveryError: the destination cannot be used; what it did not answer is owed as before.
        """
        not_taken: dict[int, str] = {}

        def note(position: int, outcome: Outcome) -> None:
            answered.add(items[position].id)
            if outcome.status == NOT_SUPPORTED and self._stand_ins.may_replace(items[position]):
                outcome = replace(outcome, verdict=Verdict.RETRY)  # refused again and replaced then, if this process dies before it is
                not_taken[items[position].id] = outcome.reason
            self._record(items[position], outcome, destination)

        channel.send([d.result.path for d in items], note)
        if not_taken:
            self._stand_ins.replace(not_taken, items, channel)
        jobs = sorted({d.job_id for d in items})
        self._log.info("results_delivered", jobs=",".join(map(str, jobs)), destination=destination.name, objects=len(items))

    def _commit(self, destination: StorageScp, now: datetime) -> None:
        with self._database.transaction() as session:
            sent = _by_destination(delivery_commitments.unasked(session, max(now, datetime.now(UTC)))).get(destination.name, [])
        if sent:
            again = datetime.now(UTC) + self._backoff().delay(max(d.attempt for d in sent))
            self._committing.ask_for(self._configuration.ae_title, destination, sent, again)

    def _record(self, delivery: Delivery, outcome: Outcome, destination: Destination) -> None:
        now = datetime.now(UTC)
        wait = max(self._backoff().delay(delivery.attempt + 1), timedelta(seconds=outcome.wait_s))
        again = now + (wait if outcome.verdict is Verdict.RETRY else timedelta(0))
        state, reason = _STATES[outcome.verdict], outcome.reason
        if state is DeliveryState.OWED:
            state, reason = self._unless_given_up(delivery, reason, now)
        attempt = deliveries.Attempt(state, outcome.status, reason, again, outcome.comment, _commit_policy(destination))
        with self._database.transaction() as session:
            deliveries.record_attempt(session, delivery.id, attempt, now)
            if state is DeliveryState.SENT and is_covered_by_another(delivery):
                delivery_operations.went_itself(session, delivery.id)
            if outcome.verdict is not Verdict.STORED:
                queue.note(session, delivery.job_id, f"{delivery.destination}: {reason}", again)
            settled = settle(session, delivery.job_id, now)
        if settled is not None:
            self._log.info("job_settled", job=delivery.job_id, state=str(settled))
        if outcome.verdict is not Verdict.STORED or outcome.status:
            stored = outcome.verdict is Verdict.STORED
            event = "delivery_stored_with_warning" if stored else "delivery_not_stored"
            self._log.warning(event, job=delivery.job_id, destination=delivery.destination, reason=reason)

    def _unless_given_up(self, delivery: Delivery, reason: str, now: datetime) -> tuple[DeliveryState, str]:
        section = self._configuration.node.delivery
        patience = Patience(section.max_attempts, section.max_age)
        given_up = patience.given_up(delivery.attempt + 1, now - delivery.owed_at)
        return (DeliveryState.DEAD, f"{given_up}: {reason}") if given_up else (DeliveryState.OWED, reason)

    def _postpone(self, items: Sequence[Delivery], reason: str) -> None:
        """Note on what was not answered when it is tried again, or give it up."""
        if not items:
            return
        now = datetime.now(UTC)
        again = now + self._backoff().delay(min(d.attempt for d in items) + 1)
        dead = 0
        with self._database.transaction() as session:
            for item in items:
                state, words = self._unless_given_up(item, reason, now)
                dead += state is DeliveryState.DEAD
                deliveries.record_attempt(session, item.id, deliveries.Attempt(state, None, words, again), now)
            for job_id in {d.job_id for d in items}:
                queue.note(session, job_id, reason, again)
                settle(session, job_id, now)
        about = {"jobs": ",".join(map(str, sorted({d.job_id for d in items}))), "destination": items[0].destination, "objects": len(items)}
        if dead:
            self._log.error("delivery_given_up", **about, given_up=dead, reason=reason)
        else:
            self._log.warning("delivery_postponed", **about, reason=reason, next_attempt=again.isoformat(timespec="seconds"))

    def _backoff(self) -> Backoff:
        section = self._configuration.node.delivery
        return Backoff(section.retry_first, section.retry_factor, section.retry_max)


def _commit_policy(destination: Destination) -> CommitPolicy:
    return destination.commit if isinstance(destination, StorageScp) else CommitPolicy.OFF


def _by_destination(found: Iterable[Delivery]) -> dict[str, list[Delivery]]:
    return {name: list(group) for name, group in groupby(found, key=lambda d: d.destination)}
