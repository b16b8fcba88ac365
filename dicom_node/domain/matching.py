"""Whether a header meets a condition. Pure; used by completeness and by routing."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

from dicom_node.domain.instances import Attributes
from dicom_node.domain.rules import Condition, Equals, Test


def meets(condition: Condition, attributes: Attributes) -> bool:
    """Say whether any value equals a wanted one and none an excluded one.

    Padding does not count, numbers compare as numbers (`1.50` equals `1.5`), letters by case. An absent or empty element
    fails a condition that wants a value, and meets one that only excludes.
    """
    values = [v.strip(" \0") for v in attributes.get(condition.keyword, ())]
    if any(_passes(value, excluded) for value in values for excluded in condition.none_of):
        return False
    return not condition.any_of or any(_passes(value, wanted) for value in values for wanted in condition.any_of)


def _passes(value: str, test: Test) -> bool:
    if isinstance(test, Equals):
        return _equal(value, test.text)
    raise NotImplementedError


def _equal(value: str, wanted: str) -> bool:
    if value == wanted:
        return True
    try:
        return Decimal(value) == Decimal(wanted)
    except InvalidOperation:
        return False
