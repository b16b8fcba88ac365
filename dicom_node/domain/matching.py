"""Whether a header meets a condition. Pure; used by completeness and by routing."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from importlib import import_module
from typing import TypeAlias

from dicom_node.domain.elements import Kind, kind_of
from dicom_node.domain.instances import Attributes
from dicom_node.domain.rules import Condition, Equals, Matches, Presence, Test, Within
from dicom_node.domain.values import Span, cleaned, person_name, span

_Values: TypeAlias = tuple[str, ...]
_Passes: TypeAlias = Callable[[str], bool]

_MOST_CONDITIONS = 16384
_MOST_REMEMBERED = 64


def meets(condition: Condition, attributes: Attributes) -> bool:
    """Say whether any value passes a wanted test and none an excluded one.

    Padding and empty values do not count. Numbers compare as numbers, dates, times and ages as what they mean, all else by
    letter, composed letters (NFC). What cannot be read as its element's VR passes no test but that of its own text.
    An absent or empty element fails a condition that wants a value, and meets one that only excludes.
    """
    compiled = _compiled.get(id(condition))
    if compiled is None or compiled.condition is not condition:
        compiled = _remember(condition)
    values = attributes.get(condition.keyword, ())
    answer = compiled.remembered.get(values)
    return compiled.decide(values) if answer is None else answer


def prepare(conditions: Iterable[Condition]) -> None:
    """Make the tests of conditions ready, so that the first study does not wait for a thousand patterns to be compiled."""
    for condition in conditions:
        if id(condition) not in _compiled:
            _remember(condition)


class _Compiled:
    """A condition with its tests made ready, and the answers it gave for values seen before."""

    __slots__ = ("_excluded", "_presence", "_wanted", "condition", "remembered")

    def __init__(self, condition: Condition) -> None:
        kind = kind_of(condition.keyword)
        self.condition = condition
        self.remembered: dict[_Values, bool] = {}
        self._wanted = _any_test(condition.any_of, kind) if condition.any_of else None
        self._excluded = _any_test(condition.none_of, kind) if condition.none_of else None
        self._presence = condition.presence

    def decide(self, values: _Values) -> bool:
        answer = self._answer(cleaned(values))
        if len(self.remembered) >= _MOST_REMEMBERED:
            self.remembered.clear()
        self.remembered[values] = answer
        return answer

    def _answer(self, values: _Values) -> bool:
        if self._presence is not None and bool(values) is not (self._presence is Presence.PRESENT):
            return False
        if self._excluded is not None:
            for value in values:
                if self._excluded(value):
                    return False
        if self._wanted is None:
            return True
        for value in values:  # noqa: SIM110 - a generator costs more than most tests
            if self._wanted(value):
                return True
        return False


_compiled: dict[int, _Compiled] = {}
"""By the identity of the condition, which the entry keeps alive: asking costs no hash of its texts."""


def _remember(condition: Condition) -> _Compiled:
    if len(_compiled) >= _MOST_CONDITIONS:
        _compiled.clear()
    compiled = _compiled[id(condition)] = _Compiled(condition)
    return compiled


def _any_test(tests: Iterable[Test], kind: Kind) -> _Passes:
    """Join tests to one: texts become a set, whatever their number."""
    texts, others = set(), []
    for test in tests:
        if isinstance(test, Equals):
            texts.add(_canonical(test.text, kind))
            others += [equal] if (equal := _equal(test.text, kind)) else []
        else:
            others.append(_matches(test.pattern) if isinstance(test, Matches) else _within(test, kind))
    if not others:
        return texts.__contains__ if kind is not Kind.NAME else lambda value: person_name(value) in texts
    if not texts and len(others) == 1:
        return others[0]
    return lambda value: _canonical(value, kind) in texts or any(passes(value) for passes in others)


def _canonical(text: str, kind: Kind) -> str:
    return person_name(text) if kind is Kind.NAME else text


def _equal(text: str, kind: Kind) -> _Passes | None:
    """Make the test of equality by meaning; None where only the text counts."""
    if not kind.has_order or (wanted := span(kind, text)) is None:
        return None
    if kind.is_moment or kind is Kind.AGE:
        return lambda value: (seen := span(kind, value)) is not None and wanted[0] <= seen[0] and seen[1] <= wanted[1]
    return lambda value: (seen := span(kind, value)) is not None and seen[0] == wanted[0]


def _matches(pattern: str) -> _Passes:
    re2 = import_module("re2")  # not needed by processes that decide nothing
    options = re2.Options()
    options.log_errors = False
    options.never_capture = True
    try:
        search = re2.compile(pattern, options).search
    except re2.error:
        return _never  # the configuration refuses such a pattern
    return lambda value: search(value.encode("utf-8", "replace")) is not None  # a str would be counted through, letter by letter


def _never(_value: str) -> bool:
    return False


def _within(test: Within, kind: Kind) -> _Passes:
    low = None if test.low is None else span(kind, test.low)
    high = None if test.high is None else span(kind, test.high)
    if (low is None) is not (test.low is None) or (high is None) is not (test.high is None):
        return _never

    def passes(value: str) -> bool:
        seen = span(kind, value)
        return seen is not None and _above(seen, low, included=test.low_included) and _below(seen, high, included=test.high_included)

    return passes


def _above(seen: Span, low: Span | None, *, included: bool) -> bool:
    return low is None or (seen[0] >= low[0] if included else seen[0] > low[1])


def _below(seen: Span, high: Span | None, *, included: bool) -> bool:
    return high is None or (seen[1] <= high[1] if included else seen[1] < high[0])
