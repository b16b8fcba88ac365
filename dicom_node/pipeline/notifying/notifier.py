"""Sends what people and programs are to be told, each receiver in a thread of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from itertools import groupby

from dicom_node.config import Configuration
from dicom_node.delivery.notices.told import Told
from dicom_node.delivery.notices.wording import Templates
from dicom_node.delivery.outcomes import Backoff, Patience, Verdict
from dicom_node.domain.notices import Notice, NoticeState
from dicom_node.errors import DeliveryError, StorageError, place_of
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.pipeline.notifying.addressing import address, waiting
from dicom_node.pipeline.notifying.telling import Telling
from dicom_node.pipeline.notifying.watching import Watching
from dicom_node.pipeline.turns import take_turn
from dicom_node.storage import Database, notices

_PARALLEL_RECEIVERS = 4
_LONGEST_WAIT_S = 2.0
_FORGET_EVERY = timedelta(days=1)
_STATES = {Verdict.STORED: NoticeState.SENT, Verdict.RETRY: NoticeState.OWED, Verdict.REFUSED: NoticeState.DEAD}


class Notifier:
    """Turns events into notices and sends them. All state lies in the database: a new one goes on where a killed one stopped.

    A notice that was sent and not recorded is sent once more, with the same UUID.
    """

    def __init__(self, configuration: Configuration, database: Database, wake: Callable[[], None]) -> None:
        """Start idle.

        Args:
            configuration: Receivers and rules.
            database: State.
            wake: Called when a receiver is through, from its thread.
        """
        self._database = database
        self._wake = wake
        self._watching = Watching(configuration, database)
        self._busy: set[str] = set()
        self._stopping = False
        self._forget_at: datetime | None = None
        self._pool = ThreadPoolExecutor(_PARALLEL_RECEIVERS, thread_name_prefix="notify")
        self._log: Logger = get_logger()
        self._take(configuration)

    def reconfigure(self, configuration: Configuration) -> None:
        """Use other receivers and templates from the next attempt on."""
        self._take(configuration)
        self._watching.reconfigure(configuration)

    def _take(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._telling = Telling(configuration, self._database, Templates(configuration.node.notifications.templates))

    def turn(self, now: datetime) -> float:
        """Do what is due; returns after how many seconds to look again.

        Raises:
            StorageError: the database failed; nothing is lost.
        """
        self._watching.look(now)
        group_wait = self._configuration.node.notifications.group_wait
        with self._database.reading() as session:
            due_at = waiting(session).due_at(group_wait)
        if due_at is not None and due_at <= now:
            with self._database.transaction() as session:
                address(session, self._configuration, now)
                due_at = waiting(session).due_at(group_wait)
        self._forget(now)
        return self._start_due(now, due_at)

    def close(self) -> None:
        """Wait for the notices under way; what was not begun stays owed."""
        self._stopping = True
        self._pool.shutdown(wait=True, cancel_futures=True)

    @property
    def busy(self) -> bool:
        """Whether somebody is being told now."""
        return bool(self._busy)

    def _start_due(self, now: datetime, due_at: datetime | None) -> float:
        with self._database.reading() as session:
            due = sorted(notices.due(session, now), key=lambda n: n.receiver)
            next_due = notices.next_due(session)
        for name, group in groupby(due, key=lambda n: n.receiver):
            if name not in self._busy and len(self._busy) < _PARALLEL_RECEIVERS:
                self._busy.add(name)
                future = self._pool.submit(self._serve, list(group))
                future.add_done_callback(lambda done, name=name: self._through(name, done))  # type: ignore[misc]
        moments = [m for m in (due_at, None if self._busy else next_due) if m is not None]
        return min([_LONGEST_WAIT_S, *(max(0.001, (m - now).total_seconds()) for m in moments)])

    def _through(self, name: str, done: Future[None]) -> None:
        self._busy.discard(name)
        error = None if done.cancelled() else done.exception()
        if error is not None:
            self._log.error("notices_unrecorded", receiver=name, error=type(error).__name__)
        self._wake()

    def _serve(self, due: Sequence[Notice]) -> None:
        for position, notice in enumerate(due):
            if self._stopping:
                return
            try:
                told = self._telling.tell(notice, datetime.now(UTC))
            except StorageError:
                raise
            except DeliveryError as error:  # the others would fare no better now
                self._postpone(due[position:], f"{error}" + (f" ({error.hint})" if error.hint else ""))
                return
            except Exception as error:  # noqa: BLE001 - one notice that cannot be written must not keep the others
                self._log.error("notice_crashed", notice=notice.id, error=type(error).__name__, place=place_of(error))
                told = Told(Verdict.RETRY, f"cannot be sent ({type(error).__name__})")
            self._record(notice, told)

    def _record(self, notice: Notice, told: Told) -> None:
        now = datetime.now(UTC)
        state, reason = _STATES[told.verdict], told.reason
        if state is NoticeState.OWED:
            state, reason = self._unless_given_up(notice, reason, now)
        wait = max(self._backoff().delay(notice.attempt + 1), told.retry_after or timedelta(0))
        with self._database.transaction() as session:
            notices.record(session, notice.id, notices.Attempted(state, reason, now + wait, told.taken, told.refused), now)
        about = {"notice": notice.id, "receiver": notice.receiver, "told": str(notice.event), "job": notice.job_id}
        if state is NoticeState.DEAD:
            self._log.error("notice_given_up", **about, reason=reason)
        elif state is NoticeState.OWED:
            self._log.warning("notice_postponed", **about, reason=reason)
        else:
            self._log.info("notice_sent", **about, refused_recipients=len(told.refused))

    def _postpone(self, items: Sequence[Notice], reason: str) -> None:
        now, dead = datetime.now(UTC), 0
        again = now + self._backoff().delay(min(n.attempt for n in items) + 1)
        with self._database.transaction() as session:
            for notice in items:
                state, words = self._unless_given_up(notice, reason, now)
                dead += state is NoticeState.DEAD
                notices.record(session, notice.id, notices.Attempted(state, words, again), now)
        about = {"receiver": items[0].receiver, "notices": len(items), "reason": reason}
        if dead:
            self._log.error("notices_given_up", **about, given_up=dead)
        else:
            self._log.warning("notices_postponed", **about, next_attempt=again.isoformat(timespec="seconds"))

    def _unless_given_up(self, notice: Notice, reason: str, now: datetime) -> tuple[NoticeState, str]:
        patience = Patience(0, self._configuration.node.notifications.max_age)
        given_up = patience.given_up(notice.attempt + 1, now - notice.owed_at)
        return (NoticeState.DEAD, f"{given_up}: {reason}") if given_up else (NoticeState.OWED, reason)

    def _backoff(self) -> Backoff:
        section = self._configuration.node.notifications
        return Backoff(section.retry_first, 2.0, section.retry_max)

    def _forget(self, now: datetime) -> None:
        if self._forget_at is not None and now < self._forget_at:
            return
        self._forget_at = now + _FORGET_EVERY
        with self._database.transaction() as session:
            notices.forget(session, now - self._configuration.node.notifications.keep)


class NotifierThread:
    """Runs a notifier beside the deliveries of its process."""

    def __init__(self, configuration: Configuration, database: Database) -> None:
        """Start."""
        self._look = threading.Event()
        self._stopping = threading.Event()
        self._notifier = Notifier(configuration, database, self._look.set)
        self._fresh: Configuration | None = None
        self._thread = threading.Thread(target=self._run, name="notifier", daemon=True)
        self._thread.start()

    def reconfigure(self, configuration: Configuration) -> None:
        """Use other receivers and rules from the next turn on."""
        self._fresh = configuration
        self._look.set()

    def look(self) -> None:
        """Look for work now."""
        self._look.set()

    def stop(self) -> None:
        """End after the notices under way."""
        self._stopping.set()
        self._look.set()
        self._thread.join()
        self._notifier.close()

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._look.wait(take_turn(self._turn))
            self._look.clear()

    def _turn(self) -> float:
        fresh, self._fresh = self._fresh, None
        if fresh is not None:
            self._notifier.reconfigure(fresh)
        return self._notifier.turn(datetime.now(UTC))
