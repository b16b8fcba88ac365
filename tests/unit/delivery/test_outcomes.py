from __future__ import annotations

from datetime import timedelta

import pytest

from dicom_node.delivery.outcomes import Backoff, Patience, Verdict, outcome_from_status


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


@pytest.mark.parametrize(
    ("attempts", "age", "words"),
    [
        (2, timedelta(hours=1), ""),
        (3, timedelta(hours=1), "given up after 3 attempts"),
        (1, timedelta(days=1), "given up after 24.0 h and 1 attempts"),
    ],
)
def test_delivery_is_given_up_after_too_many_attempts_or_too_long(attempts: int, age: timedelta, words: str) -> None:
    assert Patience(3, timedelta(days=1)).given_up(attempts, age) == words


def test_no_limit_of_attempts_is_none() -> None:
    assert Patience(0, timedelta(days=1)).given_up(100_000, timedelta(hours=23)) == ""


def test_comment_of_the_destination_is_cut_and_kept_out_of_the_reason() -> None:
    outcome = outcome_from_status(0xA900, "patient 4711 " * 10)
    assert len(outcome.comment) == 64
    assert "4711" not in outcome.reason
