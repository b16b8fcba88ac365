"""Presentation contexts of a storage SCU: what is proposed for which objects, and what an object goes in.

Source: PS3.8 7.1.1.13, 9.3.2.2; PS3.5 10.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicom_node.domain.instances import InstanceKind

MOST_CONTEXTS: Final = 128
"""Context IDs are the odd numbers from 1 to 255."""
_ENCODABLE: Final = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))


def proposals(kind: InstanceKind) -> list[tuple[str, str]]:
    """List the contexts of an object, each with one transfer syntax, so that the destination may accept several: its own syntax first."""
    return [(kind.sop_class_uid, syntax) for syntax in dict.fromkeys((kind.transfer_syntax_uid, *_ENCODABLE))]


def by_association(kinds: Mapping[int, InstanceKind], most: int = MOST_CONTEXTS) -> Iterator[tuple[list[int], list[tuple[str, str]]]]:
    """Part objects among associations, in order, so that each proposes no more contexts than there are numbers for.

    Args:
        kinds: Objects by their place.
        most: Contexts of one association.

    Yields:
        Places, and the contexts to propose for them.
    """
    places: list[int] = []
    contexts: dict[tuple[str, str], None] = {}
    for place, kind in kinds.items():
        further = dict.fromkeys(proposals(kind))
        if places and len(contexts | further) > most:
            yield places, list(contexts)
            places, contexts = [], {}
        places.append(place)
        contexts |= further
    if places:
        yield places, list(contexts)


def context_for(kind: InstanceKind, accepted: Mapping[tuple[str, str], int]) -> tuple[int, str] | None:
    """Choose the context of an object: its own transfer syntax, else one that it can be encoded in.

    Args:
        kind: The object.
        accepted: Context IDs by SOP class and transfer syntax.

    Returns:
        Context ID and transfer syntax, or None if the destination does not take the SOP class.
    """
    wanted: Sequence[tuple[str, str]] = proposals(kind)
    return next(((accepted[context], context[1]) for context in wanted if context in accepted), None)
