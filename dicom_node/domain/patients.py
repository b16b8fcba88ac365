"""Whose a study is. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from dicom_node.domain.instances import Attributes


@dataclass(frozen=True, slots=True)
class PatientKey:
    """Patient ID with the Issuer of Patient ID that makes it unique; padding does not count. Patient data."""

    patient_id: str
    issuer: str

    @classmethod
    def of(cls, attributes: Attributes) -> PatientKey:
        """Read it from a header; both are empty where the header has none."""
        return cls(first_value(attributes, "PatientID"), first_value(attributes, "IssuerOfPatientID"))

    @property
    def is_known(self) -> bool:
        """A study without a Patient ID is nobody's."""
        return bool(self.patient_id)


def first_value(attributes: Attributes, keyword: str) -> str:
    """Return an element's first value without padding; empty if it has none."""
    return next(iter(attributes.get(keyword, ())), "").strip(" \0")
