"""How long a study stays quiet before it counts as complete, and how long it may take at most, by what was acquired."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import MappingProxyType
from typing import Final


@dataclass(frozen=True, slots=True)
class Wait:
    """Two durations.

    Attributes:
        quiet: No instance of any series arrived for this long.
        max_wait: At the latest this long after the first instance.
    """

    quiet: timedelta
    max_wait: timedelta


def _wait(quiet_s: int, max_wait_min: int) -> Wait:
    return Wait(timedelta(seconds=quiet_s), timedelta(minutes=max_wait_min))


OTHER_MODALITIES: Final = "other"
DEFAULT_WAITS: Final[Mapping[str, Wait]] = MappingProxyType(
    {
        **dict.fromkeys(("CR", "DX", "IO", "PX", "RG"), _wait(20, 15)),
        **dict.fromkeys(("MG", "US"), _wait(30, 30)),
        **dict.fromkeys(("ES", "OP", "OPT", "SC"), _wait(30, 30)),
        **dict.fromkeys(("KO", "PR", "REG", "SEG", "SR"), _wait(10, 15)),
        **dict.fromkeys(("RF", "XA"), _wait(60, 60)),
        "CT": _wait(60, 30),
        **dict.fromkeys(("MR", "NM", "PT"), _wait(180, 90)),
        OTHER_MODALITIES: _wait(60, 30),
    }
)
"""What holds where neither a rule nor `defaults` of rules.yaml says otherwise. A projection comes at once; the series of an MR or
PET examination come minutes apart. Objects that accompany images add nothing to the images' own wait."""


def wait_for(modalities: Iterable[str], waits: Mapping[str, Wait] = DEFAULT_WAITS) -> Wait:
    """Return the longest quiet and the longest wait among a study's modalities.

    Args:
        modalities: Values of Modality (0008,0060) seen so far; without any, `other` counts.
        waits: Holds `other`.
    """
    found = [waits.get(modality, waits[OTHER_MODALITIES]) for modality in modalities] or [waits[OTHER_MODALITIES]]
    return Wait(max(w.quiet for w in found), max(w.max_wait for w in found))
