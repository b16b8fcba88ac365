"""The routing decision, with its reasons. Pure."""

from dicom_node.routing.decide import decide, missing_inputs
from dicom_node.routing.explain import Line, Mark, explain, explain_rule, render, trace_from_record
from dicom_node.routing.patients import patients_agree
from dicom_node.routing.rule_set import RuleSet

__all__ = [
    "Line",
    "Mark",
    "RuleSet",
    "decide",
    "explain",
    "explain_rule",
    "missing_inputs",
    "patients_agree",
    "render",
    "trace_from_record",
]
