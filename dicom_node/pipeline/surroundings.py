"""What completion asks beside the study itself: visits, archives that count, earlier studies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from sqlmodel import Session

from dicom_node.domain.inquiries import CountAnswer, CountQuestion
from dicom_node.domain.routing import PriorSearch
from dicom_node.domain.rules import Rule
from dicom_node.storage import fetches
from dicom_node.storage.visits import VisitFiles

_LONGEST_COUNT = timedelta(minutes=5)
_LONGEST_FETCH = timedelta(hours=1)


class CountSource(Protocol):
    """Asks archives in the background. Whoever waits for an answer asks again after a restart."""

    def ask(self, session: Session, question: CountQuestion) -> None:
        """Begin to ask; returns at once. The same question may come again after a while and may then be asked again."""

    def answers(self, session: Session, now: datetime) -> Sequence[CountAnswer]:
        """Return what was answered since this was called last."""


class PriorSource(Protocol):
    """Finds and fetches earlier studies in the background."""

    def searches(self, session: Session, study_instance_uid: str, rules: Sequence[Rule], now: datetime) -> Sequence[PriorSearch]:
        """Say how the search for each input with `prior` stands; begins those that have not begun.

        Args:
            session: Open transaction.
            study_instance_uid: The current study, with at least one instance in the index.
            rules: That have such an input.
            now: UTC.
        """


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything together.

    Attributes:
        visits: Which association brings what.
        counts: Archives that count.
        priors: Earlier studies.
    """

    visits: VisitFiles
    counts: CountSource
    priors: PriorSource


def through_the_database(visits: VisitFiles) -> Surroundings:
    """Ask by requests on record, which another thread works off."""
    return Surroundings(visits, RecordedCounts(), RecordedPriors())


class RecordedCounts:
    """Counts by requests on record. An answer that says more than has arrived has the missing instances fetched, where wanted."""

    def __init__(self) -> None:
        """Start without a question."""
        self._open: dict[tuple[str, str], CountQuestion] = {}
        self._to_ask_again: set[CountQuestion] = set()

    def ask(self, session: Session, question: CountQuestion) -> None:
        """See `CountSource`; a request that is under way already asks for what was before, so that it is asked again after it."""
        before = fetches.expected(session, question.study_instance_uid, question.source)
        self._open[question.study_instance_uid, question.rule] = question
        if before is not None and before.asking:
            self._to_ask_again.add(question)
        self._ask(session, question, question.asked_at)

    def answers(self, session: Session, now: datetime) -> Sequence[CountAnswer]:
        """See `CountSource`."""
        found = [answer for question in list(self._open.values()) if (answer := self._answer(session, question, now))]
        for answer in found:
            del self._open[answer.question.study_instance_uid, answer.question.rule]
            self._to_ask_again.discard(answer.question)
            self._fetch(session, answer)
        return found

    def _answer(self, session: Session, question: CountQuestion, now: datetime) -> CountAnswer | None:
        expected = fetches.expected(session, question.study_instance_uid, question.source)
        if expected is None or expected.asking:
            return None
        if expected.asked_at is not None and expected.asked_at >= question.asked_at:
            # what the archive listed and is not here counts, whatever the totals say
            count = None if expected.count is None else max(expected.count, expected.arrived + len(expected.missing))
            return CountAnswer(question, count, now)
        if question in self._to_ask_again:
            self._to_ask_again.discard(question)
            self._ask(session, question, now)
            return None
        return CountAnswer(question, None, now)

    @staticmethod
    def _ask(session: Session, question: CountQuestion, now: datetime) -> None:
        fetches.ask_count(session, question.study_instance_uid, question.source, now, now + _LONGEST_COUNT)

    @staticmethod
    def _fetch(session: Session, answer: CountAnswer) -> None:
        question = answer.question
        if question.fetch_from and answer.instances is not None and answer.instances > question.arrived:
            uid, now = question.study_instance_uid, answer.answered_at
            fetches.ask_missing(session, uid, question.fetch_from, now, now + _LONGEST_FETCH)


class RecordedPriors:
    """Earlier studies by requests on record."""

    def searches(self, session: Session, study_instance_uid: str, rules: Sequence[Rule], now: datetime) -> Sequence[PriorSearch]:
        """See `PriorSource`."""
        for rule in rules:
            for slot in rule.inputs:
                if slot.prior is not None:
                    fetches.ask_prior(session, study_instance_uid, rule.name, slot.name, slot.prior, now)
        names = {(rule.name, slot.name) for rule in rules for slot in rule.inputs if slot.prior is not None}
        return [search for search in fetches.prior_searches(session, study_instance_uid) if (search.rule, search.input) in names]
