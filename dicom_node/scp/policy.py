"""Who may associate and what for. Closed by default: a calling AE that `peers` does not name is rejected. Pure."""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field

from dicom_node.config import CalledAeTitle, Peer
from dicom_node.domain.instances import AssociationPeer
from dicom_node.scp.negotiation import Accepted


@dataclass(frozen=True, slots=True)
class Rejection:
    """The three fields of an A-ASSOCIATE-RJ and the reason in words. Source: PS3.8 table 9-21."""

    result: int
    source: int
    diagnostic: int
    reason: str


CALLED_AE_UNKNOWN = Rejection(1, 1, 7, "called-ae-title-not-recognized")
CALLING_AE_UNKNOWN = Rejection(1, 1, 3, "calling-ae-title-not-recognized")
IDENTITY_REFUSED = Rejection(1, 1, 1, "user-identity-not-accepted")
SUBJECT_REFUSED = Rejection(1, 1, 1, "tls-subject-not-accepted")
LIMIT_EXCEEDED = Rejection(2, 3, 2, "local-limit-exceeded")
CONGESTED = Rejection(2, 3, 1, "temporary-congestion")


@dataclass(frozen=True, slots=True)
class Limits:
    """What one association may do.

    Attributes:
        max_instance_bytes: Larger data sets are refused; 0 is no limit.
        max_bytes_per_s: Reading is slowed to this; 0 is no limit.
    """

    max_instance_bytes: int = 0
    max_bytes_per_s: int = 0


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a requestor shows of itself beside its AE title.

    Attributes:
        username: Of user identity type 1 or 2, otherwise None.
        passcode: Of user identity type 2.
        certificate: Of TLS, DER, its chain verified; None without.
    """

    username: str | None = None
    passcode: bytes = b""
    certificate: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Admission:
    """What an admitted association gets.

    Attributes:
        peer: Name of the peer in the configuration.
        places: Counters that must each have a free place: name and how many places there are.
    """

    peer: str
    accepted: Accepted
    limits: Limits
    places: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class AccessPolicy:
    """What the node admits.

    Attributes:
        ae_title: The node's own title; takes everybody in `peers`.
        max_associations: Associations open at once on the node.
        titles: Further called AE titles, each with a policy of its own.
    """

    ae_title: str
    peers: Sequence[Peer]
    max_associations: int
    titles: Sequence[CalledAeTitle] = ()

    def check(self, origin: AssociationPeer, credentials: Credentials) -> Admission | Rejection:
        """Decide on a request.

        Args:
            origin: Titles and address.
            credentials: User identity and certificate.
        """
        title = next((t for t in self.titles if t.ae_title == origin.called_ae_title), None)
        if title is None and origin.called_ae_title != self.ae_title:
            return CALLED_AE_UNKNOWN
        named = [p for p in self.peers if p.accepts(origin.calling_ae_title, origin.address)]
        peer = next((p for p in named if title is None or not title.peers or p.name in title.peers), None)
        if peer is None:
            return CALLING_AE_UNKNOWN
        if not peer.comes_as(credentials.certificate):
            return SUBJECT_REFUSED
        if not _identity_holds(peer, credentials):
            return IDENTITY_REFUSED
        return _admission(peer, title, self.max_associations)


def _identity_holds(peer: Peer, credentials: Credentials) -> bool:
    if peer.username is None:
        return True
    wanted = peer.passcode()
    same_passcode = wanted is None or hmac.compare_digest(wanted, credentials.passcode)
    return credentials.username == peer.username and same_passcode


def _admission(peer: Peer, title: CalledAeTitle | None, max_associations: int) -> Admission:
    sections = [peer] if title is None else [peer, title]
    accepted = Accepted()
    for section in sections:
        accepted = accepted.both(Accepted(frozenset(section.sop_classes), frozenset(section.transfer_syntaxes)))
    limits = Limits(_least(s.max_instance for s in sections), _least(s.max_rate for s in sections))
    places = [("node", max_associations)]
    if peer.max_associations:
        places.append((f"peer-{peer.name}", peer.max_associations))
    if title is not None and title.max_associations:
        places.append((f"title-{title.name}", title.max_associations))
    return Admission(peer.name, accepted, limits, tuple(places))


def _least(values: object) -> int:
    return min((v for v in values if v), default=0)  # type: ignore[attr-defined]
