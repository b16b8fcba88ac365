from __future__ import annotations

from datetime import UTC, datetime, timedelta

from dicom_node.delivery.breaker import CLOSED
from dicom_node.delivery.outcomes import Backoff

NOW = datetime(2024, 1, 2, tzinfo=UTC)
BACKOFF = Backoff(timedelta(seconds=10), 2.0, timedelta(minutes=1))


def test_opens_after_so_many_failures_in_a_row_and_is_half_open_later() -> None:
    once = CLOSED.failed("no answer", NOW, opens_after=2, backoff=BACKOFF)
    assert not once.is_open(NOW)
    assert not once.wants_probe(NOW)
    twice = once.failed("no answer", NOW, opens_after=2, backoff=BACKOFF)
    assert twice.is_open(NOW)
    later = NOW + timedelta(seconds=20)
    assert not twice.is_open(later)
    assert twice.wants_probe(later)


def test_failed_probe_opens_it_for_longer() -> None:
    breaker = CLOSED
    waits = []
    for _ in range(6):
        breaker = breaker.failed("no answer", NOW, opens_after=1, backoff=BACKOFF)
        assert breaker.open_until is not None
        waits.append((breaker.open_until - NOW).total_seconds())
    assert waits[0] <= 10 < waits[1]
    assert 45 <= waits[-1] <= 60
