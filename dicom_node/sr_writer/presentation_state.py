"""Lines and labels over the source as a Softcopy Presentation State: what clinical viewers draw without changing the image."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import highdicom
import numpy as np
from highdicom import pr
from PIL import ImageCms

from dicom_node.domain.equipment import NODE_MANUFACTURER, NODE_MODEL_NAME
from dicom_node.domain.results import RegionKind
from dicom_node.sr_writer.contours import Contour, contours_of
from dicom_node.sr_writer.drawing import Rgb
from dicom_node.sr_writer.finish import equipment
from dicom_node.sr_writer.result_set import ResultSet

SERIES_NUMBER = 9940


def build_presentation_state(
    results: ResultSet,
) -> Iterator[pr.GrayscaleSoftcopyPresentationState | pr.ColorSoftcopyPresentationState]:
    """Write one state over all frames that have something on them; none if nothing has.

    Coordinates are in pixels, and each colour has a layer of its own, since layers have a recommended colour that every viewer knows.

    Source: PS3.3 A.33.1, A.33.2, C.10.5, C.10.7.
    """
    contours = list(contours_of(results))
    if not contours:
        return
    request = results.request
    layers = _layers(contours)
    indices = sorted({c.index for c in contours})
    headers = {id(f.header): f.header for f in (results.source.frames[i] for i in indices)}
    common: dict[str, Any] = {
        "referenced_images": list(headers.values()),
        "series_instance_uid": request.uid("series", "PR"),
        "series_number": SERIES_NUMBER,
        "sop_instance_uid": request.uid("instance", "PR", "1"),
        "instance_number": 1,
        "manufacturer": NODE_MANUFACTURER,
        "manufacturer_model_name": NODE_MODEL_NAME,
        "software_versions": request.node_version,
        "device_serial_number": request.ae_title,
        "content_label": "AI_FINDINGS",
        "content_description": request.result.model.title[:64],
        "graphic_layers": list(layers.values()),
        "graphic_annotations": [_annotation(results, c, layers[c.color]) for c in contours],
        "contributing_equipment": [equipment(request)],
    }
    if results.source.frames[indices[0]].values.ndim == 3:
        yield pr.ColorSoftcopyPresentationState(icc_profile=_srgb(), **common)
        return
    inverse = results.source.frames[indices[0]].header.get("PhotometricInterpretation") == "MONOCHROME1"
    shape = highdicom.PresentationLUTTransformation(presentation_lut_shape="INVERSE" if inverse else "IDENTITY")
    yield pr.GrayscaleSoftcopyPresentationState(presentation_lut_transformation=shape, **common)


@lru_cache(maxsize=1)
def _srgb() -> bytes:
    """ICC profile of pictures that bring none: sRGB as an input device, without the time at which it was made.

    Source: PS3.3 C.11.15.1.1; ICC.1 7.2.
    """
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    profile[12:16] = b"scnr"
    profile[24:36] = struct.pack(">6H", 2000, 1, 1, 0, 0, 0)
    return bytes(profile)


def _layers(contours: list[Contour]) -> dict[Rgb, pr.GraphicLayer]:
    colors = dict.fromkeys(c.color for c in contours)
    return {
        color: pr.GraphicLayer(f"AI{number}", number, display_color=highdicom.color.CIELabColor.from_rgb(*color))
        for number, color in enumerate(colors, start=1)
    }


def _annotation(results: ResultSet, contour: Contour, layer: pr.GraphicLayer) -> pr.GraphicAnnotation:
    frame = results.source.frames[contour.index]
    limits = np.array([frame.values.shape[1], frame.values.shape[0]], np.float64)
    lines = [np.clip(line, 0, limits) for line in contour.lines]
    kind = "POINT" if contour.kind is RegionKind.POINT else "POLYLINE"
    tracking: dict[str, Any] = {"tracking_id": contour.tracking_id, "tracking_uid": contour.tracking_uid}
    anchor = lines[0][np.argmin(lines[0][:, 1])]
    return pr.GraphicAnnotation(
        [frame.header],
        layer,
        referenced_frame_number=frame.reference.frame_number,
        graphic_objects=[pr.GraphicObject(kind, line, units="PIXEL", **tracking) for line in lines],
        text_objects=[
            pr.TextObject(contour.label, "PIXEL", anchor_point=(float(anchor[0]), float(anchor[1])), anchor_point_visible=False, **tracking)
        ],
    )
