"""Which message a destination gets; destinations of equal forms share one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from dicom_node.domain.destinations import Destination, FhirServer, FhirVersion, Hl7Receiver

HL7_VERSION = "2.5.1"


@dataclass(frozen=True, slots=True)
class Hl7Form:
    """An ORU^R01 in one language for one receiver, whose name stands in the message."""

    language: str
    application: str = ""
    facility: str = ""

    @property
    def kind(self) -> str:
        """Kind of the result on record."""
        return "HL7"

    @property
    def variant(self) -> str:
        """What tells it apart from other messages of its run."""
        receiver = f":{self.application}|{self.facility}" if self.application or self.facility else ""
        return f"v{HL7_VERSION}:{self.language}{receiver}"


@dataclass(frozen=True, slots=True)
class FhirForm:
    """A transaction bundle in one language and release.

    Attributes:
        patient_system: Identifier system of patients whose headers name no globally unique issuer; empty: none is known.
        accession_system: The same of accession numbers.
    """

    language: str
    version: FhirVersion
    patient_system: str = ""
    accession_system: str = ""

    @property
    def kind(self) -> str:
        """Kind of the result on record."""
        return "FHIR"

    @property
    def variant(self) -> str:
        """What tells it apart from other messages of its run."""
        systems = f":{self.patient_system}|{self.accession_system}" if self.patient_system or self.accession_system else ""
        return f"{self.version}:{self.language}{systems}"


MessageForm: TypeAlias = Hl7Form | FhirForm


def form_for(destination: Destination | None) -> MessageForm | None:
    """Return the form of message that a destination gets; None for one that gets DICOM objects."""
    if isinstance(destination, Hl7Receiver):
        return Hl7Form(destination.language, destination.application, destination.facility)
    if isinstance(destination, FhirServer):
        return FhirForm(destination.language, destination.version, destination.patient_system, destination.accession_system)
    return None
