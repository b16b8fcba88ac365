"""What completes a study for one rule, from facts alone.

Rules:
1. Silence is the first of: `quiet` since the last instance of any series; `release` since the last visit that brought part of the
   study ended, if it ended by release, no other is open, and nothing arrived since.
2. Without a proof, silence completes. With proofs all of them must hold: `slots` holds in silence only, for an input that has begun
   may still grow; `expected_count` and `availability` hold as soon as the numbers agree.
3. `max_wait` since the first instance that the rule has not decided on ends the wait, complete or not.
4. An archive is asked in silence; again in the next silence after more instances came, and otherwise after a pause that doubles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dicom_node.domain.rules import CompleteWhen
from dicom_node.domain.studies import ClosedBecause
from dicom_node.domain.visits import Visit
from dicom_node.domain.waits import Wait

_SHORTEST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=1), timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Announced:
    """How many instances are announced and not UNAVAILABLE, and how many of these have arrived.

    Attributes:
        told_at: When this was so, UTC.
    """

    instances: int
    arrived: int
    told_at: datetime


@dataclass(slots=True)
class StudyFacts:
    """What is known of a study, whichever rule looks at it.

    Attributes:
        last_at: Arrival of the newest instance.
        instances: How many have arrived, own results left out.
    """

    last_at: datetime
    instances: int = 0
    visits: Mapping[str, Visit] = field(default_factory=dict)
    announced: Announced | None = None


@dataclass(slots=True)
class RuleFacts:
    """What is known of a rule's wait for a study.

    Attributes:
        first_at: Arrival of the first instance that the rule has not decided on.
        blocked: What else the rule waits for, such as a prior; empty: nothing.
        inputs_for: Number of instances for which `inputs` was asked; None: never.
        inputs_missing: What was missing then; empty: all inputs were there.
        asked_for: Number of instances at the last question to an archive.
        times_asked: Since the last arrival.
        expected: What the archive said last; None: nothing.
    """

    first_at: datetime
    blocked: str = ""
    inputs_for: int | None = None
    inputs_missing: str = ""
    asked_at: datetime | None = None
    asked_for: int = 0
    times_asked: int = 0
    expected: int | None = None
    answered_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """When a rule decides, as far as is known now.

    Attributes:
        complete: False: the longest wait ends it.
        reason: What completed it or, if nothing did, what is missing; no patient data.
    """

    at: datetime
    because: ClosedBecause
    complete: bool
    reason: str


@dataclass(frozen=True, slots=True)
class _Signal:
    """One signal: since when it holds or when it will (None: not known), and how it is told."""

    at: datetime | None
    because: ClosedBecause
    met: str
    unmet: str


def verdict(condition: CompleteWhen, wait: Wait, study: StudyFacts, rule: RuleFacts) -> Verdict:
    """Say when and why a rule decides."""
    limit = rule.first_at + max(wait.max_wait, wait.quiet)
    signals = _signals(condition, wait, study, rule)
    times = [s.at for s in signals if s.at is not None]
    if len(times) == len(signals) and not rule.blocked and max(times) <= limit:
        last = max(signals, key=lambda s: (s.at or limit, s.because))
        return Verdict(max(times), last.because, complete=True, reason="; ".join(s.met for s in signals))
    missing = [s.unmet for s in signals if s.at is None or s.at > limit]
    if rule.blocked:
        missing.append(rule.blocked)
    return Verdict(limit, ClosedBecause.MAX_WAIT, complete=False, reason=f"{'; '.join(missing)} within {words(limit - rule.first_at)}")


def outstanding(condition: CompleteWhen, wait: Wait, study: StudyFacts, rule: RuleFacts, now: datetime) -> str:
    """Say what a rule still waits for; empty if nothing."""
    missing = [s.unmet for s in _signals(condition, wait, study, rule) if s.at is None or s.at > now]
    return "; ".join([*missing, *([rule.blocked] if rule.blocked else [])])


def asks_inputs_at(condition: CompleteWhen, wait: Wait, study: StudyFacts, rule: RuleFacts) -> datetime | None:
    """Say when to look whether all inputs are there; None: not now."""
    if not condition.slots or rule.inputs_for == study.instances:
        return None
    return silence_at(condition, wait, study)


def asks_archive_at(condition: CompleteWhen, wait: Wait, study: StudyFacts, rule: RuleFacts) -> datetime | None:
    """Say when to ask the archive how many instances there are; None: there is no need."""
    if not (condition.expected_count or condition.fetch_missing) or _counted(rule, study):
        return None
    silence = silence_at(condition, wait, study)
    if rule.asked_at is None or rule.asked_for != study.instances:
        return silence
    pause = max(wait.quiet, _SHORTEST_PAUSE) * float(1 << min(rule.times_asked - 1, 16))
    return max(silence, rule.asked_at + min(pause, _LONGEST_PAUSE))


def silence_at(condition: CompleteWhen, wait: Wait, study: StudyFacts) -> datetime:
    """Say when a study counts as silent, if nothing more arrives."""
    return _silence(condition, wait, study).at or study.last_at + wait.quiet


def words(duration: timedelta) -> str:
    """Write a duration for people: 10 s, 10 min, 2 h."""
    seconds = duration.total_seconds()
    for size, unit in ((3600, "h"), (60, "min")):
        if seconds >= size and seconds % size == 0:
            return f"{seconds / size:g} {unit}"
    return f"{seconds:g} s"


def _signals(condition: CompleteWhen, wait: Wait, study: StudyFacts, rule: RuleFacts) -> Sequence[_Signal]:
    silence = _silence(condition, wait, study)
    if not condition.wants_proof:
        return [silence]
    proofs = []
    if condition.slots:
        proofs.append(_inputs(silence, study, rule))
    if condition.counted_at:
        proofs.append(_count(condition.counted_at, study, rule))
    if condition.availability:
        proofs.append(_availability(study))
    return proofs


def _silence(condition: CompleteWhen, wait: Wait, study: StudyFacts) -> _Signal:
    quiet = _Signal(
        study.last_at + wait.quiet, ClosedBecause.QUIET, f"no instance for {words(wait.quiet)}", f"{words(wait.quiet)} without an instance"
    )
    released_at = None if condition.release is None else _released_at(study)
    if condition.release is None or released_at is None or released_at + condition.release >= study.last_at + wait.quiet:
        return quiet
    grace = words(condition.release)
    return _Signal(released_at + condition.release, ClosedBecause.RELEASE, f"released {grace} ago", f"{grace} after the release")


def _released_at(study: StudyFacts) -> datetime | None:
    """Return when the last visit was released; None if one is open, the last one broke off, or something came by none of them."""
    visits = list(study.visits.values())
    if not visits or any(visit.ended_at is None for visit in visits):
        return None
    last_at = max(visit.ended_at for visit in visits if visit.ended_at is not None)
    if last_at < study.last_at or not all(visit.released for visit in visits if visit.ended_at == last_at):
        return None
    return last_at


def _inputs(silence: _Signal, study: StudyFacts, rule: RuleFacts) -> _Signal:
    met = "all inputs are there"
    if rule.inputs_for != study.instances:
        return _Signal(None, ClosedBecause.SLOTS, met, silence.unmet)
    if rule.inputs_missing:
        return _Signal(None, ClosedBecause.SLOTS, met, rule.inputs_missing)
    return _Signal(silence.at, ClosedBecause.SLOTS, met, silence.unmet)


def _counted(rule: RuleFacts, study: StudyFacts) -> bool:
    return rule.expected is not None and study.instances >= rule.expected > 0


def _count(source: str, study: StudyFacts, rule: RuleFacts) -> _Signal:
    if rule.expected is None:
        unknown = f"{source} has not said how many instances there are"
        return _Signal(None, ClosedBecause.EXPECTED_COUNT, unknown, unknown)
    text = f"{study.instances} of {rule.expected} instances that {source} counts"
    at = max(study.last_at, rule.answered_at or study.last_at) if _counted(rule, study) else None
    return _Signal(at, ClosedBecause.EXPECTED_COUNT, text, text)


def _availability(study: StudyFacts) -> _Signal:
    told = study.announced
    if told is None or not told.instances:
        return _Signal(None, ClosedBecause.AVAILABILITY, "", "no instance is announced")
    text = f"{told.arrived} of {told.instances} announced instances"
    return _Signal(told.told_at if told.arrived >= told.instances else None, ClosedBecause.AVAILABILITY, text, text)
