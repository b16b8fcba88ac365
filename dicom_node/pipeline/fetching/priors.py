"""Finding earlier studies of the patient, in the node and at a source, and fetching what is wanted of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from dicom_node.domain.fetches import FetchState, marked_as_prior
from dicom_node.domain.instances import AssociationPeer, Attributes
from dicom_node.domain.patients import first_value
from dicom_node.domain.rules import InputSlot
from dicom_node.errors import SourceError
from dicom_node.ops.logs import get_logger
from dicom_node.pipeline.fetching.attempt import Attempt
from dicom_node.pipeline.fetching.prior_match import Moment, Wanted, moment_of, wanted_prior
from dicom_node.scp.door import Door, Incoming, InstanceKind
from dicom_node.scp.query_retrieve.counts import Ask, instances_of_series
from dicom_node.scp.query_retrieve.query import FindQuery, QueryLevel
from dicom_node.scp.query_retrieve.retrieval import RetrieveRequest
from dicom_node.storage import fetched_studies, index
from dicom_node.storage.fetched_studies import FetchedStudy


class PriorDoor:
    """The door for priors: what comes through it is marked, so that the index opens no study for it."""

    def __init__(self, door: Door) -> None:
        """Mark what goes through a door."""
        self._door = door

    def begin(self, origin: AssociationPeer, kind: InstanceKind, /) -> Incoming:
        """Open an instance."""
        return self._door.begin(marked_as_prior(origin), kind)


@dataclass(frozen=True, slots=True)
class _Candidate:
    study_instance_uid: str
    moment: Moment
    at_source: bool = False


@dataclass(frozen=True, slots=True)
class _WantedSeries:
    series_instance_uid: str
    instances: int


def search(attempt: Attempt) -> tuple[FetchState, str]:
    """Look for the newest earlier studies that fit, and fetch what the node lacks of them.

    Studies in the node come first only in the sense that nothing is fetched of them; which are taken goes by their date. While the
    source does not answer, those in the node are taken provisionally, so that a rule whose time is over has them.

    Raises:
        SourceError: try again.
    """
    slot = _slot(attempt)
    if slot is None:
        return FetchState.FAILED, "the rule or its input is no longer there"
    with attempt.database.transaction() as session:
        study = index.load_present_study(session, attempt.fetch.study_instance_uid)
        patients = index.patients(session, attempt.fetch.study_instance_uid)
    if len(patients) != 1:
        return FetchState.FAILED, "the study mixes patients"
    [patient] = patients
    if not patient.is_known or attempt.fetch.prior is None:
        return FetchState.DONE, "the study has no Patient ID to search by"
    wanted = wanted_prior(study, patient, slot, attempt.fetch.prior)
    if wanted is None:
        return FetchState.DONE, "the study has no Study Date that a prior could be before"
    return FetchState.DONE, _Search(attempt, wanted).run(attempt.fetch.prior.most)


def _slot(attempt: Attempt) -> InputSlot | None:
    rules = [rule for rule in attempt.around.configuration.rules if rule.name == attempt.fetch.rule]
    return next((slot for rule in rules for slot in rule.inputs if slot.name == attempt.fetch.input and slot.prior), None)


class _Search:
    """One attempt's way through the candidates."""

    def __init__(self, attempt: Attempt, wanted: Wanted) -> None:
        self._attempt = attempt
        self._wanted = wanted
        self._fetched = 0
        self._log = get_logger()

    def run(self, most: int) -> str:
        local = self._in_node()
        try:
            at_source = self._at_source() if self._attempt.fetch.source else []
        except SourceError:
            self._take_newest(local, most)
            raise
        known = {c.study_instance_uid: c for c in local}
        for candidate in at_source:
            before = known.get(candidate.study_instance_uid, candidate)
            known[candidate.study_instance_uid] = replace(before, at_source=True)
        taken, refused = self._take_newest(list(known.values()), most)
        return self._in_words(taken, refused)

    def _take_newest(self, candidates: Sequence[_Candidate], most: int) -> tuple[list[str], list[str]]:
        """Take the newest that fit; returns their UIDs, and why others were not taken."""
        taken: list[str] = []
        refused: list[str] = []
        for candidate in sorted(candidates, key=lambda c: (c.moment, c.study_instance_uid), reverse=True):
            if len(taken) == most:
                break
            problem = self._take(candidate)
            self._settle(candidate.study_instance_uid, problem)
            if problem:
                refused.append(problem)
            else:
                taken.append(candidate.study_instance_uid)
        self._drop_others(taken)
        return taken, refused

    def _in_node(self) -> list[_Candidate]:
        wanted, current = self._wanted, self._attempt.fetch.study_instance_uid
        found: list[_Candidate] = []
        with self._attempt.database.transaction() as session:
            for uid in fetched_studies.studies_of_patient(session, wanted.patient, wanted.first_date, wanted.moment[0]):
                study = index.load_present_study(session, uid)
                header = next((i.attributes for s in study.series for i in s.instances), {})
                if uid != current and wanted.is_earlier(moment_of(header)):
                    found.append(_Candidate(uid, moment_of(header)))
        return found

    def _at_source(self) -> list[_Candidate]:
        """Ask by Patient ID, issuer if there is one, and dates."""
        wanted, current = self._wanted, self._attempt.fetch.study_instance_uid
        keys = {"PatientID": wanted.patient.patient_id, "StudyDate": f"{wanted.first_date}-{wanted.moment[0]}"}
        if wanted.patient.issuer:
            keys["IssuerOfPatientID"] = wanted.patient.issuer
        with self._attempt.archive().asking() as ask:
            matches = ask(FindQuery(QueryLevel.STUDY, keys, wanted.study_keys()))
        return [
            _Candidate(first_value(match, "StudyInstanceUID"), moment_of(match), at_source=True)
            for match in matches
            if wanted.is_patients(match)
            and wanted.may_fit(match)
            and wanted.is_earlier(moment_of(match))
            and first_value(match, "StudyInstanceUID") not in ("", current)
        ]

    def _take(self, candidate: _Candidate) -> str:
        """Make a study whole as far as the input needs it; returns why it is not the prior, or nothing."""
        uid = candidate.study_instance_uid
        with self._attempt.database.transaction() as session:
            is_whole = fetched_studies.is_whole(session, uid)
        problem = self._misfit(uid) if is_whole else "it is not whole"
        if problem and candidate.at_source:
            problem = self._fetch(uid) or self._misfit(uid)
        return problem

    def _misfit(self, uid: str) -> str:
        with self._attempt.database.transaction() as session:
            patients, study = index.patients(session, uid), index.load_present_study(session, uid)
        if not study.series:
            return "nothing of it came"
        if patients != {self._wanted.patient}:
            self._log.warning("prior_of_another_patient", study_uid=uid, fetch=self._attempt.fetch.id)
            return "it is another patient's by its headers"
        return self._wanted.misfit(study)

    def _fetch(self, uid: str) -> str:
        """Fetch the series that can fit; returns why none can, or nothing."""
        archive = self._attempt.archive()
        with archive.asking() as ask:
            series = self._series_at(ask, uid)
        if not series:
            return "no series of it can meet the input"
        lacking = self._lacking(uid, series)
        number = sum(s.instances for s in lacking)
        most = self._attempt.around.configuration.node.fetch.max_instances
        if self._fetched + number > most:
            return f"it has {number} instances to be fetched, and fetch.max_instances allows {most - self._fetched} more"
        if lacking:
            uids = tuple(s.series_instance_uid for s in lacking)
            with self._attempt.database.transaction() as session:
                fetched_studies.begin(session, self._attempt.fetch.id, uid, uids, archive.moves_from)
            self._fetched += number
            self._attempt.retrieve(archive, RetrieveRequest(uid, uids), PriorDoor(self._attempt.around.door))
        self._attempt.wait_until_indexed()
        return ""

    def _series_at(self, ask: Ask, uid: str) -> list[_WantedSeries]:
        matches: Sequence[Attributes] = ask(FindQuery(QueryLevel.SERIES, {"StudyInstanceUID": uid}, self._wanted.series_keys()))
        return [
            _WantedSeries(first_value(match, "SeriesInstanceUID"), instances_of_series(ask, uid, match))
            for match in matches
            if self._wanted.may_fit(match)
        ]

    def _lacking(self, uid: str, series: Sequence[_WantedSeries]) -> list[_WantedSeries]:
        with self._attempt.database.transaction() as session:
            here = index.instances_by_series(session, uid)
        return [s for s in series if here.get(s.series_instance_uid, 0) < s.instances]

    def _settle(self, uid: str, problem: str) -> None:
        study = FetchedStudy(uid, taken=not problem, reason=problem)
        with self._attempt.database.transaction() as session:
            if fetched_studies.is_wanted_now(session, self._attempt.fetch.id):
                fetched_studies.settle(session, self._attempt.fetch.id, study, datetime.now(UTC))

    def _drop_others(self, taken: Sequence[str]) -> None:
        """Give up what an earlier attempt took and this one did not, as newer studies were found."""
        with self._attempt.database.transaction() as session:
            before = fetched_studies.of_request(session, self._attempt.fetch.id)
        for study in before:
            if study.taken and study.study_instance_uid not in taken:
                self._settle(study.study_instance_uid, "newer studies were found")

    def _in_words(self, taken: Sequence[str], refused: Sequence[str]) -> str:
        looked_at = f"; not taken: {', '.join(sorted(set(refused)))}" if refused else ""
        if taken:
            return f"{len(taken)} earlier study(ies) found{looked_at}"
        return f"no earlier study fits{looked_at}" if refused else "no earlier study of the patient was found"
