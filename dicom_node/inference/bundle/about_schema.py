"""Who stands behind a model, what it is, and where it may be used as a product."""

from __future__ import annotations

from datetime import date
from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, model_validator

from dicom_node.config.section import Section
from dicom_node.inference.bundle.codes_schema import Label, Text

Paragraph = Annotated[str, Field(min_length=1)]


class Region(StrEnum):
    """Where a clearance holds."""

    EU = "EU"
    US = "US"
    UK = "UK"
    CH = "CH"
    CA = "CA"
    AU = "AU"
    JP = "JP"
    CN = "CN"
    KR = "KR"
    BR = "BR"
    IN = "IN"
    SG = "SG"


class Clearance(Section):
    """That an authority or a notified body lets the model be used as a product."""

    region: Region = Field(description="Where: EU, US, UK, or the country's two letters.")
    device_class: Annotated[Text, Field(max_length=8)] = Field(alias="class", description="Class of the device there, such as IIa or II.")
    number: Label = Field(description="Number of the certificate or decision.")
    expires: date | None = Field(None, description="Last day on which it holds; without, it has no end.")


class Contact(Section):
    """Whom to ask."""

    name: Label = Field(description="Person, group or company.")
    url: Annotated[str, Field(pattern=r"^https?://\S+$")] | None = Field(None, description="Web page, http or https.")
    email: Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$")] | None = Field(None, description="E-mail address.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.url is None and self.email is None:
            raise ValueError("gives neither url nor email: nobody can be reached")
        return self


class Facts(Section):
    """The model's label: what someone who reads its results should know."""

    does: Paragraph = Field(description="What it gives, in a sentence or two.")
    mechanism: Paragraph = Field(description="How it works: network, training, or rules.")
    population: str = Field("", description="On whom it was trained or designed.")
    performance: str = Field("", description="How well it does, measured on what, with the source.")
    warnings: tuple[Paragraph, ...] = Field((), description="When it goes wrong, and what its results must not be used for.")
