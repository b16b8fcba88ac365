"""Knowing when a study is complete for a rule: events and the time go in, rules that decide come out."""

from dicom_node.assembly.candidates import Candidates, Holdings
from dicom_node.assembly.completeness import NOBODY, Assembly, Due, DueRule, InputsQuestion, Waiting
from dicom_node.assembly.signals import Announced

__all__ = ["NOBODY", "Announced", "Assembly", "Candidates", "Due", "DueRule", "Holdings", "InputsQuestion", "Waiting"]
