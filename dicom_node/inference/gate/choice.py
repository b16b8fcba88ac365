"""Which engine serves a model: the first of its preferences that is there and has shown that it agrees with the reference. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dicom_node.errors import EngineUnavailableError, ModelError
from dicom_node.inference.gate.engine_facts import CPU
from dicom_node.inference.gate.records import EngineKey, Record
from dicom_node.inference.gate.subject import Engine, Subject

_SHOWN_FAILURES = 2


@dataclass(frozen=True, slots=True)
class Candidate:
    """An engine that a model may run on.

    Attributes:
        device: `cpu`, `cuda:N`, or the address of a server.
        key: What a record of it has to be of; None if it is not available.
        unavailable: Why it cannot run here now; empty if it can.
        reference: Whether it is what the others are compared with.
        attempt: How a verification stands that has left no record; empty if there was none.
    """

    engine: Engine
    device: str
    key: EngineKey | None
    unavailable: str = ""
    reference: bool = False
    attempt: str = ""


class State(StrEnum):
    """How an engine stands with a model.

    Attributes:
        REFERENCE: It is what the others are compared with, and no case of the bundle speaks against it.
        VERIFIED: A record of exactly this engine says that it agrees.
    """

    REFERENCE = "reference"
    VERIFIED = "verified"
    UNVERIFIED = "unverified"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class Standing:
    """One engine's state.

    Attributes:
        reason: Why it may not serve; empty if it may.
        record: The record that decides; None if there is none.
    """

    candidate: Candidate
    state: State
    reason: str
    record: Record | None = None

    @property
    def may_serve(self) -> bool:
        """Whether results may come from it."""
        return self.state in (State.REFERENCE, State.VERIFIED)


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine that serves.

    Attributes:
        device: `cpu`, `cuda:N`, or the address of a server.
        record: Digest of the record that lets it; empty for a reference without a record.
        generated: Whether that record is of a generated parity check only.
        fallback: Why it is another than the first preference, in one sentence; empty if it is that one.
    """

    backend: str
    precision: str
    device: str
    record: str
    generated: bool
    fallback: str


def standings(subject: Subject, candidates: Sequence[Candidate], records: Mapping[str, Record]) -> tuple[Standing, ...]:
    """Tell how each engine stands, in the order given.

    Args:
        subject: The model.
        candidates: In order of preference.
        records: By digest of their key; those of other keys do not count.
    """
    return tuple(_standing(subject, candidate, records) for candidate in candidates)


def choose(subject: Subject, candidates: Sequence[Candidate], records: Mapping[str, Record], now: datetime) -> Choice:
    """Choose the engine of a model.

    Args:
        subject: The model.
        candidates: In order of preference; the last one is the reference if none before it is.
        records: By digest of their key.
        now: For clearances that end, UTC.

    Raises:
        ModelError: the model may not serve at all: its clearances have ended, or the reference fails the model's own cases.
        EngineUnavailableError: nothing that may serve is there now.
    """
    demand_clearance(subject, now)
    found = standings(subject, candidates, records)
    for standing in found:
        if standing.candidate.reference and standing.state is State.FAILED:
            raise ModelError(
                f"{subject.title}: the reference fails the model's own cases: {standing.reason}",
                hint="The model does not serve. Compare network and cases with what was delivered, then run "
                f"dicom-node models verify {subject.name}",
            )
    passed: list[Standing] = []
    for standing in found:
        if standing.may_serve and (subject.bundle.manifest.engines.cpu_fallback or not _falls_to_cpu(standing, passed)):
            return _choice(standing, passed)
        passed.append(standing)
    raise EngineUnavailableError(
        f"{subject.title}: no engine may serve: {_reasons(passed)}",
        hint=f"Install what is missing, or verify an engine: dicom-node models build {subject.name}",
    )


def demand_clearance(subject: Subject, now: datetime) -> None:
    """Check that a cleared model still is.

    Raises:
        ModelError: every clearance has ended.
    """
    clearances = subject.bundle.manifest.clearances
    if not clearances or any(c.expires is None or c.expires >= now.date() for c in clearances):
        return
    ended = ", ".join(f"{c.region} {c.number} on {c.expires}" for c in clearances)
    raise ModelError(
        f"{subject.title}: every clearance has ended: {ended}",
        hint="Install the version that is cleared now, or write the prolonged clearance into model.yaml.",
    )


def _standing(subject: Subject, candidate: Candidate, records: Mapping[str, Record]) -> Standing:
    if candidate.unavailable or candidate.key is None:
        return Standing(candidate, State.UNAVAILABLE, candidate.unavailable or "it cannot run here")
    record = records.get(candidate.key.digest)
    if record is not None and record.key != candidate.key:
        record = None
    if record is not None and record.failed:
        more = len(record.failed) - _SHOWN_FAILURES
        figures = "; ".join(record.failed[:_SHOWN_FAILURES]) + (f"; and {more} more" if more > 0 else "")
        return Standing(candidate, State.FAILED, figures, record)
    if candidate.reference:
        return Standing(candidate, State.REFERENCE, "", record)
    if record is None:
        reason = f"no record says that it agrees with the reference; run dicom-node models build {subject.name}"
        return Standing(candidate, State.UNVERIFIED, candidate.attempt or reason)
    return Standing(candidate, State.VERIFIED, "", record)


def _falls_to_cpu(standing: Standing, passed: Sequence[Standing]) -> bool:
    """Tell whether something other than the CPU was preferred."""
    return standing.candidate.device == CPU and any(p.candidate.device != CPU for p in passed)


def _choice(chosen: Standing, passed: Sequence[Standing]) -> Choice:
    candidate, record = chosen.candidate, chosen.record
    return Choice(
        candidate.engine.backend,
        candidate.engine.precision,
        candidate.device,
        record.digest if record else "",
        bool(record and record.generated),
        f"{_title(candidate)} serves: {_reasons(passed)}" if passed else "",
    )


def _title(candidate: Candidate) -> str:
    return f"{candidate.engine}, the reference," if candidate.reference else str(candidate.engine)


def _reasons(passed: Sequence[Standing]) -> str:
    return "; ".join(f"{_place(p)} {_SAID[p.state]} ({p.reason})" for p in passed)


def _place(standing: Standing) -> str:
    candidate = standing.candidate
    return str(candidate.engine) if candidate.device == CPU else f"{candidate.engine} on {candidate.device}"


_SAID: Mapping[State, str] = {
    State.REFERENCE: "may not stand in on the CPU",
    State.VERIFIED: "may not stand in on the CPU",
    State.UNVERIFIED: "is not verified",
    State.FAILED: "failed its verification",
    State.UNAVAILABLE: "is not available",
}
