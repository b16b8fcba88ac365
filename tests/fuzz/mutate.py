"""Mutations that keep a stream's lengths right, so that a change within a data set is not lost to a PDU that no longer ends."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.fuzz.receiving import CONTEXTS, pdvs_of
from tests.integration.raw_peer import P_DATA, pdu, pdv

_LENGTHS = (0, 1, 2, 5, 0x7FFFFFFF, 0xFFFFFFFF)
Pdv = tuple[int, int, bytes]


def mutate_stream(stream: bytes, mutate_bytes: Callable[[bytes], bytes], chance: random.Random) -> bytes:
    """Change one PDV of a stream, or their order, or a length.

    Args:
        stream: PDUs; what holds no PDV is changed as bytes.
        mutate_bytes: Changes bytes with no regard to their meaning.
        chance: Seeded by the caller.
    """
    pdvs = pdvs_of(stream)
    if not pdvs:
        return mutate_bytes(stream)
    at = chance.randrange(len(pdvs))
    context, control, content = pdvs[at]
    kind = chance.randrange(8)
    if kind <= 2:
        pdvs[at] = (context, control, mutate_bytes(content))
    elif kind == 3:
        cut = chance.randint(0, len(content))
        pdvs[at : at + 1] = [(context, control & 1, content[:cut]), (context, control, content[cut:])]
    elif kind == 4:
        pdvs[at] = (chance.choice([*CONTEXTS, context ^ 1]), control, content)
    elif kind == 5:
        pdvs[at] = (context, control ^ chance.choice((1, 2, 3)), content)
    elif kind == 6:
        pdvs.insert(chance.randrange(len(pdvs) + 1), pdvs[at])
    else:
        del pdvs[at]
    return _joined(pdvs, chance)


def _joined(pdvs: list[Pdv], chance: random.Random) -> bytes:
    """Write PDVs into PDUs, one or more each; one time in ten a length lies."""
    stream, gathered = b"", b""
    lie = chance.randrange(max(1, len(pdvs))) if chance.random() < 0.1 else -1
    for number, (context, control, content) in enumerate(pdvs):
        length = chance.choice(_LENGTHS) if number == lie else None
        gathered += pdv(content, context=context, command=bool(control & 1), last=bool(control & 2), length=length)
        if chance.random() < 0.7 or number == len(pdvs) - 1:
            stream += pdu(P_DATA, gathered)
            gathered = b""
    return stream
