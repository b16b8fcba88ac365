"""What the assembly is told: from files' headers, database, visits, archives."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlmodel import Session

from dicom_node.assembly import NOBODY, Announced, Assembly, Candidates, Due, Holdings, InputsQuestion
from dicom_node.config import Configuration
from dicom_node.domain.availability import Availability
from dicom_node.domain.instances import ReceivedInstance
from dicom_node.domain.routing import PriorSearch
from dicom_node.domain.rules import OnLate, OnMissing, Rule
from dicom_node.pipeline.surroundings import Surroundings
from dicom_node.routing import missing_inputs, patients_agree
from dicom_node.storage import availability, index, revisions

_WAITS_FOR_RESULT = "a prior or a later series"


class WaitingStudies:
    """An assembly in step with the database; made anew, it takes up where another was."""

    def __init__(self, configuration: Configuration, surroundings: Surroundings) -> None:
        """Know of no study before `take_up`."""
        self.assembly = Assembly(configuration.rules, configuration.waits)
        self._rules = {rule.name: rule for rule in configuration.rules}
        self._candidates = Candidates(configuration.rules)
        self._surroundings = surroundings
        self._holdings: dict[str, Holdings] = {}
        self._unheeding: dict[str, frozenset[str]] = {}
        self._announced: dict[str, _Announcement] = {}
        self._stuck: dict[tuple[str, str], Sequence[PriorSearch]] = {}
        self._written: dict[str, list[dict[str, str]]] = {}

    def take_up(self, session: Session) -> None:
        """Read which studies wait, and for what."""
        for uid in revisions.waiting_studies(session):
            self._take_up_study(session, uid)

    def arrived(self, session: Session, instances: Iterable[ReceivedInstance]) -> None:
        """Tell of new instances, in the transaction that indexed them."""
        instances = list(instances)
        waiting = set(revisions.waiting_studies(session, {i.study_instance_uid for i in instances}))
        known = {uid for uid in waiting if self.assembly.knows(uid)}
        for instance in instances:
            uid = instance.study_instance_uid
            if uid in known:
                self._add(instance)
        for uid in waiting:
            if uid not in known:
                self._take_up_study(session, uid)
            self._describe(uid)

    def look(self, session: Session, now: datetime) -> None:
        """Find out what else completes a study; asks archives, and takes their answers."""
        self._look_at_visits(session, now)
        if any(rule.complete_when.availability for rule in self._rules.values()):
            self._look_at_notices(session, now)
        self._look_for_priors(session, now)
        for question in self.assembly.questions(now):
            if isinstance(question, InputsQuestion):
                self.assembly.inputs_seen(question, self._missing_inputs(session, question, now))
            else:
                self._surroundings.counts.ask(session, question)
        for answer in self._surroundings.counts.answers(session, now):
            self.assembly.counted(answer)
        for uid in self._known():
            self._write_waits(session, uid, now)

    def decided(self, session: Session, due: Due, undecided: Iterable[str], now: datetime) -> None:
        """Tell what came of a decision, in its transaction.

        Args:
            session: Open transaction.
            due: What was decided.
            undecided: Rules of it that still wait, such as for a prior.
            now: UTC.
        """
        uid = due.study_instance_uid
        if uid not in self._holdings:
            self._take_up_study(session, uid)
        self._unheeding[uid] = self._ignoring(session, uid)
        self._describe(uid)
        for rule in undecided:
            self._catch_up(session, uid, rule)
            self._stuck[uid, rule] = self._searches(session, uid, [rule], now)
            self.assembly.block(uid, rule, _WAITS_FOR_RESULT)
        self._write_waits(session, uid, now)

    def forget(self, session: Session, uid: str) -> None:
        """Wait for a study no longer, in the transaction that says so."""
        self.assembly.forget(uid)
        self._holdings.pop(uid, None)
        self._unheeding.pop(uid, None)
        self._announced.pop(uid, None)
        self._stuck = {key: searches for key, searches in self._stuck.items() if key[0] != uid}
        if self._written.pop(uid, None) or revisions.study_row(session, uid).waits:
            revisions.set_waits(session, uid, [])

    def _known(self) -> list[str]:
        return list(self._holdings)

    def _take_up_study(self, session: Session, uid: str) -> None:
        holdings = self._holdings[uid] = Holdings()
        for attributes, calling, called in revisions.headers(session, uid):
            self._candidates.add(holdings, attributes, calling, called)
        for arrived in revisions.arrivals(session, uid):
            if arrived.revision is None:
                self.assembly.received(uid, arrived.first_at, arrived.instances - 1)
                self.assembly.received(uid, arrived.last_at)
            else:
                self.assembly.known_before(uid, arrived.last_at, arrived.instances)
        self._unheeding[uid] = self._ignoring(session, uid)
        self._describe(uid)
        for rule in self._waiting_rules(uid):
            self._catch_up(session, uid, rule)

    def _add(self, instance: ReceivedInstance) -> None:
        uid = instance.study_instance_uid
        self._candidates.add(self._holdings[uid], instance.attributes, instance.peer.calling_ae_title, instance.peer.called_ae_title)
        self.assembly.received(uid, instance.received_at)
        for key in [key for key in self._stuck if key[0] == uid]:
            self.assembly.block(*key, "")
            del self._stuck[key]
        if uid in self._announced:
            self._announced[uid].missing.discard(instance.sop_instance_uid)

    def _describe(self, uid: str) -> None:
        self.assembly.describe(uid, self._waiting_rules(uid), self._holdings[uid].modalities)

    def _waiting_rules(self, uid: str) -> frozenset[str]:
        return self._candidates.of(self._holdings[uid]) - self._unheeding.get(uid, frozenset())

    def _ignoring(self, session: Session, uid: str) -> frozenset[str]:
        """Name the rules that have run and ignore what comes late: what they would wait for changes nothing."""
        histories = revisions.histories(session, uid)
        return frozenset(n for n, h in histories.items() if h.ran_on and n in self._rules and self._rules[n].on_late is OnLate.IGNORE)

    def _catch_up(self, session: Session, uid: str, rule: str) -> None:
        """Let a rule wait for what it has not decided on, though it lies in a revision."""
        history = revisions.histories(session, uid).get(rule)
        if history is None:
            return
        undecided = [a.first_at for a in revisions.arrivals(session, uid) if a.revision is None or a.revision > history.decided_on]
        if undecided:
            self.assembly.undecided(uid, rule, min(undecided))

    def _missing_inputs(self, session: Session, question: InputsQuestion, now: datetime) -> str:
        """Say what is missing; empty: nothing, or the study mixes patients, for which nobody needs to wait."""
        rule = self._rules[question.rule]
        study = index.study_so_far(session, question.study_instance_uid, now)
        missing = missing_inputs([rule], study).get(rule.name, "no instance meets the rule's conditions")
        return "" if patients_agree(study) else missing

    def _look_at_visits(self, session: Session, now: datetime) -> None:
        """Tell of visits; one that ended, and that no study waits to know of, is forgotten."""
        visits = self._surroundings.visits.look()
        self.assembly.visited(visits)
        ended = [v for v in visits if v.ended_at is not None and v.ended_at < now]
        if ended:
            waiting = set(revisions.waiting_studies(session, {uid for v in ended for uid in v.study_instance_uids}))
            for visit in ended:
                if not visit.study_instance_uids & waiting:
                    self._surroundings.visits.remove(visit)

    def _look_at_notices(self, session: Session, now: datetime) -> None:
        newest = availability.newest_notice(session)
        for uid in self._known():
            if not any(name != NOBODY and self._rules[name].complete_when.availability for name in self.assembly.awaited(uid)):
                continue
            told = self._announced.get(uid)
            if told is None or told.newest_notice != newest:
                told = self._announced[uid] = _announcement(session, uid, newest)
            if told.instances:
                self.assembly.announced(uid, Announced(told.instances, told.instances - len(told.missing), now))

    def _look_for_priors(self, session: Session, now: datetime) -> None:
        for uid in self._known():
            wanting = [n for n in self.assembly.awaited(uid) if n != NOBODY and any(slot.prior for slot in self._rules[n].inputs)]
            if not wanting:
                continue
            searches = self._searches(session, uid, wanting, now)
            for name in wanting:
                own = [search for search in searches if search.rule == name]
                stuck = self._stuck.get((uid, name))
                if stuck is not None and list(stuck) == own:
                    continue
                self._stuck.pop((uid, name), None)
                self.assembly.block(uid, name, self._missing_prior(self._rules[name], own))

    def _searches(self, session: Session, uid: str, names: Sequence[str], now: datetime) -> Sequence[PriorSearch]:
        rules = [self._rules[n] for n in names if any(slot.prior for slot in self._rules[n].inputs)]
        return list(self._surroundings.priors.searches(session, uid, rules, now)) if rules else []

    @staticmethod
    def _missing_prior(rule: Rule, searches: Sequence[PriorSearch]) -> str:
        slots = {slot.name: slot for slot in rule.inputs}
        for search in searches:
            prior = slots[search.input].prior
            if not search.finished or (prior and prior.on_missing is OnMissing.WAIT and not search.studies):
                return f"prior {search.input}: {search.reason}"
        return ""

    def _write_waits(self, session: Session, uid: str, now: datetime) -> None:
        waits = [
            {"rule": waiting.rule, "reason": waiting.reason, "until": waiting.until.isoformat()}
            for waiting in self.assembly.waiting(uid, now)
        ]
        if self._written.get(uid) != waits:
            revisions.set_waits(session, uid, waits)
            self._written[uid] = waits


@dataclass(slots=True)
class _Announcement:
    newest_notice: int
    instances: int
    missing: set[str]


def _announcement(session: Session, uid: str, newest_notice: int) -> _Announcement:
    wanted = {a.sop_instance_uid for a in availability.announced_instances(session, uid) if a.availability is not Availability.UNAVAILABLE}
    return _Announcement(newest_notice, len(wanted), wanted - availability.arrived_instances(session, uid))
