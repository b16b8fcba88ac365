"""Knowing when a study is complete: events and the time go in, closed studies come out."""

from dicom_node.assembly.completeness import Assembly, combined_condition

__all__ = ["Assembly", "combined_condition"]
