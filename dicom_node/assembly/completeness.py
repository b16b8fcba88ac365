"""The completeness state machine: which rule waits for which study, and when it decides.

Rules:
1. Each rule waits for a study by its own `complete_when`; when it is due does not depend on which other rules there are.
2. A study that no rule waits for is waited for by nobody's name, by the waits of its modalities.
3. A rule that was due waits no longer; the next instance of the study makes it wait anew.
4. No clock here: `now` comes in. The order in which arrivals are told does not matter, only their times.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from dicom_node.assembly.signals import (
    Announced,
    RuleFacts,
    StudyFacts,
    Verdict,
    asks_archive_at,
    asks_inputs_at,
    outstanding,
    verdict,
)
from dicom_node.domain.inquiries import CountAnswer, CountQuestion
from dicom_node.domain.rules import CompleteWhen, Rule
from dicom_node.domain.studies import ClosedBecause
from dicom_node.domain.visits import Visit
from dicom_node.domain.waits import DEFAULT_WAITS, Wait, wait_for

NOBODY = ""
"""Stands for the rule where no rule waits."""


@dataclass(frozen=True, slots=True)
class DueRule:
    """A rule that decides now.

    Attributes:
        rule: Name, or `NOBODY`.
        complete: The conditions of `complete_when` are met; False after the longest wait.
        reason: What completed it or what is missing; no patient data.
    """

    rule: str
    because: ClosedBecause
    complete: bool
    reason: str


@dataclass(frozen=True, slots=True)
class Due:
    """A study for which at least one rule decides now; `rules` begins with the one that was due first."""

    study_instance_uid: str
    rules: tuple[DueRule, ...]


@dataclass(frozen=True, slots=True)
class InputsQuestion:
    """Are all inputs of the rule among the study's instances so far?"""

    study_instance_uid: str
    rule: str


@dataclass(frozen=True, slots=True)
class Waiting:
    """What a rule waits for, and until when at the latest.

    Attributes:
        rule: Name, or `NOBODY`.
        until: It decides then, if nothing changes.
    """

    rule: str
    reason: str
    until: datetime


@dataclass(slots=True)
class _Study:
    facts: StudyFacts
    first_at: datetime | None = None  # since a rule decided last
    rules: frozenset[str] = frozenset()
    modalities: frozenset[str] = frozenset()
    waits: dict[str, RuleFacts] = field(default_factory=dict)


class Assembly:
    """Studies that wait, and the rules that wait for them."""

    def __init__(self, rules: Iterable[Rule] = (), waits: Mapping[str, Wait] = DEFAULT_WAITS) -> None:
        """Start with no study.

        Args:
            rules: Whose `complete_when` counts.
            waits: By modality, for what a rule leaves open.
        """
        self._conditions = {rule.name: rule.complete_when for rule in rules} | {NOBODY: CompleteWhen()}
        self._by_modality = waits
        self._studies: dict[str, _Study] = {}
        self._visits: dict[str, dict[str, Visit]] = {}

    # events

    def received(self, study_instance_uid: str, at: datetime, instances: int = 1) -> None:
        """Tell that instances of a study arrived; the first starts its waits."""
        study = self._studies.setdefault(study_instance_uid, self._new(study_instance_uid, at))
        study.facts.instances += instances
        study.facts.last_at = max(study.facts.last_at, at)
        study.first_at = min(study.first_at or at, at)
        for rule in study.waits.values():
            rule.first_at = min(rule.first_at, at)
        self._open(study)

    def known_before(self, study_instance_uid: str, last_at: datetime, instances: int) -> None:
        """Tell of instances on which every rule has decided that no `undecided` names."""
        study = self._studies.setdefault(study_instance_uid, self._new(study_instance_uid, last_at))
        study.facts.instances += instances
        study.facts.last_at = max(study.facts.last_at, last_at)

    def undecided(self, study_instance_uid: str, rule: str, first_at: datetime) -> None:
        """Tell that a rule has not decided on instances that arrived since then, though others may have."""
        facts = self._studies[study_instance_uid].waits.setdefault(rule, RuleFacts(first_at))
        facts.first_at = min(facts.first_at, first_at)

    def describe(self, study_instance_uid: str, rules: Collection[str], modalities: Collection[str]) -> None:
        """Say which rules wait for a study, by what it holds so far, and what was acquired."""
        study = self._studies[study_instance_uid]
        study.rules, study.modalities = frozenset(rules), frozenset(modalities)
        if study.rules:
            study.waits.pop(NOBODY, None)
        self._open(study)

    def visited(self, visits: Iterable[Visit]) -> None:
        """Tell of every visit that is open or of which a waiting study may still want to know; replaces what was told before."""
        self._visits = {}
        for visit in visits:
            for uid in visit.study_instance_uids:
                self._visits.setdefault(uid, {})[visit.name] = visit
        for uid, study in self._studies.items():
            study.facts.visits = self._visits.get(uid, {})

    def announced(self, study_instance_uid: str, announced: Announced) -> None:
        """Tell how many instances are announced and how many of these have arrived."""
        if study := self._studies.get(study_instance_uid):
            before = study.facts.announced
            if before is None or (before.instances, before.arrived) != (announced.instances, announced.arrived):
                study.facts.announced = announced

    def inputs_seen(self, question: InputsQuestion, missing: str) -> None:
        """Answer a question about inputs: what is missing; empty if nothing is. The answer is of this moment."""
        if facts := self._facts(question.study_instance_uid, question.rule):
            facts.inputs_for, facts.inputs_missing = self._studies[question.study_instance_uid].facts.instances, missing

    def counted(self, answer: CountAnswer) -> None:
        """Answer a question to an archive; an archive that does not know leaves what it said before."""
        facts = self._facts(answer.question.study_instance_uid, answer.question.rule)
        if facts and answer.instances is not None and facts.asked_at is not None and answer.question.asked_at >= facts.first_at:
            facts.expected, facts.answered_at = answer.instances, answer.answered_at

    def block(self, study_instance_uid: str, rule: str, reason: str) -> None:
        """Say what else a rule waits for; an empty reason ends that. Only its longest wait goes on meanwhile."""
        if facts := self._facts(study_instance_uid, rule):
            facts.blocked = reason

    def forget(self, study_instance_uid: str) -> None:
        """Drop all that was told of a study: no rule waits for it, or none shall."""
        self._studies.pop(study_instance_uid, None)

    # what follows

    def questions(self, now: datetime) -> list[InputsQuestion | CountQuestion]:
        """List what is to be found out now; a question to an archive is not listed again before its pause is over."""
        asked: list[InputsQuestion | CountQuestion] = []
        for uid, name, study, rule in self._each():
            condition, wait = self._conditions[name], self._wait(name, study)
            inputs_at = asks_inputs_at(condition, wait, study.facts, rule)
            if inputs_at is not None and inputs_at <= now:
                asked.append(InputsQuestion(uid, name))
            archive_at = asks_archive_at(condition, wait, study.facts, rule)
            if archive_at is not None and archive_at <= now:
                rule.times_asked = rule.times_asked + 1 if rule.asked_for == study.facts.instances else 1
                rule.asked_at, rule.asked_for = now, study.facts.instances
                source = condition.expected_count or condition.fetch_missing
                asked.append(CountQuestion(uid, name, source, condition.fetch_missing, study.facts.instances, now))
        return asked

    def due(self, now: datetime) -> list[Due]:
        """Return the studies for which a rule decides, the longest due first; those rules wait no longer."""
        found: list[tuple[datetime, Due]] = []
        for uid, study in list(self._studies.items()):
            verdicts = sorted((v.at, name, v) for name, rule in study.waits.items() if (v := self._verdict(name, study, rule)).at <= now)
            if verdicts:
                rules = tuple(DueRule(name, v.because, v.complete, v.reason) for _, name, v in verdicts)
                self.take(uid, [rule.rule for rule in rules])
                found.append((verdicts[0][0], Due(uid, rules)))
        return [due for _, due in sorted(found, key=lambda item: (item[0], item[1].study_instance_uid))]

    def take(self, study_instance_uid: str, rules: Iterable[str] | None = None) -> list[str]:
        """Let rules decide now, or all that wait; returns which waited."""
        study = self._studies.get(study_instance_uid)
        if study is None:
            return []
        taken = sorted(study.waits if rules is None else set(rules) & study.waits.keys())
        for name in taken:
            del study.waits[name]
        study.first_at = None  # what was pending is in a revision from now on
        return taken

    def next_deadline(self) -> datetime | None:
        """Return when the next rule may decide or the next question is due, or None."""
        times: list[datetime | None] = []
        for _, name, study, rule in self._each():
            condition, wait = self._conditions[name], self._wait(name, study)
            times.append(verdict(condition, wait, study.facts, rule).at)
            times.append(asks_inputs_at(condition, wait, study.facts, rule))
            times.append(asks_archive_at(condition, wait, study.facts, rule))
        return min((t for t in times if t is not None), default=None)

    def waiting(self, study_instance_uid: str, now: datetime) -> list[Waiting]:
        """Say what the rules wait for, and until when."""
        study = self._studies.get(study_instance_uid)
        if study is None:
            return []
        return [
            Waiting(
                name,
                outstanding(self._conditions[name], self._wait(name, study), study.facts, rule, now),
                self._verdict(name, study, rule).at,
            )
            for name, rule in sorted(study.waits.items())
        ]

    def knows(self, study_instance_uid: str) -> bool:
        """Say whether anything was told of a study that was not forgotten."""
        return study_instance_uid in self._studies

    def awaited(self, study_instance_uid: str) -> frozenset[str]:
        """Name the rules that wait for a study; `NOBODY` is one of them."""
        study = self._studies.get(study_instance_uid)
        return frozenset(study.waits) if study else frozenset()

    def _new(self, study_instance_uid: str, at: datetime) -> _Study:
        return _Study(StudyFacts(at, visits=self._visits.get(study_instance_uid, {})))

    def _open(self, study: _Study) -> None:
        if study.first_at is not None:
            for name in study.rules or {NOBODY}:
                study.waits.setdefault(name, RuleFacts(study.first_at))

    def _facts(self, study_instance_uid: str, rule: str) -> RuleFacts | None:
        study = self._studies.get(study_instance_uid)
        return study.waits.get(rule) if study else None

    def _each(self) -> Iterator[tuple[str, str, _Study, RuleFacts]]:
        for uid, study in self._studies.items():
            for name, rule in study.waits.items():
                yield uid, name, study, rule

    def _verdict(self, name: str, study: _Study, rule: RuleFacts) -> Verdict:
        return verdict(self._conditions[name], self._wait(name, study), study.facts, rule)

    def _wait(self, name: str, study: _Study) -> Wait:
        condition, by_modality = self._conditions[name], wait_for(study.modalities, self._by_modality)
        return Wait(
            by_modality.quiet if condition.quiet is None else condition.quiet,
            by_modality.max_wait if condition.max_wait is None else condition.max_wait,
        )
