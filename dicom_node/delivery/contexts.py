"""Presentation contexts of a storage SCU: what is proposed for which objects, and what an object goes in.

Source: PS3.8 7.1.1.13, 9.3.2.2; PS3.5 10.1.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless, SecondaryCaptureImageStorage

from dicom_node.domain.instances import InstanceKind

MOST_CONTEXTS: Final = 128
"""Context IDs are the odd numbers from 1 to 255."""
_NATIVE: Final = (str(ExplicitVRLittleEndian), str(ImplicitVRLittleEndian))
_COMPRESSED: Final = (str(RLELossless), str(JPEGLSLossless))


def proposed_syntaxes(sop_class_uid: str, own: str, wanted: Sequence[str] = ()) -> list[str]:
    """List the transfer syntaxes to propose for an object, the best first.

    Args:
        sop_class_uid: Of the object; only Secondary Captures are compressed at send.
        own: The one it is written in.
        wanted: What the destination's profile names; empty: the own one, Explicit and Implicit VR Little Endian.
    """
    if not wanted:
        return list(dict.fromkeys([own, *_NATIVE]))
    fit = [s for s in wanted if s in _NATIVE or s == own or (s in _COMPRESSED and sop_class_uid == SecondaryCaptureImageStorage)]
    return fit or list(_NATIVE)


def proposals(kind: InstanceKind, wanted: Sequence[str] = ()) -> list[tuple[str, str]]:
    """List the contexts of an object, each with one transfer syntax, so that the destination may accept several: the best first."""
    return [(kind.sop_class_uid, syntax) for syntax in proposed_syntaxes(kind.sop_class_uid, kind.transfer_syntax_uid, wanted)]


def by_association(
    kinds: Mapping[int, InstanceKind], wanted: Sequence[str] = (), most: int = MOST_CONTEXTS
) -> Iterator[tuple[list[int], list[tuple[str, str]]]]:
    """Part objects among associations, in order, so that each proposes no more contexts than there are numbers for.

    Args:
        kinds: Objects by their place.
        wanted: Transfer syntaxes that the destination's profile names.
        most: Contexts of one association.

    Yields:
        Places, and the contexts to propose for them.
    """
    places: list[int] = []
    contexts: dict[tuple[str, str], None] = {}
    for place, kind in kinds.items():
        further = dict.fromkeys(proposals(kind, wanted))
        if places and len(contexts | further) > most:
            yield places, list(contexts)
            places, contexts = [], {}
        places.append(place)
        contexts |= further
    if places:
        yield places, list(contexts)


def context_for(kind: InstanceKind, accepted: Mapping[tuple[str, str], int], wanted: Sequence[str] = ()) -> tuple[int, str] | None:
    """Choose the context of an object: the best transfer syntax that was accepted.

    Args:
        kind: The object.
        accepted: Context IDs by SOP class and transfer syntax.
        wanted: As for `by_association`.

    Returns:
        Context ID and transfer syntax, or None if the destination does not take the SOP class.
    """
    return next(((accepted[context], context[1]) for context in proposals(kind, wanted) if context in accepted), None)
