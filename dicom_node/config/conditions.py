"""What a `match` in rules.yaml says, as conditions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, ValidationInfo

from dicom_node.config.condition_texts import Excluded, parse_text, text_of
from dicom_node.config.keywords import keyword_problem
from dicom_node.config.several_faults import is_thorough, several_faults
from dicom_node.domain.elements import Element, element_of
from dicom_node.domain.matching import meets
from dicom_node.domain.rules import Condition, Equals, Matches, Presence, Test

__all__ = ["ConditionFault", "Match", "Wanted", "conditions", "keyword_problem", "parse_condition"]

Wanted: TypeAlias = str | int | float | list[str | int | float]
_Fault: TypeAlias = tuple[tuple[str | int, ...], str]


class ConditionFault(ValueError):  # noqa: N818 - the family of configuration faults
    """Everything that is wrong with one line of a `match`.

    Attributes:
        faults: Place below the keyword (the number of a list's item, or nothing), and one sentence.
    """

    def __init__(self, faults: Sequence[_Fault]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(sentence for _, sentence in faults))


def _check_match(value: object, info: ValidationInfo) -> object:
    if not isinstance(value, dict):
        raise ValueError("a match names keywords and what is wanted of each, as `Modality: CT`")
    faults: list[_Fault] = []
    for key, wanted in value.items():
        keyword = str(key)
        try:
            parse_condition(keyword, wanted, thorough=is_thorough(info))
        except ConditionFault as fault:
            faults += [((keyword, *place), sentence) for place, sentence in fault.faults]
    if faults:
        raise several_faults("match", faults, value)
    return {str(keyword): _written(wanted) for keyword, wanted in value.items()}


Match = Annotated[dict[str, Wanted], BeforeValidator(_check_match)]
"""DICOM keywords and what is wanted of each."""


def conditions(match: Mapping[str, Wanted]) -> tuple[Condition, ...]:
    """Convert a checked `match`."""
    return tuple(parse_condition(keyword, wanted) for keyword, wanted in match.items())


def parse_condition(keyword: str, wanted: object, *, thorough: bool = False) -> Condition:
    """Read one line of a `match`.

    Args:
        keyword: A DICOM keyword, `CallingAET` or `CalledAET`.
        wanted: As YAML gives it.
        thorough: Ask RE2 whether it takes the patterns.

    Raises:
        ConditionFault: everything that is wrong with it.
    """
    if problem := keyword_problem(keyword):
        raise ConditionFault([((), problem)])
    element = element_of(keyword)
    if element is None:
        raise ConditionFault([((), f"{keyword!r} is not known")])
    if not isinstance(wanted, list | tuple):
        return _single(element, wanted, thorough=thorough)
    if not wanted:
        raise ConditionFault([((), "an empty list: no value is wanted, so nothing can meet it; name a value, `present` or `absent`")])
    return _several(element, wanted, thorough=thorough)


def _single(element: Element, wanted: object, *, thorough: bool) -> Condition:
    try:
        test = parse_text(element, text_of(element, wanted), thorough=thorough)
    except ValueError as error:
        raise ConditionFault([((), str(error))]) from None
    if isinstance(test, Presence):
        return Condition(element.keyword, presence=test)
    return _condition(element, [test])


def _several(element: Element, wanted: Sequence[object], *, thorough: bool) -> Condition:
    tests: list[Test | Excluded] = []
    faults: list[_Fault] = []
    for number, item in enumerate(wanted):
        try:
            test = parse_text(element, text_of(element, item), thorough=thorough)
        except ValueError as error:
            faults.append(((number,), str(error)))
            continue
        if isinstance(test, Presence):
            faults.append(((number,), f"{test.value!r} stands alone, not in a list; write '={test.value}' if you mean that text"))
        else:
            tests.append(test)
    if faults:
        raise ConditionFault(faults)
    condition = _condition(element, tests)
    for number, test in enumerate(tests):
        if isinstance(test, Equals) and not _possible(condition, test, thorough=thorough):
            faults.append(((number,), f"a contradiction: {test.text!r} is wanted and excluded in one list"))
    if faults:
        raise ConditionFault(faults)
    return condition


def _condition(element: Element, tests: Sequence[Test | Excluded]) -> Condition:
    wanted = tuple(t for t in tests if not isinstance(t, Excluded))
    excluded = tuple(t.test for t in tests if isinstance(t, Excluded))
    return Condition(element.keyword, wanted, excluded)


def _possible(condition: Condition, wanted: Equals, *, thorough: bool) -> bool:
    """Say whether a value that is wanted passes what is excluded; patterns are asked only where RE2 may be loaded."""
    excluded = tuple(t for t in condition.none_of if thorough or not isinstance(t, Matches))
    return meets(Condition(condition.keyword, (), excluded), {condition.keyword: (wanted.text,)})


def _written(wanted: object) -> object:
    if isinstance(wanted, list | tuple):
        return [_written(item) for item in wanted]
    return wanted if isinstance(wanted, str | int | float) else str(wanted)
