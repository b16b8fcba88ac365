"""Presentation contexts of a C-GET: as many of a single transfer syntax as fit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.errors import SourceError
from dicom_node.scp.query_retrieve.proposals import MOST_STORAGE_CONTEXTS, TRANSFER_SYNTAXES, USUAL_SOP_CLASSES, storage_proposal


@given(st.integers(1, MOST_STORAGE_CONTEXTS))
def test_every_class_is_offered_every_syntax_within_one_association(count: int) -> None:
    proposal = storage_proposal([f"1.2.{number}" for number in range(count)])
    assert len(proposal) <= MOST_STORAGE_CONTEXTS
    for number in range(count):
        offered = [syntax for sop_class, syntaxes in proposal if sop_class == f"1.2.{number}" for syntax in syntaxes]
        assert tuple(offered) == TRANSFER_SYNTAXES


def test_few_classes_get_a_context_for_each_syntax() -> None:
    assert all(len(syntaxes) == 1 for _, syntaxes in storage_proposal(["1.2.1", "1.2.2", "1.2.1"]))


def test_usual_classes_are_proposed_where_none_is_named() -> None:
    assert {sop_class for sop_class, _ in storage_proposal([])} == set(USUAL_SOP_CLASSES)


def test_more_classes_than_fit_are_refused() -> None:
    with pytest.raises(SourceError, match="128 SOP classes are wanted, 127 fit"):
        storage_proposal([f"1.2.{number}" for number in range(128)])
