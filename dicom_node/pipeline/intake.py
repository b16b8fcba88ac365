"""From acknowledged files to jobs: index, assemble, route."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from sqlmodel import Session

from dicom_node.assembly import Due
from dicom_node.config import Configuration
from dicom_node.domain.routing import PriorSearch
from dicom_node.domain.studies import ClosedBecause, StudyState
from dicom_node.errors import StorageError, StudyError
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.pipeline.by_hand import due_by_hand
from dicom_node.pipeline.closing import AvailableModel, Closing, Decided, Occasion
from dicom_node.pipeline.headers import received_instance
from dicom_node.pipeline.surroundings import Surroundings, through_the_database
from dicom_node.pipeline.waiting import WaitingStudies
from dicom_node.storage import Database, InstanceFiles, index, revisions
from dicom_node.storage.revisions import RunRequest
from dicom_node.storage.visits import VisitFiles

__all__ = ["AvailableModel", "Intake"]

_BATCH = 200


class Intake:
    """Indexes what arrived, lets rules decide whose time has come, and turns decisions into jobs.

    All state lies in the database and in `incoming/`; a new Intake goes on where a killed one stopped.
    """

    def __init__(
        self,
        configuration: Configuration,
        database: Database,
        files: InstanceFiles,
        models: Mapping[str, AvailableModel],
        surroundings: Surroundings | None = None,
    ) -> None:
        """Touch nothing yet: the first turn takes up the studies that wait in the database.

        Args:
            configuration: Rules and limits.
            database: With the newest schema.
            files: Instance store, prepared.
            models: By name.
            surroundings: What completion asks beside the study; None: visits, and archives by requests on record.
        """
        self._database = database
        self._files = files
        self._surroundings = surroundings or through_the_database(VisitFiles(files.run))
        self.reconfigure(configuration, models)
        self._hard_to_close: set[str] = set()
        self._unread: set[str] = set()
        self._log: Logger = get_logger()

    def reconfigure(self, configuration: Configuration, models: Mapping[str, AvailableModel]) -> None:
        """Use new rules from the next decision on."""
        self._configuration = configuration
        self._closing = Closing(configuration, models)
        self._waiting = WaitingStudies(configuration, self._surroundings)
        self._in_step = False

    def index_pending(self, keep_going: Callable[[], bool]) -> int:
        """Index everything acknowledged, in batches; returns how many files it took.

        A file that cannot be read now stays for the next turn and holds no other back.
        """
        taken = 0
        with self._kept_in_step():
            pending = self._files.pending()
            for start in range(0, len(pending), _BATCH):
                taken += self._index_batch(pending[start : start + _BATCH])
                if not keep_going():
                    break
        return taken

    def close_due(self, now: datetime) -> list[int]:
        """Let the rules decide that are due, and those that an operator wants to; returns the ids of the jobs created.

        A study that failed before comes last, so that it holds no other back.
        """
        created: list[int] = []
        with self._kept_in_step():
            with self._database.transaction() as session:
                requests = self._requests(session)
                self._waiting.look(session, now)
            wanted = [(due, None) for due in self._waiting.assembly.due(now)] + [(self._by_hand(r), r) for r in requests]
            for due, request in sorted(wanted, key=lambda w: w[0].study_instance_uid in self._hard_to_close):
                self._hard_to_close.add(due.study_instance_uid)
                created += self._decide(due, request, now)
                self._hard_to_close.discard(due.study_instance_uid)
        return created

    def next_deadline(self) -> datetime | None:
        """Say when a rule may be due next, or something is to be asked; None also after an error, until the next turn."""
        return self._waiting.assembly.next_deadline() if self._in_step else None

    @contextmanager
    def _kept_in_step(self) -> Iterator[None]:
        """Hold assembly and database together: after an error the next turn reads from the database which studies wait."""
        if not self._in_step:
            self._waiting = WaitingStudies(self._configuration, self._surroundings)
            with self._database.transaction() as session:
                self._waiting.take_up(session)
        self._in_step = False
        yield
        self._in_step = True

    def _index_batch(self, paths: list[Path]) -> int:
        instances, left = [], 0
        for path in paths:
            try:
                instances.append(received_instance(path))
            except StudyError as error:
                self._set_aside(path, error)
            except StorageError as error:
                left += 1
                self._let_wait(path, error)
        with self._database.transaction() as session:
            indexed = [index.index_instance(session, self._files, i) for i in instances]
            self._waiting.arrived(session, [i.instance for i in indexed if i.arrival is index.Arrival.NEW])
        for item in indexed:
            if item.target is None:
                self._files.drop(item.instance.path)
            else:
                self._files.move(item.instance.path, item.target)
            self._announce(item)
        return len(paths) - left

    def _announce(self, item: index.Indexed) -> None:
        uid = item.instance.study_instance_uid
        if item.arrival is index.Arrival.DIFFERS:
            self._log.warning(
                "duplicate_differs", study_uid=uid, sop_uid=item.instance.sop_instance_uid, calling_ae=item.instance.peer.calling_ae_title
            )
        elif item.arrival is index.Arrival.OWN_RESULT:
            self._log.info("own_result_received", study_uid=uid, calling_ae=item.instance.peer.calling_ae_title)

    def _let_wait(self, path: Path, error: StorageError) -> None:
        if path.name not in self._unread:
            self._unread.add(path.name)
            self._log.error("instance_waits", file=path.name, reason=str(error), hint=error.hint)

    def _set_aside(self, path: Path, error: StudyError) -> None:
        folder = self._files.set_aside(path)
        self._log.error("instance_unreadable", file=path.name, folder=str(folder), reason=str(error))

    def _requests(self, session: Session) -> list[RunRequest]:
        """List what operators asked for; a study or rule that is not there any more is told of and asked for no longer."""
        known = {rule.name for rule in self._configuration.rules} | {""}
        found = []
        for request in revisions.run_requests(session):
            if request.rule in known and revisions.is_known(session, request.study_instance_uid):
                found.append(request)
                continue
            revisions.grant(session, request)
            self._log.warning(
                "run_request_dropped", study_uid=request.study_instance_uid, rule=request.rule, reason="no such study or rule"
            )
        return found

    def _by_hand(self, request: RunRequest) -> Due:
        uid = request.study_instance_uid
        return due_by_hand(self._configuration, uid, request.rule, self._waiting.assembly.awaited(uid))

    def _decide(self, due: Due, request: RunRequest | None, now: datetime) -> list[int]:
        uid = due.study_instance_uid
        if request is not None:
            self._waiting.assembly.take(uid, [rule.rule for rule in due.rules])
        with self._database.transaction() as session:
            waiting = self._waiting.assembly.waiting(uid, now)
            occasion = Occasion(due, waiting, self._priors(session, due, now), even_held=request is not None and request.even_held)
            decided = self._closing.decide(session, occasion, now)
            if decided.state is StudyState.RECEIVING:
                self._waiting.decided(session, due, decided.still_wait, now)
            else:
                self._waiting.forget(session, uid)
            if request is not None:
                revisions.grant(session, request)
        self._tell(due, decided)
        return [job.id for job in decided.jobs]

    def _priors(self, session: Session, due: Due, now: datetime) -> list[PriorSearch]:
        """Return what was found for the rules that decide; one that decides incomplete or by hand waits for no search any more."""
        decides = {rule.rule: rule for rule in due.rules}
        wanting = [rule for rule in self._configuration.rules if rule.name in decides and any(slot.prior for slot in rule.inputs)]
        if not wanting:
            return []
        found = self._surroundings.priors.searches(session, due.study_instance_uid, wanting, now)
        patient = {n for n, rule in decides.items() if rule.complete and rule.because is not ClosedBecause.MANUAL}
        return [search if search.rule in patient else replace(search, finished=True) for search in found]

    def _tell(self, due: Due, decided: Decided) -> None:
        uid, revision = due.study_instance_uid, decided.study.revision
        if decided.state is StudyState.QUARANTINED:
            hint = "`studies show` lists its instances; correct the study at its source and send it again"
            self._log.warning("study_quarantined", study_uid=uid, revision=revision, reason=decided.reason, hint=hint)
        self._log.info(
            "study_closed" if decided.is_new_revision else "study_decided",
            study_uid=uid,
            revision=revision,
            because=str(due.rules[0].because),
            instances=sum(len(s.instances) for s in decided.study.series),
            held_by=decided.routing.held_by or "",
            rules=",".join(rule.rule for rule in due.rules if rule.rule),
            waiting=decided.state is StudyState.RECEIVING,
            jobs=",".join(str(job.id) for job in decided.jobs),
        )
