from __future__ import annotations

from datetime import timedelta

import pytest

from dicom_node.delivery.outcomes import Backoff, Verdict, outcome_from_status


@pytest.mark.parametrize(
    ("status", "verdict"),
    [
        (0x0000, Verdict.STORED),
        (0xB000, Verdict.STORED),
        (0xB007, Verdict.STORED),
        (0x0111, Verdict.STORED),
        (0xA700, Verdict.RETRY),
        (0x0110, Verdict.RETRY),
        (0xA900, Verdict.REFUSED),
        (0xC000, Verdict.REFUSED),
        (0x0122, Verdict.REFUSED),
        (0x0124, Verdict.REFUSED),
    ],
)
def test_status_is_read_as_the_standard_means_it(status: int, verdict: Verdict) -> None:
    assert outcome_from_status(status).verdict is verdict


def test_backoff_grows_to_its_limit_and_never_beyond() -> None:
    backoff = Backoff(timedelta(seconds=5), 2.0, timedelta(minutes=10))
    delays = [backoff.delay(attempt).total_seconds() for attempt in (1, 2, 3, 50, 5000)]
    assert 3.75 <= delays[0] <= 5
    assert 7.5 <= delays[1] <= 10
    assert all(d <= 600 for d in delays)
    assert delays[-1] >= 450
