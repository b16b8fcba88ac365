"""What images a model is for, in sentences."""

from __future__ import annotations

from collections.abc import Iterator

from dicom_node.domain.elements import element_of
from dicom_node.domain.rules import Condition, Presence
from dicom_node.inference.bundle.scope_schema import Geometry, InputScope
from dicom_node.inference.geometry_fit import range_words
from dicom_node.inference.header_fit import element_name, wanted_words
from dicom_node.inference.misfit import alternatives, shown

_LENGTHS = (
    ("slice_spacing_mm", "Distance between slices"),
    ("pixel_spacing_mm", "Distance between pixels"),
    ("coverage_mm", "Length that the slices cover"),
)
_COUNTS = (("slices", "Slices"), ("frames", "Images"), ("rows", "Pixel rows"), ("columns", "Pixel columns"))


def scope_sentences(scope: InputScope) -> Iterator[str]:
    """Say each condition and each limit, for example `Modality: CT`; no full stops."""
    for condition in scope.conditions():
        yield _condition(condition)
    yield from _geometry(scope.geometry)


def _condition(condition: Condition) -> str:
    element = element_of(condition.keyword)
    if element is None:
        return condition.keyword
    if condition.presence is not None:
        return f"{element_name(element)}: {'stated' if condition.presence is Presence.PRESENT else 'not stated'}"
    return f"{element_name(element)}: {wanted_words(element, condition)}"


def _geometry(geometry: Geometry) -> Iterator[str]:
    for name, words in _COUNTS:
        if (counts := getattr(geometry, name)) is not None:
            yield f"{words}: {range_words(counts, '')}"
    for name, words in _LENGTHS:
        if (lengths := getattr(geometry, name)) is not None:
            yield f"{words}: {range_words(lengths, ' mm')}"
    if geometry.orientation:
        yield f"Slices: {alternatives(geometry.orientation)}, turned by at most {shown(geometry.orientation_tolerance_deg)} degrees"
