from __future__ import annotations

import pytest

from dicom_node.domain.jobs import JobState
from dicom_node.errors import TransitionError
from dicom_node.jobs.states import ALLOWED, check_transition


def test_every_state_has_its_line() -> None:
    assert set(ALLOWED) == set(JobState)


@pytest.mark.parametrize(("before", "after"), [(b, a) for b in JobState for a in JobState if a not in ALLOWED[b]])
def test_change_that_the_table_does_not_allow_is_refused(before: JobState, after: JobState) -> None:
    with pytest.raises(TransitionError, match=f"{before} to {after}"):
        check_transition(before, after)
