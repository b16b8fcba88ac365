"""Several faults of one option, each with its own place in the file."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import ValidationError, ValidationInfo
from pydantic_core import InitErrorDetails, PydanticCustomError

THOROUGH = {"thorough": True}
"""Context of a validation that also asks the engines (RE2, CEL); what was checked once is taken back without them."""


def is_thorough(info: ValidationInfo) -> bool:
    """Say whether the engines are to be asked."""
    return bool(info.context) and info.context == THOROUGH


def several_faults(option: str, faults: Sequence[tuple[tuple[str | int, ...], str]], value: object) -> ValidationError:
    """Make the error that a validator raises for several faults.

    Args:
        option: Its name.
        faults: Place below the option, and one sentence.
        value: What the option holds.
    """
    details = [
        InitErrorDetails(type=PydanticCustomError("option", "{sentence}", {"sentence": sentence}), loc=place, input=value)
        for place, sentence in faults
    ]
    return ValidationError.from_exception_data(option, details)
