"""How conditions, numbers and lists read in a trace."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.domain.rules import Condition, Equals, Matches, Presence, Test


def wanted(condition: Condition) -> str:
    """Say what a condition wants, as in `CT or MR, not ~LOCALIZER`."""
    parts = []
    if condition.presence is not None:
        parts.append("any value" if condition.presence is Presence.PRESENT else "no value")
    if condition.any_of:
        parts.append(" or ".join(map(text_of, condition.any_of)))
    if condition.none_of:
        parts.append("not " + " nor ".join(map(text_of, condition.none_of)))
    return ", ".join(parts)


def text_of(test: Test) -> str:
    """Say what a test wants, as it is written in rules.yaml."""
    if isinstance(test, Equals):
        return test.text
    if isinstance(test, Matches):
        return f"~{test.pattern}"
    if test.low is not None and test.high is not None:
        if test.low_included and test.high_included:
            return f"{test.low}..{test.high}"
        return f"{'>=' if test.low_included else '>'}{test.low} and {'<=' if test.high_included else '<'}{test.high}"
    if test.low is not None:
        return f"{'>=' if test.low_included else '>'}{test.low}"
    return f"{'<=' if test.high_included else '<'}{test.high}"


def counted(count: int, noun: str, plural: str = "") -> str:
    """Write a count with its noun."""
    return f"{count} {noun if count == 1 else plural or noun + 's'}"


def listed(names: Sequence[str]) -> str:
    """Join names: `a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def mm(value: float) -> str:
    """Write a distance with one decimal, with two below a millimetre."""
    return f"{value:.1f}" if abs(value) >= 1 or value == 0 else f"{value:.2f}"
