"""What the node asks of archives by itself: how many instances a study has, the missing ones, and earlier studies of the patient."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from dicom_node.domain.instances import AssociationPeer
from dicom_node.domain.rules import Prior

_PRIOR_MARK = "prior@"


class FetchKind(StrEnum):
    """What is asked for."""

    COUNT = "count"
    """How many instances the study has."""
    MISSING = "missing"
    """Instances of the study that the archive has and the node has not."""
    PRIOR = "prior"
    """Earlier studies of the patient."""


class FetchState(StrEnum):
    """Where a request stands; a killed process leaves RUNNING ones, which its successor takes up again."""

    OWED = "OWED"
    RUNNING = "RUNNING"
    DONE = "DONE"
    FAILED = "FAILED"

    @property
    def is_final(self) -> bool:
        """Nothing more happens unless it is asked again."""
        return self in (FetchState.DONE, FetchState.FAILED)


@dataclass(frozen=True, slots=True)
class Fetch:
    """A request on record.

    Attributes:
        study_instance_uid: The study for whose sake it is asked; for a prior, the current one.
        rule: That wants a prior; empty for the other kinds.
        input: Of that rule.
        prior: What earlier study is wanted; None for the other kinds.
        attempt: How many have begun.
        reason: Last outcome in words; no patient data.
    """

    id: int
    kind: FetchKind
    state: FetchState
    study_instance_uid: str
    source: str
    rule: str
    input: str
    prior: Prior | None
    attempt: int
    asked_at: datetime
    next_attempt_at: datetime
    deadline: datetime
    finished_at: datetime | None
    reason: str


@dataclass(frozen=True, slots=True)
class FetchEvent:
    """A change of a request's state, or an attempt."""

    at: datetime
    from_state: FetchState | None
    to_state: FetchState
    reason: str


@dataclass(frozen=True, slots=True)
class Expected:
    """What an archive says of a study's instances, the node's own results left out on both sides.

    Attributes:
        count: How many the archive has; None: it cannot say, did not answer, or does not know the study.
        arrived: How many the node has now.
        missing: SOP Instance UIDs that the archive listed and that have not arrived since.
        asked_at: When the archive was asked for this answer; what arrived later may not be in it. None: no answer yet.
        asking: A newer answer is on its way.
        reason: How it was counted, or why not.
    """

    count: int | None
    arrived: int
    missing: tuple[str, ...]
    asked_at: datetime | None
    asking: bool
    reason: str

    @property
    def holds(self) -> bool:
        """Everything that the archive has is here."""
        return self.count is not None and not self.missing and self.arrived >= self.count


def marked_as_prior(peer: AssociationPeer) -> AssociationPeer:
    """Mark who brings instances of a prior through our own door, so that the index knows them whenever it reads their file.

    The mark stands before the address as a URI's user part does; file meta keeps it as `dicom://prior@HOST`.
    """
    return AssociationPeer(peer.calling_ae_title, peer.called_ae_title, _PRIOR_MARK + peer.address)


def is_marked_as_prior(peer: AssociationPeer) -> bool:
    """Say whether an instance came through our own door as part of a prior."""
    return peer.address.startswith(_PRIOR_MARK)
