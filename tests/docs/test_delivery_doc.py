"""docs/delivery.md says what the program does."""

from __future__ import annotations

import re

from dicom_node.delivery.fallbacks import CHAINS
from dicom_node.delivery.outcomes import outcome_from_status, words_for
from dicom_node.delivery.stow_answer import Unnamed, unnamed
from dicom_node.domain.jobs import DeliveryState
from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "delivery.md").read_text("utf-8")


def test_every_state_stands_in_the_table() -> None:
    assert re.findall(r"^\| `([A-Z]+)` \|", TEXT, re.MULTILINE) == [str(state) for state in DeliveryState]


def test_every_status_means_what_the_table_says() -> None:
    rows = re.findall(r"^\| `([0-9ABCx]{4})` \| ([^|]+) \| ([a-z]+) \|$", TEXT, re.MULTILINE)
    assert len(rows) == 17
    for code, meaning, verdict in rows:
        status = int(code.replace("x", "1"), 16)
        assert outcome_from_status(status).verdict == verdict, code
        assert status == 0 or words_for(status).endswith(f"({meaning})"), code


def test_chains_are_those_of_the_program() -> None:
    chains = re.findall(r"^\d\. (.*)$", TEXT.split("<!-- chains", 1)[1].split("\n## ", 1)[0], re.MULTILINE)
    assert [tuple(chain.split(", ")) for chain in chains] == [tuple(str(form) for form in chain) for chain in CHAINS]


def test_every_http_status_means_what_the_stow_page_says() -> None:
    text = (ROOT / "docs" / "delivery-stow.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\d{3})`( without a body)? \| ([a-z]+) \| ", text.split("<!-- http", 1)[1], re.MULTILINE)
    assert len(rows) == 11
    said = {(int(code), bool(empty)): word for code, empty, word in rows}
    assert said[200, True] == unnamed(200, empty=True)
    for status in range(201, 600):
        if status >= 300 or (status, False) in said:
            assert said.get((status, False), Unnamed.LATER) == unnamed(status, empty=False), status
