"""From acknowledged files to jobs: index, assemble, route."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from dicom_node.assembly import Assembly, combined_condition
from dicom_node.config import Configuration
from dicom_node.domain.instances import Attributes
from dicom_node.domain.jobs import JobKey
from dicom_node.domain.routing import Routing
from dicom_node.domain.studies import ClosedBecause, Study
from dicom_node.errors import StorageError, StudyError
from dicom_node.jobs import queue
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.pipeline.headers import received_instance
from dicom_node.routing import decide
from dicom_node.storage import Database, InstanceFiles, index
from dicom_node.storage.tables import RevisionRow

_BATCH = 200


@dataclass(frozen=True, slots=True)
class AvailableModel:
    """What routing needs to know of a model bundle."""

    version: str
    digest: str


class Intake:
    """Indexes what arrived, closes studies whose time has come, and turns decisions into jobs.

    All state lies in the database and in `incoming/`; a new Intake goes on where a killed one stopped.
    """

    def __init__(
        self, configuration: Configuration, database: Database, files: InstanceFiles, models: Mapping[str, AvailableModel]
    ) -> None:
        """Touch nothing yet: the first turn takes up the studies that wait in the database."""
        self._configuration = configuration
        self._models = models
        self._database = database
        self._files = files
        self._assembly = Assembly()
        self._in_step = False
        self._hard_to_close: set[str] = set()
        self._waiting: set[str] = set()
        self._log: Logger = get_logger()

    def reconfigure(self, configuration: Configuration, models: Mapping[str, AvailableModel]) -> None:
        """Use new rules from the next decision on."""
        self._configuration, self._models = configuration, models

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
        """Close the studies that are complete and create their jobs; returns the jobs' ids.

        A study that failed before comes last, so that it holds no other back.
        """
        created: list[int] = []
        with self._kept_in_step():
            for uid, because in sorted(self._assembly.due(now), key=lambda due: due[0] in self._hard_to_close):
                self._hard_to_close.add(uid)
                created += self._close(uid, because, now)
                self._hard_to_close.discard(uid)
        return created

    def next_deadline(self) -> datetime | None:
        """Say when the next study may become complete."""
        return self._assembly.next_deadline()

    @contextmanager
    def _kept_in_step(self) -> Iterator[None]:
        """Hold assembly and database together: after an error the next turn reads from the database which studies wait."""
        if not self._in_step:
            self._take_up()
        self._in_step = False
        yield
        self._in_step = True

    def _take_up(self) -> None:
        assembly = self._assembly = Assembly()
        with self._database.transaction() as session:
            for study in index.open_studies(session):
                assembly.received(study.study_instance_uid, study.first_at)
                assembly.received(study.study_instance_uid, study.last_at)
                self._set_condition(study.study_instance_uid, index.header_sets(session, study.study_instance_uid))

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
            touched = {i.instance.study_instance_uid for i in indexed if i.arrival is index.Arrival.NEW}
            headers = {uid: index.header_sets(session, uid) for uid in touched}
        for item in indexed:
            if item.target is None:
                self._files.drop(item.instance.path)
            else:
                self._files.move(item.instance.path, item.target)
            self._announce(item)
        for uid, sets in headers.items():
            self._set_condition(uid, sets)
        return len(paths) - left

    def _announce(self, item: index.Indexed) -> None:
        uid = item.instance.study_instance_uid
        if item.arrival is index.Arrival.NEW:
            self._assembly.received(uid, item.instance.received_at)
        elif item.arrival is index.Arrival.DIFFERS:
            self._log.warning(
                "duplicate_differs", study_uid=uid, sop_uid=item.instance.sop_instance_uid, calling_ae=item.instance.peer.calling_ae_title
            )
        elif item.arrival is index.Arrival.OWN_RESULT:
            self._log.info("own_result_received", study_uid=uid, calling_ae=item.instance.peer.calling_ae_title)

    def _set_condition(self, study_instance_uid: str, headers: list[Attributes]) -> None:
        condition = combined_condition(self._configuration.rules, headers, self._configuration.complete_when)
        self._assembly.set_condition(study_instance_uid, condition)

    def _let_wait(self, path: Path, error: StorageError) -> None:
        if path.name not in self._waiting:
            self._waiting.add(path.name)
            self._log.error("instance_waits", file=path.name, reason=str(error), hint=error.hint)

    def _set_aside(self, path: Path, error: StudyError) -> None:
        folder = self._files.set_aside(path)
        self._log.error("instance_unreadable", file=path.name, folder=str(folder), reason=str(error))

    def _close(self, study_instance_uid: str, because: ClosedBecause, now: datetime) -> list[int]:
        with self._database.transaction() as session:
            study = index.freeze(session, study_instance_uid, now, because)
            routing = decide(self._configuration.rules, study)
            index.record_revision(session, study, self._record(study, routing))
            jobs = [queue.create(session, new, now) for new in self._new_jobs(study, routing)]
        created = [job for job in jobs if job is not None]
        self._log.info(
            "study_closed",
            study_uid=study_instance_uid,
            revision=study.revision,
            because=str(because),
            instances=sum(len(s.instances) for s in study.series),
            held_by=routing.held_by or "",
            jobs=",".join(str(job.id) for job in created),
        )
        return [job.id for job in created]

    def _record(self, study: Study, routing: Routing) -> RevisionRow:
        return RevisionRow(
            study_id=0,
            revision=study.revision,
            closed_at=study.closed_at,
            closed_because=study.closed_because,
            rules_digest=self._configuration.rules_digest,
            held_by=routing.held_by,
            traces=[asdict(trace) for trace in routing.traces],
        )

    def _new_jobs(self, study: Study, routing: Routing) -> list[queue.NewJob]:
        return [
            queue.NewJob(
                JobKey(study.study_instance_uid, study.revision, decision.rule, self._models[decision.model].digest),
                decision,
                self._models[decision.model].version,
                self._configuration.workers.max_attempts,
            )
            for decision in routing.decisions
        ]
