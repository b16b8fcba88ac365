"""The routing decision, with its reasons. Pure."""

from dicom_node.routing.decide import decide
from dicom_node.routing.explain import render

__all__ = ["decide", "render"]
