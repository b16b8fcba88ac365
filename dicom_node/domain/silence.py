"""When a peer has been silent for too long, and when it speaks again. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from dicom_node.domain.notice_facts import SilenceFacts
from dicom_node.domain.notices import SilenceWatch

_LONGEST_GAP = timedelta(minutes=2)
"""Between two looks; after a longer one the node was not there to receive, and that is not the peer's silence."""


@dataclass(frozen=True, slots=True)
class Silence:
    """What is known of a peer.

    Attributes:
        looked_at: Last look.
        silent_s: Time without an instance, in the hours that count, seconds.
        received_at: When its last instance arrived; None: none since the watch began.
        told: Its silence was told and is not over.
    """

    looked_at: datetime
    silent_s: float = 0.0
    received_at: datetime | None = None
    told: bool = False


def look(before: Silence, watch: SilenceWatch, received_at: datetime | None, now: datetime) -> tuple[Silence, SilenceFacts | None]:
    """Count on.

    Args:
        before: As the last look left it.
        watch: What is wanted.
        received_at: The newest instance since the last look; None: there was none.
        now: Aware.

    Returns:
        What is known now, and what is to be told, if anything is.
    """
    if received_at is not None:
        heard = Silence(now, 0.0, received_at)
        return heard, _facts(replace(before, received_at=received_at), watch, over=True) if before.told else None
    gap = now - before.looked_at
    counted = gap.total_seconds() if timedelta(0) < gap <= _LONGEST_GAP and watch.counts(before.looked_at) else 0.0
    after = replace(before, looked_at=now, silent_s=before.silent_s + counted)
    if after.told or after.silent_s < watch.after.total_seconds():
        return after, None
    return replace(after, told=True), _facts(after, watch, over=False)


def _facts(silence: Silence, watch: SilenceWatch, *, over: bool) -> SilenceFacts:
    last = silence.received_at.astimezone(UTC).isoformat(timespec="seconds") if silence.received_at else None
    return SilenceFacts(watch.name, over, last, round(silence.silent_s, 1), watch.after.total_seconds())
