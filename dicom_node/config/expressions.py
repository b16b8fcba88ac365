"""CEL expressions of rules: checked when they are compiled, never raising afterwards. Nothing else imports the engine.

An expression of a rule's `when` sees every keyword of the DICOM dictionary as a variable of the type that its VR and VM have, and
`CallingAET`, `CalledAET` as lists of strings. One of `after.when` sees `result`, whose fields are checked as well.

An element with VM 1 that has no value makes what is computed from it unknown: `SliceThickness < 3.0` and `!(SliceThickness < 3.0)` are
both not met, `Modality == "CT" || SliceThickness < 3.0` is met by any CT. Elements of other VMs are lists, empty without a value.
`present("SliceThickness")` tells. Source: CEL specification, cel.dev; regular expressions are RE2's.
"""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, TypeAlias

from cel_expr_python import cel
from google.protobuf.message import Message

from dicom_node.config.expression_faults import ExpressionFault, checked_tokens, faults_of_engine, reads_field
from dicom_node.config.keywords import visible_keywords
from dicom_node.config.result_message import POOL, RESULT, finding_of, message_from_result
from dicom_node.domain.elements import Element, Kind, element_of
from dicom_node.domain.instances import Attributes
from dicom_node.domain.values import cleaned, number

Result: TypeAlias = Mapping[str, Any]
"""What a model found: `model`, `version`, `outcome` (`analysed` or `not-analysed`), `findings` {label: {present, confidence}},
`measurements` {id: {value, unit}}, `segments` {id: {volume_ml}}."""

_LONGEST = 8192
_MOST_REMEMBERED = 64
_SMALLEST_INT, _LARGEST_INT = -(1 << 63), (1 << 63) - 1
_present: ContextVar[frozenset[str]] = ContextVar("present", default=frozenset())


@dataclass(frozen=True, slots=True)
class Expression:
    """A compiled `when`.

    Attributes:
        text: As written.
        keywords: The keywords it reads, those named in `present()` among them.
    """

    text: str
    keywords: frozenset[str]
    _program: cel.Expression = field(repr=False, compare=False)
    _remembered: dict[tuple[tuple[str, ...], ...], tuple[bool, str]] = field(default_factory=dict, repr=False, compare=False)

    def holds(self, attributes: Attributes) -> tuple[bool, str]:
        """Evaluate for one header; never raises.

        Returns:
            Whether it is true, and if not, why: false, or what was unknown or went wrong.
        """
        values = tuple(attributes.get(keyword, ()) for keyword in self.keywords)
        answer = self._remembered.get(values)
        if answer is None:
            if len(self._remembered) >= _MOST_REMEMBERED:
                self._remembered.clear()
            answer = self._remembered[values] = self._evaluate(attributes)
        return answer

    def _evaluate(self, attributes: Attributes) -> tuple[bool, str]:
        read = {keyword: _read(keyword, attributes.get(keyword, ())) for keyword in self.keywords}
        data = {keyword: value.converted for keyword, value in read.items() if value.converted is not None}
        token = _present.set(frozenset(keyword for keyword, value in read.items() if value.present))
        try:
            return _outcome(self._program, data, {keyword: value.problem for keyword, value in read.items()})
        finally:
            _present.reset(token)


@dataclass(frozen=True, slots=True)
class AfterExpression:
    """A compiled `after.when`.

    Attributes:
        text: As written.
        asks_outcome: It reads `result.outcome`, and so decides itself on runs in which nothing was analysed.
    """

    text: str
    asks_outcome: bool
    _program: cel.Expression = field(repr=False, compare=False)

    def holds(self, result: Result) -> tuple[bool, str]:
        """Evaluate for what a model found; never raises. Returns as `Expression.holds`."""
        try:
            message = message_from_result(result)
        except (AttributeError, TypeError, ValueError) as error:
            return False, f"the result cannot be read: {type(error).__name__}"
        return _outcome(self._program, {"result": message}, {})


@lru_cache(maxsize=4096)
def compile_when(text: str) -> Expression:
    """Compile the `when` of a rule.

    Raises:
        ExpressionFault: everything that is wrong with it, a ValueError.
    """
    program, keywords = _compiled(text, _header_environment())
    return Expression(text, keywords, program)


@lru_cache(maxsize=4096)
def compile_after(text: str) -> AfterExpression:
    """Compile the `after.when` of a rule, for example `result.measurements["laa_950"].value > 5.0`.

    Raises:
        ExpressionFault: everything that is wrong with it, a ValueError.
    """
    program = _compiled(text, _result_environment())[0]
    return AfterExpression(text, reads_field(text, "result", "outcome"), program)


def _compiled(text: str, environment: cel.Env) -> tuple[cel.Expression, frozenset[str]]:
    if len(text) > _LONGEST:
        raise ExpressionFault([f"the expression has {len(text)} characters, {_LONGEST} are allowed"])
    text = unicodedata.normalize("NFC", text)
    try:
        text.encode()  # the engine takes nothing that is no text
        program = environment.compile(text)
    except UnicodeEncodeError as error:
        raise ExpressionFault([f"column {error.start + 1}: half of a surrogate pair is no character"]) from None
    except (RuntimeError, ValueError, UnicodeError) as error:
        raise ExpressionFault(faults_of_engine(text, str(error), of_result=environment is not _header_environment())) from None
    keywords = checked_tokens(text, lambda literal: str(environment.compile(literal).eval(data={}).value()))
    if program.return_type() != cel.Type.BOOL:
        kind = program.return_type().name().lower()
        raise ExpressionFault([f"the expression gives a value of type {kind}, it must be true or false: compare it with something"])
    return program, keywords


def _outcome(program: cel.Expression, data: Mapping[str, object], unread: Mapping[str, str]) -> tuple[bool, str]:
    try:
        answer = program.eval(data=data).value()
        if isinstance(answer, bool):
            return answer, "" if answer else "the expression is false"
    except Exception as error:  # noqa: BLE001 - whatever the engine makes of a stranger's values must not stop a decision
        answer = str(error)
    return False, _reason(str(answer), unread)


def _reason(text: str, unread: Mapping[str, str]) -> str:
    """Say in our words why a value is unknown."""
    missing = text.partition('No value with name "')[2].partition('"')[0]
    if missing:
        return unread.get(missing) or f"{missing} has no value"
    if "Key not found in map" in text:
        return f"the result has no {text.rpartition(' : ')[2]}"
    if "Iteration budget" in text:
        return "the expression takes too many steps"
    return "cannot be computed: " + text.partition(": ")[2].removesuffix(" [INTERNAL]").lower()


@dataclass(frozen=True, slots=True)
class _Read:
    """An element's value as the engine gets it.

    Attributes:
        converted: None where the engine is to take it as unknown.
        problem: Why it is unknown.
    """

    present: bool
    converted: object
    problem: str = ""


@lru_cache(maxsize=4096)  # the expressions of many rules ask for the same values
def _read(keyword: str, values: tuple[str, ...]) -> _Read:
    values = cleaned(values)
    element = element_of(keyword)
    if element is None:
        return _Read(bool(values), None, f"{keyword} is not known")
    converted = [_typed(element, value) for value in values]
    if any(value is None for value in converted):
        return _Read(present=True, converted=None, problem=f"{keyword} is no {element.kind.value}")
    if element.is_list:
        return _Read(bool(values), converted)
    if len(values) > 1:
        return _Read(present=True, converted=None, problem=f"{keyword} has {len(values)} values, the dictionary allows one")
    return (
        _Read(present=True, converted=converted[0]) if values else _Read(present=False, converted=None, problem=f"{keyword} has no value")
    )


def _typed(element: Element, value: str) -> str | int | float | None:
    if not element.kind.is_number:
        return value
    read = number(value)
    if read is None:
        return None
    if element.kind is Kind.DECIMAL:
        return float(read) if math.isfinite(float(read)) else None
    if not _SMALLEST_INT <= read <= _LARGEST_INT or read != read.to_integral_value():
        return None
    return int(read)


@lru_cache(maxsize=1)
def _header_environment() -> cel.Env:
    present = cel.Overload("present_string", cel.Type.BOOL, [cel.Type.STRING], impl=_is_present)
    variables = {keyword: _type_of(keyword) for keyword in visible_keywords()}
    return cel.NewEnv(variables=variables, functions=[cel.FunctionDecl("present", [present])])


def _is_present(keyword: str) -> bool:
    return keyword in _present.get()


def _type_of(keyword: str) -> cel.Type:
    element = element_of(keyword)
    if element is None:
        raise LookupError(keyword)
    simple = {Kind.INTEGER: cel.Type.INT, Kind.DECIMAL: cel.Type.DOUBLE}.get(element.kind, cel.Type.STRING)
    return cel.Type.List(simple) if element.is_list else simple


@lru_cache(maxsize=1)
def _result_environment() -> cel.Env:
    result = cel.Type(RESULT)
    implementation: Callable[[Message, str], Message] = finding_of
    finding = cel.Overload(
        "result_finding_string", cel.Type(RESULT + ".Finding"), [result, cel.Type.STRING], is_member=True, impl=implementation
    )
    return cel.NewEnv(descriptor_pool=POOL, variables={"result": result}, functions=[cel.FunctionDecl("finding", [finding])])
