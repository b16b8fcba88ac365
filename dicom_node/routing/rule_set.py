"""Rules made ready: every distinct test has a number, and is asked once per series whatever the number of rules that ask it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib import import_module
from typing import Protocol, TypeAlias

from dicom_node.domain.instances import Attributes
from dicom_node.domain.matching import meets
from dicom_node.domain.routing import ConditionTrace
from dicom_node.domain.rules import Condition, InputSlot, Rule, SeriesCheck
from dicom_node.routing.view import MOST_VALUES_SHOWN, Answer, Column, InstanceSet, SeriesView
from dicom_node.routing.wording import wanted

Selection: TypeAlias = tuple[InstanceSet, tuple[ConditionTrace, ...]]
"""The instances of a series that met every test of an input, and what each test saw."""

_MOST_REMEMBERED = 64
_Ask: TypeAlias = Callable[[SeriesView], Answer]


class _Expression(Protocol):
    """What a compiled `when` is, of which the engine is loaded by the first rule that has one."""

    @property
    def keywords(self) -> frozenset[str]: ...

    def holds(self, attributes: Attributes) -> tuple[bool, str]: ...


@dataclass(frozen=True, slots=True)
class ReadyInput:
    """An input, and the numbers of its tests: those of the rule and its own; of one with `prior`, its own."""

    slot: InputSlot
    tests: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class ReadyRule:
    """A rule made ready.

    Attributes:
        tests: Numbers of the tests of its `match` and `when`.
        own: Inputs from the study itself.
        priors: Inputs from earlier studies.
        checks: What is looked for in a series; nothing without a model, which alone a faulty series would harm.
        kind: Equal for rules of a set that, given the same instances, choose the same: alike in all of `own` but `match`, and in `checks`.
    """

    rule: Rule
    tests: tuple[int, ...]
    own: tuple[ReadyInput, ...]
    priors: tuple[ReadyInput, ...]
    checks: tuple[SeriesCheck, ...]
    kind: int


class RuleSet:
    """Rules ready to decide; make one and keep it as long as the rules are the same."""

    def __init__(self, rules: Sequence[Rule], beside: RuleSet | None = None) -> None:
        """Make rules ready.

        Args:
            rules: In their order.
            beside: A rule set that is asked about the same views: what both ask is asked once.

        Raises:
            ValueError: a `when` does not compile; the configuration refuses such a rule.
        """
        self._asks: list[_Ask] = [] if beside is None else beside._asks
        self._numbers: dict[Condition | str, int] = {} if beside is None else beside._numbers
        self._kinds: dict[tuple[object, ...], int] = {} if beside is None else beside._kinds
        self.rules = tuple(self._ready(rule) for rule in rules)

    def select(self, tests: Sequence[int], series: SeriesView) -> Selection:
        """Ask a series a number of tests."""
        instances, traces, answers = series.everything, [], series.answers
        for test in tests:
            answer = answers.get(test)
            if answer is None:
                answer = answers[test] = self._asks[test](series)
            instances &= answer[0]
            traces.append(answer[1])
        return instances, tuple(traces)

    def meets(self, tests: Sequence[int], series: SeriesView) -> bool:
        """Say whether an instance of a series meets every test."""
        instances, answers = series.everything, series.answers
        for test in tests:
            answer = answers.get(test)
            if answer is None:
                answer = answers[test] = self._asks[test](series)
            instances &= answer[0]
            if not instances:
                return False
        return True

    def _ready(self, rule: Rule) -> ReadyRule:
        own = [self._number(condition) for condition in rule.match]
        if rule.when:
            own.append(self._number(rule.when))
        inputs = []
        for slot in rule.inputs:
            tests = [] if slot.prior else own
            inputs.append(ReadyInput(slot, tuple(dict.fromkeys([*tests, *map(self._number, slot.match)]))))
        current = tuple(i for i in inputs if i.slot.prior is None)
        checks = rule.checks if rule.model else ()
        kind = (checks, *(replace(i.slot, match=()) for i in current))
        priors = tuple(i for i in inputs if i.slot.prior is not None)
        return ReadyRule(rule, tuple(own), current, priors, checks, self._kinds.setdefault(kind, len(self._kinds)))

    def _number(self, test: Condition | str) -> int:
        number = self._numbers.get(test)
        if number is None:
            number = self._numbers[test] = len(self._asks)
            self._asks.append(_expression_test(test) if isinstance(test, str) else _condition_test(test))
        return number


class _Same:
    """A tuple of rules by its identity: no rule is hashed or compared to find the set that was made of it."""

    __slots__ = ("rules",)

    def __init__(self, rules: tuple[Rule, ...]) -> None:
        self.rules = rules

    def __hash__(self) -> int:
        return id(self.rules)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self.rules is other.rules


def ready(rules: Sequence[Rule] | RuleSet) -> RuleSet:
    """Return the rule set of some rules; the sets of the last few tuples are kept."""
    if isinstance(rules, RuleSet):
        return rules
    return _of_tuple(_Same(rules)) if isinstance(rules, tuple) else RuleSet(rules)


@lru_cache(maxsize=4)
def _of_tuple(same: _Same) -> RuleSet:
    return RuleSet(same.rules)


def _condition_test(condition: Condition) -> _Ask:
    keyword, text = condition.keyword, wanted(condition)
    remembered: dict[tuple[tuple[str, ...], InstanceSet], Answer] = {}

    def ask(series: SeriesView) -> Answer:
        column = series.column(keyword)
        if len(column.parts) != 1:
            return answered(column)
        part = column.parts[0]
        answer = remembered.get(part)  # all instances alike, as in most series of most studies
        if answer is None:
            if len(remembered) >= _MOST_REMEMBERED:
                remembered.clear()
            answer = remembered[part] = answered(column)
        return answer

    def answered(column: Column) -> Answer:
        instances = 0
        for values, holders in column.parts:
            if meets(condition, {keyword: values}):
                instances |= holders
        return instances, ConditionTrace(keyword, text, column.seen, instances.bit_count())

    return ask


def _expression_test(text: str) -> _Ask:
    expression = _compiled(text)
    keywords = sorted(expression.keywords)

    def ask(series: SeriesView) -> Answer:
        instances = 0
        seen: dict[str, None] = {}
        for header, holders in series.parts(keywords):
            holds, why = expression.holds(header)
            if holds:
                instances |= holders
            else:
                seen[why] = None
        return instances, ConditionTrace("when", text, tuple(seen)[:MOST_VALUES_SHOWN], instances.bit_count())

    return ask


def _compiled(text: str) -> _Expression:
    compiled: _Expression = import_module("dicom_node.config.expressions").compile_when(text)
    return compiled
