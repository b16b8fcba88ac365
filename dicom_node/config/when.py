"""The CEL options of a rule: checked where the file is read, taken as they are afterwards."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Annotated

from pydantic import AfterValidator, ValidationInfo

from dicom_node.config.several_faults import is_thorough, several_faults


def _check(compiler: str) -> Callable[[str, ValidationInfo], str]:
    def check(text: str, info: ValidationInfo) -> str:
        if not text or not is_thorough(info):
            return text
        expressions = import_module("dicom_node.config.expressions")  # the engine takes 20 MB, which a receiver need not hold
        try:
            getattr(expressions, compiler)(text)
        except ValueError as error:
            problems = getattr(error, "problems", (str(error),))
            raise several_faults("when", [((), problem) for problem in problems], text) from None
        return text

    return check


When = Annotated[str, AfterValidator(_check("compile_when"))]
"""CEL over the header of an instance; empty: none."""

AfterWhen = Annotated[str, AfterValidator(_check("compile_after"))]
"""CEL over the result of a model; empty: every result."""
