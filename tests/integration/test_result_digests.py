"""What the writers write is what they wrote: digests of whole files, so that a faster writer is shown to be the same writer."""

from __future__ import annotations

import json

import pytest

from tests.result_digests import STORED, all_digests, builds, differences, libraries

HERE = ("CR, everything", "US multi-frame, enhanced", "CT, not analysed", "CT, cleared, replaces", "large CR", "large SC", "organs, binary")
"""A share of what `python -m tests.result_digests` compares, for every run of the tests."""


def test_objects_are_byte_for_byte_those_of_the_record() -> None:
    stored = json.loads(STORED.read_text("utf-8"))
    if stored["libraries"] != libraries():
        pytest.skip(f"the record was written with {stored['libraries']}")
    assert differences(stored["digests"], all_digests(*HERE)) == [], "if meant: python -m tests.result_digests --write"


def test_record_holds_everything_that_is_built() -> None:
    assert json.loads(STORED.read_text("utf-8"))["digests"].keys() == dict(builds()).keys()
