"""Coded concepts and short names in model.yaml."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from dicom_node.config.section import Section
from dicom_node.domain.results import Code


def _check_text(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty")
    if value != value.strip():
        raise ValueError("begins or ends with a space")
    if "\\" in value or not value.isprintable():
        raise ValueError("holds a backslash or a control character, which DICOM does not allow here")
    return value


Text = Annotated[str, AfterValidator(_check_text)]
"""Text of one line that can stand in a DICOM element of VR LO or UC."""
Label = Annotated[Text, Field(max_length=64)]
Identifier = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")]
"""Short stable name of an output, for example `laa_950`."""
SlotName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$")]
"""Name of an input, as rules.yaml writes it."""
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class CodeEntry(Section):
    """A coded concept. Source: PS3.3 section 8."""

    value: Annotated[Text, Field(max_length=64)] = Field(description="Code Value; in quotes if it is a number.")
    scheme: Annotated[Text, Field(max_length=16)] = Field(description="Coding Scheme Designator, such as SCT, DCM, UCUM, or 99 and a name.")
    meaning: Label = Field(description="Code Meaning, at most 64 characters.")

    def to_code(self) -> Code:
        """Convert to the domain's code."""
        return Code(self.value, self.scheme, self.meaning)
