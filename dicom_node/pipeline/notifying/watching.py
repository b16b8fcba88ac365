"""What nobody else notices: peers that send nothing, destinations that take nothing, and that a digest is due."""

from __future__ import annotations

from datetime import datetime, timedelta

from dicom_node.config import Configuration
from dicom_node.config.schedules import Schedule, cron_of_time
from dicom_node.domain.notice_facts import NoticeFacts, OverdueFacts
from dicom_node.domain.notices import NoticeEvent
from dicom_node.domain.silence import look
from dicom_node.ops.logs import get_logger
from dicom_node.storage import Database, notice_facts, notice_watches, notices

_LOOK_EVERY = timedelta(seconds=30)


class Watching:
    """Looks for silence and for the time of the digest. All state lies in the database."""

    def __init__(self, configuration: Configuration, database: Database) -> None:
        """Look at once."""
        self._database = database
        self._look_at: datetime | None = None
        self.reconfigure(configuration)

    def reconfigure(self, configuration: Configuration) -> None:
        """Watch something else from now on."""
        self._configuration = configuration
        self._watches = configuration.silence_watches
        section = configuration.node.notifications
        self._schedule = Schedule(section.digest.cron or cron_of_time(section.digest.at), section.zone) if section.digest else None
        self._look_at = None

    def look(self, now: datetime) -> None:
        """Owe notices of silence and of overdue deliveries, and of their ends, and a digest if its time has come.

        Raises:
            StorageError: the database failed.
        """
        if self._look_at is not None and now < self._look_at:
            return
        self._look_for_silence(now)
        self._look_for_overdue(now)
        self._look_for_digest(now)
        self._look_at = now + _LOOK_EVERY
        if self._schedule is not None:
            self._look_at = min(self._look_at, self._schedule.next_after(now))

    def _look_for_silence(self, now: datetime) -> None:
        with self._database.reading() as session:
            nothing_to_forget = notice_watches.watches_nothing(session)
        if not self._watches and nothing_to_forget:
            return
        with self._database.transaction() as session:
            notice_watches.forget_silence(session, [w.name for w in self._watches])
            arrived, position = notice_facts.arrivals_after(session, notice_watches.cursor(session, now))
            for watch in self._watches:
                newest = arrived.get(watch.ae_title) if watch.ae_title else max(arrived.values(), default=None)
                state, told = look(notice_watches.silence(session, watch.name, now), watch, newest, now)
                notice_watches.keep_silence(session, watch.name, state)
                if told is not None:
                    notices.owe(session, watch.to, NoticeEvent.SILENCE, NoticeFacts(silence=told), now)
                    log = get_logger()
                    (log.info if told.over else log.warning)("peer_heard" if told.over else "peer_silent", peer=watch.name)
            notice_watches.move_cursor(session, position, now)

    def _look_for_overdue(self, now: datetime) -> None:
        wanted = self._configuration.node.notifications.overdue
        with self._database.reading() as session:
            told = notice_watches.overdue(session)
            late = {f.destination: f for f in notice_facts.overdue_facts(session, now, wanted.after)} if wanted else {}
        if told == late.keys():
            return
        with self._database.transaction() as session:
            for name in late.keys() - told:
                notice_watches.keep_overdue(session, name, now)
            for name in told - late.keys():
                notice_watches.forget_overdue(session, name)
            if wanted is None:
                return
            over = [
                OverdueFacts(name, over=True, objects=0, jobs=0, owed_since=None, limit_s=wanted.after.total_seconds(), reason="")
                for name in sorted(told - late.keys())
            ]
            for facts in (*over, *(late[name] for name in sorted(late.keys() - told))):
                notices.owe(session, wanted.to, NoticeEvent.OVERDUE, NoticeFacts(overdue=facts), now)

    def _look_for_digest(self, now: datetime) -> None:
        digest = self._configuration.node.notifications.digest
        with self._database.reading() as session:
            before = notice_watches.digest(session)
        if digest is None or self._schedule is None:
            if before is not None:
                with self._database.transaction() as session:
                    notice_watches.forget_digest(session)
            return
        if before is None:
            with self._database.transaction() as session:
                notice_watches.keep_digest(session, notice_watches.Told(now, notice_watches.last_instance(session)))
            return
        until = self._schedule.last_due(before.until, now)
        if until is None:
            return
        with self._database.reading() as session:  # counting takes long in a large database, and nobody shall wait for it
            count, position = notice_facts.instances_after(session, before.position)
            facts = notice_facts.digest_facts(session, before.until, until, count)
        with self._database.transaction() as session:
            notices.owe(session, digest.to, NoticeEvent.DIGEST, NoticeFacts(digest=facts), now)
            notice_watches.keep_digest(session, notice_watches.Told(until, position))
