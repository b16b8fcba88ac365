"""The routing decision, with its reasons. Pure."""

from dicom_node.routing.decide import decide, missing_inputs
from dicom_node.routing.explain import render
from dicom_node.routing.patients import patients_agree
from dicom_node.routing.rule_set import RuleSet

__all__ = ["RuleSet", "decide", "missing_inputs", "patients_agree", "render"]
