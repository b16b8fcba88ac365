"""A number for each voxel as a Parametric Map with real-world values."""

from __future__ import annotations

import highdicom
import numpy as np
import pydicom
from highdicom import pm

from dicom_node.domain.equipment import NODE_MANUFACTURER, NODE_MODEL_NAME
from dicom_node.domain.results import Code, ParametricMap
from dicom_node.sr_writer.finish import concept, equipment
from dicom_node.sr_writer.grid import grid_of
from dicom_node.sr_writer.result_set import ResultSet

SERIES_NUMBER = 9950
_BODY = Code("123037004", "SCT", "Body structure")
_SIDES = ("R", "L")


def build_parametric_map(results: ResultSet, shown: ParametricMap, number: int) -> highdicom.pm.ParametricMap:
    """Write one map in 32 bit floats, each value meaning itself.

    Args:
        results: What the objects of the run share; its source has a place in a frame of reference.
        shown: The map.
        number: Counts the maps of the run from 1.

    Source: PS3.3 A.75, C.7.6.16.2.11.
    """
    request = results.request
    grid = grid_of(results.source, 0, len(results.source.frames), complete=True)
    finite = shown.values[np.isfinite(shown.values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    high = high if high > low else low + 1.0
    mapping = pm.RealWorldValueMapping(
        lut_label=shown.id.upper()[:16],
        lut_explanation=shown.label[:64],
        unit=concept(shown.unit),
        value_range=(low, high),
        slope=1.0,
        intercept=0.0,
        quantity_definition=concept(shown.quantity),
    )
    made = pm.ParametricMap(
        source_images=list(grid.headers),
        pixel_array=grid.arranged(shown.values.astype(np.float32)),
        series_instance_uid=request.uid("series", "PM", shown.id),
        series_number=SERIES_NUMBER + number - 1,
        sop_instance_uid=request.uid("instance", "PM", shown.id),
        instance_number=1,
        manufacturer=NODE_MANUFACTURER,
        manufacturer_model_name=NODE_MODEL_NAME,
        software_versions=request.node_version,
        device_serial_number=request.ae_title,
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[mapping],
        voi_lut_transformations=[_window(low, high)],
        content_label=f"AI_MAP_{number}",
        content_description=shown.label[:64],
        contributing_equipment=[equipment(request)],
    )
    made.ContentCreatorName = ""
    made.SharedFunctionalGroupsSequence[0].FrameAnatomySequence = [_anatomy(results)]
    _ascend(made)
    return made


def _ascend(made: highdicom.pm.ParametricMap) -> None:
    """Order the frames along their normal: dcmqi 1.5.7, and so 3D Slicer, stacks them as they come, whatever their positions."""
    frames = list(made.PerFrameFunctionalGroupsSequence)
    orientation = np.array(made.SharedFunctionalGroupsSequence[0].PlaneOrientationSequence[0].ImageOrientationPatient, float)
    normal = np.cross(orientation[:3], orientation[3:])
    offsets_mm = [float(np.dot(normal, np.array(f.PlanePositionSequence[0].ImagePositionPatient, float))) for f in frames]
    order = np.argsort(offsets_mm, kind="stable")
    if np.any(np.diff(order) < 0):
        planes = np.frombuffer(made.FloatPixelData, np.float32).reshape(len(frames), -1)
        made.FloatPixelData = planes[order].tobytes()
        made.PerFrameFunctionalGroupsSequence = [frames[index] for index in order]


def _anatomy(results: ResultSet) -> pydicom.Dataset:
    """Say which part of the body the map shows; dcmqi 1.5.7 crashes on a map without it. Source: PS3.3 C.7.6.16.2.8."""
    item, side = pydicom.Dataset(), str(results.source.headers[0].get("Laterality") or "")
    item.FrameLaterality = side if side in _SIDES else "U"
    item.AnatomicRegionSequence = [concept(results.request.result.finding_site or _BODY)]
    return item


def _window(low: float, high: float) -> highdicom.VOILUTTransformation:
    """Show all values; the linear function is defined for widths of 1 and more only. Source: PS3.3 C.11.2.1.3.2."""
    return highdicom.VOILUTTransformation((low + high) / 2, high - low, voi_lut_function="LINEAR_EXACT")
