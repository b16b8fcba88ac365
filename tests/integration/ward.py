"""Index, assembly and decisions by a clock that tests turn; optionally with a new intake at every turn, as after a kill."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom.dsutils import encode
from sqlmodel import Session

from dicom_node.config import Configuration
from dicom_node.domain.availability import Availability, AvailabilityNotice, AvailableInstance
from dicom_node.domain.durability import Durability
from dicom_node.domain.inquiries import CountAnswer, CountQuestion
from dicom_node.domain.instances import AssociationPeer
from dicom_node.domain.jobs import Job
from dicom_node.domain.routing import PriorSearch
from dicom_node.domain.rules import Rule
from dicom_node.jobs import queue
from dicom_node.pipeline.intake import AvailableModel, Intake
from dicom_node.pipeline.surroundings import Surroundings
from dicom_node.scp.door import Door, DoorSettings, InstanceKind
from dicom_node.scp.visits import VisitBook
from dicom_node.storage import Database, InstanceFiles, availability, queries, revisions
from dicom_node.storage.visits import RELEASED, STUDY, VisitFiles, visit_folder
from tests.unit.test_config import NODE, load

START = datetime(2024, 1, 1, tzinfo=UTC)
SOURCES = "query_sources:\n  - {name: archive, ae_title: ARCHIVE, host: 127.0.0.1, port: 4243}\n"
_names = itertools.count()


def at(second: float) -> datetime:
    return START + timedelta(seconds=second)


def rules(*sections: str) -> str:
    """Rules for chest CTs by their differences, as YAML flow; each names at least itself."""
    common = "match: {Modality: CT}, model: chest-ct-densitometry, send_to: [pacs]"
    return "rules:\n" + "".join(f"  - {{{section}{'' if 'match:' in section else ', ' + common}}}\n" for section in sections)


@dataclass
class Archive:
    """Says what a test told it, at the next look."""

    counts: dict[str, int | None] = field(default_factory=dict)
    asked: list[CountQuestion] = field(default_factory=list)
    _open: list[CountQuestion] = field(default_factory=list)

    def ask(self, session: Session, question: CountQuestion) -> None:
        self.asked.append(question)
        self._open.append(question)

    def answers(self, session: Session, now: datetime) -> Sequence[CountAnswer]:
        found, self._open = self._open, []
        return [CountAnswer(question, self.counts.get(question.study_instance_uid), now) for question in found]


@dataclass
class Priors:
    """Searches as a test says they stand; unless it does, they go on."""

    found: dict[str, PriorSearch] = field(default_factory=dict)

    def searches(self, session: Session, study_instance_uid: str, rules: Sequence[Rule], now: datetime) -> Sequence[PriorSearch]:
        return [
            self.found.get(slot.name, PriorSearch(rule.name, slot.name, (), False, "being fetched"))
            for rule in rules
            for slot in rule.inputs
            if slot.prior
        ]


@dataclass(frozen=True)
class Made:
    """A job, and when it was made."""

    second: float
    rule: str
    revision: int
    instances: int


class Ward:
    def __init__(self, folder: Path, database: Database, files: InstanceFiles, text: str, restarts: bool = False) -> None:
        self.configuration: Configuration = load(folder, NODE + SOURCES, text)
        self.database, self.files, self.restarts = database, files, restarts
        self.archive, self.priors = Archive(), Priors()
        self._door = Door(files, DoorSettings("test", Durability.NONE, min_free_bytes=0))
        self.book = VisitBook(files.run, "test", wanted=True)
        self.restart()

    def restart(self) -> None:
        surroundings = Surroundings(VisitFiles(self.files.run), self.archive, self.priors)
        models = {"chest-ct-densitometry": AvailableModel("1", "digest")}
        self.intake = Intake(self.configuration, self.database, self.files, models, surroundings)

    def receive(self, data_sets: Sequence[Dataset], second: float, calling: str = "PACS") -> None:
        """Take instances as if they had arrived then."""
        for ds in data_sets:
            content = encode(ds, is_implicit_vr=False, is_little_endian=True)
            assert content is not None
            syntax = ds.file_meta.TransferSyntaxUID if hasattr(ds, "file_meta") else ExplicitVRLittleEndian
            kind = InstanceKind(ds.SOPClassUID, ds.SOPInstanceUID, syntax)
            path = self._door.keep(AssociationPeer(calling, "AINODE", "127.0.0.1"), kind, [content])
            path.rename(path.with_name(f"{int(at(second).timestamp()) * 10**9 + next(_names):020d}{path.name[20:]}"))

    def leave(self, second: float, *studies: str, word: str = RELEASED) -> None:
        """Note a visit that ended then."""
        folder = visit_folder(self.files.run)
        folder.mkdir(exist_ok=True)
        lines = [f"{STUDY} {uid}\n" for uid in studies] + [f"{word} {int(at(second).timestamp()) * 10**9}\n"]
        (folder / f"test.{os.getpid()}-{next(_names)}").write_text("".join(lines))

    def announce(self, data_sets: Sequence[Dataset], second: float, what: Availability = Availability.ONLINE) -> None:
        series = data_sets[0].SeriesInstanceUID
        instances = tuple(AvailableInstance(series, ds.SOPClassUID, ds.SOPInstanceUID, what, "PACS") for ds in data_sets)
        peer = AssociationPeer("PACS", "AINODE", "127.0.0.1")
        notice = AvailabilityNotice(f"1.9.{next(_names)}", peer, at(second), data_sets[0].StudyInstanceUID, instances)
        with self.database.transaction() as session:
            availability.record_notice(session, notice)

    def turn(self, second: float) -> list[Made]:
        """What the pipeline's loop does once."""
        if self.restarts:
            self.restart()
        self.intake.index_pending(lambda: True)
        if self.restarts:
            self.restart()
        made = self.intake.close_due(at(second))
        with self.database.transaction() as session:
            jobs = [job for job_id in made if (job := queue.get(session, job_id))]
        return [Made(second, job.key.rule, job.key.revision, len(job.inputs[0].sop_instance_uids)) for job in jobs]

    def turns(self, *seconds: float) -> list[Made]:
        return [made for second in seconds for made in self.turn(second)]

    def by_hand(self, study: str, second: float, rule: str = "", *, even_held: bool = False) -> list[Made]:
        with self.database.transaction() as session:
            revisions.ask_run(session, study, rule, at(second), even_held=even_held)
        return self.turn(second)

    def jobs(self) -> list[Job]:
        with self.database.transaction() as session:
            return [job for job_id in sorted(queries.job_ids(session, 100)) if (job := queue.get(session, job_id))]

    def study(self, uid: str) -> queries.StudySummary:
        with self.database.transaction() as session:
            [found] = queries.studies(session, 1, uid)
        return found

    def waits(self, uid: str) -> dict[str, str]:
        return {wait["rule"]: wait["reason"] for wait in self.study(uid).waits}

    def outcomes(self, uid: str) -> list[dict[str, str]]:
        """Per revision, what each rule did."""
        with self.database.transaction() as session:
            return [{t["rule"]: t["outcome"] for t in r.traces} for r in queries.revisions(session, uid)]

    def reasons(self, uid: str) -> dict[str, str]:
        """On the last revision, why each rule did what it did."""
        with self.database.transaction() as session:
            return {t["rule"]: t["reason"] for t in queries.revisions(session, uid)[-1].traces}
