"""Keywords that rules may name, and what is wrong with all others."""

from __future__ import annotations

import difflib
import re
from functools import lru_cache

from pydicom.datadict import dictionary_has_tag, keyword_dict, keyword_for_tag

from dicom_node.domain.elements import ASSOCIATION_KEYWORDS, element_of

_TAG = re.compile(r"\(?\s*([0-9a-fA-F]{4})\s*,?\s*([0-9a-fA-F]{4})\s*\)?")


def keyword_problem(keyword: str) -> str:
    """Say what is wrong with a keyword, with the nearest known one; empty if rules can see its values."""
    element = element_of(keyword)
    if element is not None:
        return f"{keyword!r} cannot be asked for: {element.unseen}" if element.unseen else ""
    if (tag := _TAG.fullmatch(keyword.strip())) is not None:
        return _tag_problem(keyword, int(tag[1] + tag[2], 16))
    near = nearest_keyword(keyword)
    return f"{keyword!r} is no DICOM keyword" + (f", did you mean {near!r}?" if near else "")


@lru_cache(maxsize=1024)  # milliseconds of search, and a wrong word is seldom alone
def nearest_keyword(keyword: str) -> str:
    """Find the keyword that is most like this one; empty if none is."""
    known = _known()
    near = difflib.get_close_matches(re.sub(r"[\s_'-]", "", keyword).lower(), known, n=1, cutoff=0.7)
    return known[near[0]] if near else ""


def visible_keywords() -> tuple[str, ...]:
    """List every keyword whose values rules can see."""
    return tuple(_known().values())


def _tag_problem(written: str, tag: int) -> str:
    if dictionary_has_tag(tag) and (keyword := keyword_for_tag(tag)):
        return f"{written!r} is a tag number, elements are named by keyword: write {keyword!r}"
    return f"{written!r} is a tag number that the DICOM dictionary does not have; elements are named by keyword"


@lru_cache(maxsize=1)
def _known() -> dict[str, str]:
    every = (*(k for k in keyword_dict if k), *ASSOCIATION_KEYWORDS)
    return {k.lower(): k for k in every if (element := element_of(k)) is not None and not element.unseen}
