"""What is wrong with an expression, in words for whoever writes rules."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from dicom_node.config.keywords import keyword_problem
from dicom_node.config.regular_expressions import pattern_problem
from dicom_node.domain.elements import element_of

_ENGINE_FAULT = re.compile(r"ERROR: <input>:(\d+):(\d+): (.*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']*)'")
_OVERLOAD = re.compile(r"found no matching overload for '([^']*)' applied to '(.*)'")
_FIELD = re.compile(r"undefined field '([^']*)' not found in struct '[^']*?([A-Za-z]+)'")
_FIELDS = {
    "Result": ("model", "version", "outcome", "findings", "measurements", "segments"),
    "Finding": ("present", "confidence"),
    "Measurement": ("value", "unit"),
    "Segment": ("volume_ml",),
}
_PRESENT = 'present() takes one keyword in quotes, such as present("SliceThickness")'
_FUNCTIONS = ("matches", "startsWith", "endsWith", "contains", "size", "exists", "all", "int", "double", "string")
_RAW = r"""(?:[bB]?[rR]|[rR][bB])(?:\"{3}(?s:.*?)\"{3}|'{3}(?s:.*?)'{3}|\"[^\"\n]*\"|'[^'\n]*')"""
_PLAIN = (
    r"""[bB]?(?:\"{3}(?s:(?:\\.|.)*?)\"{3}|'{3}(?s:(?:\\.|.)*?)'{3}"""
    r"""|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*')"""
)
_TOKEN = re.compile(rf"(?P<comment>//[^\n]*)|(?P<string>{_RAW}|{_PLAIN})|(?P<name>[A-Za-z_]\w*)|(?P<mark>\S)")


class ExpressionFault(ValueError):  # noqa: N818 - the family of configuration faults
    """Everything that is wrong with one expression.

    Attributes:
        problems: One sentence each, with the column where it is known.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(problems))


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


def faults_of_engine(text: str, message: str, *, of_result: bool) -> list[str]:
    """Turn the engine's message into one sentence a fault.

    Args:
        text: The expression.
        message: As the engine gives it.
        of_result: The expression is one of `after.when`.
    """
    found = _ENGINE_FAULT.findall(message)
    if not found:
        if "recursion limit" in message:
            return ["the expression is nested too deeply"]
        return ["the engine refuses the expression: " + message.removesuffix(" [INVALID_ARGUMENT]").partition(": ")[2]]
    several = "\n" in text.strip()
    faults = []
    for line, column, what in found:
        place = f"line {line}, column {column}: " if several else f"column {column}: "
        faults.append(place + _in_our_words(text, what.removesuffix(" [INVALID_ARGUMENT]"), of_result=of_result))
    return faults


def checked_tokens(text: str, literal: Callable[[str], str]) -> frozenset[str]:
    """Check what the engine takes as it is: keywords in `present()` and patterns in `matches()`.

    Args:
        text: An expression that compiles.
        literal: Evaluates a string literal.

    Returns:
        The keywords that the expression reads.

    Raises:
        ExpressionFault: what is wrong.
    """
    tokens = [_Token(str(m.lastgroup), m.group(), m.start()) for m in _TOKEN.finditer(text) if m.lastgroup != "comment"]
    problems, keywords = [], set()
    for number, token in enumerate(tokens):
        if token.kind != "name":
            continue
        arguments = list(_arguments(tokens, number))
        if token.text == "present" and arguments:
            keyword = literal(arguments[0].text) if len(arguments) == 1 and arguments[0].kind == "string" else ""
            problem = keyword_problem(keyword) if keyword else _PRESENT
            problems += [f"column {token.at + 1}: {problem}"] if problem else []
            keywords.add(keyword)
        elif token.text == "matches" and arguments and arguments[-1].kind == "string":
            problem = pattern_problem(literal(arguments[-1].text))
            problems += [f"column {arguments[-1].at + 1}: {problem}"] if problem else []
        elif (element := element_of(token.text)) is not None and not element.unseen:
            keywords.add(token.text)
    if problems:
        raise ExpressionFault(problems)
    return frozenset(keywords)


def reads_field(text: str, variable: str, name: str) -> bool:
    """Say whether an expression reads a field of a variable, such as `result.outcome`; what stands in quotes does not count."""
    tokens = [m.group() for m in _TOKEN.finditer(text) if m.lastgroup not in ("comment", "string")]
    return any(tokens[n : n + 3] == [variable, ".", name] for n in range(len(tokens)))


def _arguments(tokens: Sequence[_Token], number: int) -> Iterator[_Token]:
    """Yield what stands between the parentheses behind a name."""
    depth = 0
    for token in tokens[number + 1 :]:
        if depth == 0 and token.text != "(":
            return
        depth += (token.text in "([{") - (token.text in ")]}") if token.kind == "mark" else 0
        if depth == 0:
            return
        if depth > 1 or token.text != "(" or token.kind != "mark":
            yield token


def _in_our_words(text: str, what: str, *, of_result: bool) -> str:
    if found := _UNDECLARED.search(what):
        return _undeclared(text, found[1].partition(".")[0], of_result=of_result)
    if found := _OVERLOAD.search(what):
        return _overload(found[1].strip("_"), found[2].strip("()"))
    if found := _FIELD.search(what):
        known = _FIELDS.get(found[2], ())
        near = difflib.get_close_matches(found[1], known, n=1)
        return f"a {found[2].lower()} has no {found[1]!r}, " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}")
    if "Syntax error" in what:
        return _syntax(text, what.removeprefix("Syntax error: "))
    if "has() argument" in what:
        return 'has() works on fields of `result`; for an element write present("KEYWORD")'
    return what


def _undeclared(text: str, name: str, *, of_result: bool) -> str:
    if re.search(rf"\b{re.escape(name)}\s*\(", text):
        known = (*_FUNCTIONS, "finding" if of_result else "present")
        if name in known:
            return _PRESENT if name == "present" else f"{name}() is called with too few or too many arguments"
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
        return f"{name!r} is no function" + (f", did you mean {near[0]!r}?" if near else f"; functions are {', '.join(known)}")
    if of_result:
        element = f"{name!r} is an element of the header" if element_of(name) else f"{name!r} is not known"
        return f"{element}; `after.when` sees `result`, a text stands in quotes"
    if name == "result":
        return "'result' is known to `after.when` only; `when` sees DICOM keywords"
    problem = keyword_problem(name)
    return problem if element_of(name) is not None or "did you mean" in problem else f"{problem}; a text stands in quotes"


def _overload(operator: str, types: str) -> str:
    operator = operator.removeprefix("@")
    if operator == "present":
        return _PRESENT
    fault = f"{operator!r} cannot be applied to {types or 'nothing'}"
    hints = {
        "double, int": "write the number with a decimal point, such as 3.0",
        "int, double": "write the number without a decimal point, such as 3",
        "string, int": "write the value in quotes",
        "string, double": "write the value in quotes",
        "int, string": "write the number without quotes",
        "double, string": "write the number without quotes, with a decimal point",
        "string, string": "the element has one value: write KEYWORD ==",
        "list(string), string": 'an element with several values is a list: write "VALUE" in KEYWORD',
    }
    hint = hints.get(types, "")
    return fault + (f"; {hint}" if hint else "")


def _syntax(text: str, what: str) -> str:
    if "'and'" in what or "'or'" in what or "'not'" in what:
        return "syntax error; CEL writes && for and, || for or, ! for not"
    code = "".join(m.group() for m in _TOKEN.finditer(text) if m.lastgroup in ("name", "mark"))
    if re.search(r"(?<![=!<>])=(?!=)", code):
        return "syntax error; equality is written =="
    if "'<EOF>'" in what:
        return "syntax error: the expression ends too early"
    return "syntax error: " + what.partition(" expecting ")[0]
