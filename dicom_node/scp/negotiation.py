"""Which presentation contexts an association gets.

Rules:
1. The first transfer syntax in the requestor's own order that is known and allowed is taken, so that no sender is made to convert.
   pynetdicom by itself takes the first of the acceptor's list.
2. Every SOP class that belongs to no other service is taken for a storage class, private and future ones included, unless the policy
   names the accepted ones.

Source: PS3.8 9.3.3.2, PS3.4 B.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from pynetdicom import build_context
from pynetdicom._globals import ALL_TRANSFER_SYNTAXES
from pynetdicom.presentation import PresentationContext
from pynetdicom.service_class import ServiceClass, StorageServiceClass
from pynetdicom.sop_class import uid_to_service_class

KNOWN_TRANSFER_SYNTAXES: Final = frozenset(map(str, ALL_TRANSFER_SYNTAXES))


@dataclass(frozen=True, slots=True)
class Accepted:
    """What a policy accepts; empty means everything.

    Attributes:
        sop_classes: UIDs of storage SOP classes.
        transfer_syntaxes: UIDs, private ones too; empty means every one that the standard knows.
    """

    sop_classes: frozenset[str] = frozenset()
    transfer_syntaxes: frozenset[str] = frozenset()

    def both(self, other: Accepted) -> Accepted:
        """Return what both accept."""
        return Accepted(_both(self.sop_classes, other.sop_classes), _both(self.transfer_syntaxes, other.transfer_syntaxes))

    def takes(self, sop_class_uid: str) -> bool:
        """Say whether instances of a SOP class are taken."""
        return is_storage(sop_class_uid) and (not self.sop_classes or sop_class_uid in self.sop_classes)

    def choose(self, transfer_syntaxes: Iterable[str]) -> str | None:
        """Return the first transfer syntax of the requestor's list that is allowed."""
        allowed = self.transfer_syntaxes or KNOWN_TRANSFER_SYNTAXES
        return next((syntax for syntax in transfer_syntaxes if syntax in allowed), None)


@lru_cache(maxsize=4096)
def is_storage(sop_class_uid: str) -> bool:
    """Say whether a SOP class is one of Storage, or of no service that is known."""
    return uid_to_service_class(sop_class_uid) in (ServiceClass, StorageServiceClass)


def prepare_negotiation(
    requested: Sequence[PresentationContext], services: Sequence[PresentationContext], accepted: Accepted
) -> list[PresentationContext]:
    """Cut each proposal down to the transfer syntax that is to be taken, and list what the acceptor supports.

    Args:
        requested: The requestor's contexts; their transfer syntaxes are replaced by the chosen one.
        services: Contexts of the node's other services, negotiated by pynetdicom as they stand.
        accepted: What is accepted for storage.

    Returns:
        Supported contexts for pynetdicom's own negotiation, which then can only agree.
    """
    storage: dict[str, list[str]] = {}
    for context in requested:
        sop_class_uid = str(context.abstract_syntax)
        if not accepted.takes(sop_class_uid):
            continue
        chosen = accepted.choose(map(str, context.transfer_syntax))
        syntaxes = storage.setdefault(sop_class_uid, [])
        if chosen is not None:
            if len(context.transfer_syntax) > 1:
                context.transfer_syntax = [chosen]
            syntaxes.append(chosen)
    # a class of which no syntax is allowed is named with one nobody proposed, so that the answer is "transfer syntaxes not supported"
    return [*services, *(_supported(uid, tuple(dict.fromkeys(syntaxes)) or (_NOBODYS_SYNTAX,)) for uid, syntaxes in storage.items())]


_NOBODYS_SYNTAX: Final = "2.25.0"


@lru_cache(maxsize=4096)
def _supported(sop_class_uid: str, transfer_syntaxes: tuple[str, ...]) -> PresentationContext:
    """Make a context that associations share: the library only reads it, and building one checks each UID four times."""
    return build_context(sop_class_uid, list(transfer_syntaxes))


def _both(one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    if one and other:
        return one & other or frozenset({_NOBODYS_SYNTAX})
    return one or other
