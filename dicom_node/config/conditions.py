"""What a `match` in rules.yaml says, as conditions."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, TypeAlias

from pydantic import AfterValidator
from pydicom._dicom_dict import DicomDictionary

from dicom_node.domain.rules import Condition, Equals

ASSOCIATION_KEYWORDS = ("CallingAET", "CalledAET")
"""What a rule may ask for beside DICOM keywords: who sent, and under which of the node's titles."""

Wanted: TypeAlias = str | int | float | list[str | int | float]


def _check_match(value: dict[str, Wanted]) -> dict[str, Wanted]:
    problems = [problem for keyword in value if (problem := keyword_problem(keyword))]
    if problems:
        raise ValueError("; ".join(problems))
    return value


Match = Annotated[dict[str, Wanted], AfterValidator(_check_match)]
"""DICOM keywords and what is wanted of each."""


def conditions(match: Mapping[str, Wanted]) -> tuple[Condition, ...]:
    """Convert a checked `match`."""
    return tuple(_condition(keyword, wanted) for keyword, wanted in match.items())


def keyword_problem(keyword: str) -> str:
    """Say what is wrong with a match keyword, with the nearest known ones; empty if nothing is."""
    if keyword in ASSOCIATION_KEYWORDS or keyword in _keywords():
        return ""
    by_case = {k.lower(): k for k in (*_keywords(), *ASSOCIATION_KEYWORDS)}
    near = difflib.get_close_matches(keyword.lower(), by_case, n=1, cutoff=0.7)
    return f"{keyword!r} is no DICOM keyword" + (f", did you mean {by_case[near[0]]!r}?" if near else "")


@lru_cache(maxsize=1)
def _keywords() -> frozenset[str]:
    return frozenset(entry[4] for entry in DicomDictionary.values() if entry[4])


def _condition(keyword: str, wanted: Wanted) -> Condition:
    texts = [str(w).strip() for w in (wanted if isinstance(wanted, list) else [wanted])]
    return Condition(
        keyword,
        tuple(Equals(t) for t in texts if not t.startswith("!")),
        tuple(Equals(t[1:].strip()) for t in texts if t.startswith("!")),
    )
