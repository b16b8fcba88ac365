"""Takes owed requests up and works them in threads, so that neither the indexing nor another request waits for a slow archive."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from dicom_node.config import Configuration
from dicom_node.domain.fetches import Fetch, FetchKind, FetchState
from dicom_node.errors import DicomNodeError, SourceCancelledError, place_of
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.pipeline.fetching import instances, priors
from dicom_node.pipeline.fetching.attempt import Attempt, Surroundings
from dicom_node.pipeline.turns import take_turn
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.storage import Database, InstanceFiles, fetches

_OWNER = "fetching"
_LONGEST_WAIT_S = 2.0
_LONGEST_GOODBYE_S = 5.0


class Fetching:
    """The requests under way.

    All state lies in the database and in `incoming/`; a new object goes on where a killed one stopped.
    """

    def __init__(self, configuration: Configuration, database: Database, files: InstanceFiles, news: Callable[[], None]) -> None:
        """Touch no request yet: the first turn takes up what a killed process left.

        Args:
            configuration: Sources, rules and limits.
            database: State.
            files: Instance store, prepared.
            news: Called when an instance came or a request ended, from any thread; must not block.
        """
        self._configuration = configuration
        self._database = database
        self._files = files
        self._tell = news
        self._stopping = threading.Event()
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._running: dict[int, threading.Thread] = {}
        self._log: Logger = get_logger()
        dicom = configuration.node.dicom
        self._door = Door(files, DoorSettings(_OWNER, dicom.durability, dicom.min_free, dicom.max_instance), self._news)
        self._taken_back = False
        files.discard_partials(_OWNER)

    def reconfigure(self, configuration: Configuration) -> None:
        """Use new sources, rules and limits from the next attempt on."""
        self._configuration = configuration

    def turn(self, now: datetime) -> float:
        """End what is out of time, begin what is due; returns after how many seconds to look again.

        Raises:
            StorageError: the database failed; nothing is lost.
        """
        with self._lock:
            free = self._configuration.node.fetch.max_parallel - len(self._running)
        with self._database.transaction() as session:
            if not self._taken_back:
                fetches.take_back(session, now)
            expired = fetches.expire(session, now)
            claimed = fetches.claim_due(session, now, free) if free > 0 else []
            next_due = fetches.next_due(session)
        self._taken_back = True
        for fetch in expired:
            self._note_end(fetch)
        for fetch in claimed:
            self._start(fetch)
        if next_due is None:
            return _LONGEST_WAIT_S
        return min(_LONGEST_WAIT_S, max(0.05, (next_due - now).total_seconds()))

    def wait(self, seconds: float) -> None:
        """Wait for the next turn; an attempt that ends, `look` and `stop` end the wait."""
        self._ended.wait(seconds)
        self._ended.clear()

    def look(self) -> None:
        """End the wait: there may be a new request."""
        self._ended.set()

    def stop(self) -> None:
        """Break off what is under way. An attempt that hangs in the network is left behind; what it had begun is begun again later."""
        self._stopping.set()
        self._ended.set()
        with self._lock:
            running = list(self._running.values())
        until = datetime.now(UTC) + timedelta(seconds=_LONGEST_GOODBYE_S)
        for thread in running:
            thread.join(max(0.0, (until - datetime.now(UTC)).total_seconds()))

    def _news(self) -> None:
        if not self._stopping.is_set():  # an attempt that was left behind must not ring a bell that is gone
            self._tell()

    def _start(self, fetch: Fetch) -> None:
        thread = threading.Thread(target=self._run, args=(fetch,), name=f"fetch-{fetch.id}", daemon=True)
        with self._lock:
            self._running[fetch.id] = thread
        thread.start()

    def _run(self, fetch: Fetch) -> None:
        try:
            self._attempt(fetch)
        except DicomNodeError as error:
            self._log.error("fetch_unrecorded", fetch=fetch.id, code=error.code, reason=str(error))
        finally:
            with self._lock:
                self._running.pop(fetch.id, None)
            self._ended.set()
            self._news()

    def _attempt(self, fetch: Fetch) -> None:
        stopping = self._stopping
        around = Surroundings(self._configuration, self._database, self._files, self._door, stopping.wait, stopping.is_set)
        try:
            self._work(Attempt(around, fetch))
        except SourceCancelledError:
            return  # the process ends and takes it up again, or its time is over, which `turn` records
        except DicomNodeError as error:
            self._failed(fetch, str(error))
        except Exception as error:  # noqa: BLE001 - the last door of a thread: the request must not stay RUNNING for ever
            self._log.error("fetch_crashed", fetch=fetch.id, error=type(error).__name__, place=place_of(error))
            self._failed(fetch, f"internal error ({type(error).__name__})")

    def _work(self, attempt: Attempt) -> None:
        fetch = attempt.fetch
        if fetch.kind is FetchKind.COUNT:
            counted = instances.count(attempt)
            with self._database.transaction() as session:
                ended = fetches.record_count(session, fetch.id, counted, datetime.now(UTC))
        else:
            state, reason = instances.fetch_missing(attempt) if fetch.kind is FetchKind.MISSING else priors.search(attempt)
            ended, now = False, datetime.now(UTC)
            with self._database.transaction() as session:
                if state.is_final:
                    ended = fetches.finish(session, fetch.id, state, reason, now)
                else:
                    fetches.search_again(session, fetch.id, reason, now + self._configuration.node.fetch.retry_max, now)
        if ended:
            with self._database.transaction() as session:
                done = fetches.get(session, fetch.id)
            self._note_end(done)

    def _failed(self, fetch: Fetch, reason: str) -> None:
        section, now = self._configuration.node.fetch, datetime.now(UTC)
        again = now + min(section.retry_first * 2 ** (fetch.attempt - 1), section.retry_max)
        last = fetch.attempt >= section.max_attempts
        with self._database.transaction() as session:
            if last:
                changed = fetches.finish(session, fetch.id, FetchState.FAILED, f"{reason} (attempt {fetch.attempt}, the last)", now)
            else:
                changed = fetches.postpone(session, fetch.id, reason, again, now)
        if changed:
            event = "fetch_failed" if last else "fetch_postponed"
            self._log.warning(event, fetch=fetch.id, kind=str(fetch.kind), study_uid=fetch.study_instance_uid, reason=reason)

    def _note_end(self, fetch: Fetch) -> None:
        self._log.info(
            "fetch_ended",
            fetch=fetch.id,
            kind=str(fetch.kind),
            study_uid=fetch.study_instance_uid,
            source=fetch.source,
            state=str(fetch.state),
            reason=fetch.reason,
        )
        self._news()


class FetchThread:
    """Runs `Fetching` beside the indexing of instances."""

    def __init__(self, work: Fetching) -> None:
        """Start."""
        self._work = work
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="fetching", daemon=True)
        self._thread.start()

    def look(self) -> None:
        """Look for new requests now."""
        self._work.look()

    def reconfigure(self, configuration: Configuration) -> None:
        """See `Fetching`."""
        self._work.reconfigure(configuration)

    def stop(self) -> None:
        """End soon; what is under way is broken off and taken up by the next start."""
        self._stopping.set()
        self._work.stop()
        self._thread.join(_LONGEST_GOODBYE_S)

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._work.wait(take_turn(lambda: self._work.turn(datetime.now(UTC))))
