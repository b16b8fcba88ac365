"""Which frames belong to the volume where a series holds several at one position."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from pydicom.datadict import dictionary_description

from dicom_node.errors import VolumeError
from dicom_node.inference.pixels.geometry import Plane

_DIMENSIONS = (
    "TemporalPositionIndex",
    "TemporalPositionIdentifier",
    "DiffusionBValue",
    "DiffusionGradientOrientation",
    "EffectiveEchoTime",
    "EchoTime",
    "EchoNumbers",
    "InversionTimes",
    "InversionTime",
    "FlipAngle",
    "ComplexImageComponent",
    "NominalPercentageOfCardiacPhase",
    "TriggerTime",
    "KVP",
    "ConvolutionKernel",
    "FrameReferenceTime",
    "FrameReferenceDateTime",
    "ImageType",
    "AcquisitionNumber",
    "FrameAcquisitionNumber",
    "AcquisitionTime",
)
_STACK = "StackID"
_NEAR_MM = 0.01
_SHOWN = 3


def chosen_planes(planes: Sequence[Plane], only: Mapping[str, str]) -> tuple[list[Plane], list[str]]:
    """Keep the frames that the policy declares; refuse to guess where it declares too little.

    Args:
        planes: All frames of the series.
        only: The wanted value by DICOM keyword, as text.

    Returns:
        The frames of one volume, in the order given, and a sentence about each choice.

    Raises:
        VolumeError: there are several stacks, or several frames at one position, and nothing says which are wanted; or none is left.
    Source: PS3.3 C.7.6.16.2.2, C.7.6.17.
    """
    kept, notes = list(planes), []
    for keyword, wanted in only.items():
        before = len(kept)
        found = {_text(p, keyword) for p in kept}
        kept = [p for p in kept if _same(_text(p, keyword), wanted)]
        if not kept:
            raise VolumeError(f"no frame has {dictionary_description(keyword)} {wanted}; there are {_listed(found)}")
        if len(kept) < before:
            notes.append(f"{len(kept)} of {before} frames are used: those with {dictionary_description(keyword)} {wanted}")
    _refuse_several_stacks(kept)
    _refuse_ambiguity(kept)
    return kept, notes


def _refuse_several_stacks(planes: Sequence[Plane]) -> None:
    stacks = {_text(p, _STACK) for p in planes}
    if len(stacks) > 1:
        raise VolumeError(
            f"the frames belong to {len(stacks)} stacks (Stack ID {_listed(stacks)}) and nothing says which one is wanted",
            hint=f"let the model's input declare one of them: `only: {{{_STACK}: ...}}`",
        )


def _refuse_ambiguity(planes: Sequence[Plane]) -> None:
    groups = [group for group in _by_position(planes) if len(group) > 1]
    if not groups:
        return
    varying = [keyword for keyword in _DIMENSIONS if any(len({_text(p, keyword) for p in group}) > 1 for group in groups)]
    if not varying:
        return  # the same image twice; the geometry refuses it by its own words
    named = [f"{dictionary_description(k)} ({_listed({_text(p, k) for p in planes})})" for k in varying[:_SHOWN]]
    raise VolumeError(
        f"up to {max(map(len, groups))} frames lie at one position and nothing says which is wanted: they differ in {', '.join(named)}",
        hint=f"let the model's input declare one of them, such as `only: {{{varying[0]}: ...}}`, or send the series as several",
    )


def _by_position(planes: Sequence[Plane]) -> list[list[Plane]]:
    groups: dict[tuple[int, ...], list[Plane]] = {}
    for plane in planes:
        place = np.concatenate([plane.position_lps_mm / _NEAR_MM, np.concatenate([plane.row_direction, plane.column_direction]) * 100])
        groups.setdefault(tuple(int(v) for v in np.round(place)), []).append(plane)
    return list(groups.values())


def _text(plane: Plane, keyword: str) -> str:
    value: Any = "\\".join(plane.header.frame_type()) if keyword in {"ImageType", "FrameType"} else plane.header.value(keyword)
    if value is None:
        return ""
    if isinstance(value, str) or not hasattr(value, "__len__"):
        return _number_text(value)
    return "\\".join(_number_text(v) for v in value)


def _number_text(value: Any) -> str:
    try:
        return f"{float(value):g}"
    except (TypeError, ValueError):
        return str(value)


def _same(found: str, wanted: str) -> bool:
    return found == wanted or found == _number_text(wanted)


def _listed(values: set[str]) -> str:
    ordered = sorted(values, key=lambda v: (0, float(v), "") if _is_number(v) else (1, 0.0, v))
    shown = [v or "none" for v in ordered]
    return ", ".join(shown) if len(shown) <= 4 else f"{', '.join(shown[:2])} to {shown[-1]}, {len(shown)} values"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
