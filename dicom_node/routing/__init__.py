"""The routing decision, with its reasons. Pure."""

from dicom_node.routing.decide import decide, decisions, missing_inputs
from dicom_node.routing.explain import Line, Mark, explain, explain_rule, kept_results, render, trace_from_record
from dicom_node.routing.patients import patients_agree
from dicom_node.routing.rule_set import RuleSet
from dicom_node.routing.view import StudyView

__all__ = [
    "Line",
    "Mark",
    "RuleSet",
    "StudyView",
    "decide",
    "decisions",
    "explain",
    "explain_rule",
    "kept_results",
    "missing_inputs",
    "patients_agree",
    "render",
    "trace_from_record",
]
