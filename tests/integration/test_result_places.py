"""Markers at known places of the patient come out of every writer where they went in, however the source lies."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from dicom_node.domain.volume import Volume
from dicom_node.sr_writer import ObjectKind, ResultForm, SegKind, SrClass, build_results
from tests.result_checks import items, name_of
from tests.result_findings import COLORS, full_result, masks, request
from tests.result_sources import (
    AXIAL,
    CORONAL,
    FEET_FIRST_PRONE,
    FLIPPED,
    MARKERS_LPS_MM,
    SAGITTAL,
    VALUES,
    MadeSource,
    enhanced,
    oblique,
    stack,
)

TOLERANCE_MM = 2.0
"""Half a slice: the markers of 6 mm are sampled at 2 x 2 x 4 mm; they lie 20 mm and more apart."""
WAYS: dict[str, Callable[[], MadeSource]] = {
    "axial": lambda: stack("CT", AXIAL),
    "sagittal": lambda: stack("CT", SAGITTAL, slices=20),
    "coronal": lambda: stack("CT", CORONAL, slices=20),
    "oblique": lambda: stack("CT", oblique(), slices=16),
    "flipped": lambda: stack("CT", FLIPPED),
    "prone": lambda: stack("CT", FEET_FIRST_PRONE),
    "multi-frame sagittal": lambda: enhanced("Enhanced MR", SAGITTAL, slices=20),
    "multi-frame oblique": lambda: enhanced("Enhanced CT", oblique(), slices=16),
}
FORM = ResultForm(objects=frozenset(ObjectKind) - {ObjectKind.DOC})


class Made:
    """One result set by kind, and the source by UID."""

    def __init__(self, source: MadeSource) -> None:
        self.source = source
        objects = build_results(request(source, form=FORM))
        self.objects = {f"{o.kind}{o.number}": o.data_set for o in objects}
        comprehensive = ResultForm(objects=frozenset({ObjectKind.SEG, ObjectKind.SR}), sr_class=SrClass.COMPREHENSIVE)
        self.comprehensive = build_results(request(source, form=comprehensive))[1].data_set
        self.headers = {str(d.SOPInstanceUID): d for d in source.data_sets}

    def plane(self, uid: str, frame: int | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Position, and the steps to the next column and row, as the source's header says."""
        ds = self.headers[uid]
        if frame is not None:
            shared, own = ds.SharedFunctionalGroupsSequence[0], ds.PerFrameFunctionalGroupsSequence[frame - 1]
            place, way = own.PlanePositionSequence[0], shared.PlaneOrientationSequence[0]
            spacing = shared.PixelMeasuresSequence[0].PixelSpacing
        else:
            place, way, spacing = ds, ds, ds.PixelSpacing
        orientation = np.array(way.ImageOrientationPatient, float)
        return np.array(place.ImagePositionPatient, float), orientation[:3] * float(spacing[1]), orientation[3:] * float(spacing[0])

    def in_space(self, points_px: np.ndarray, reference: Dataset) -> np.ndarray:
        """Places of image coordinates, (0, 0) being the corner of the first pixel. Source: PS3.3 C.7.6.2.1.1, C.18.6.1."""
        frame = reference.get("ReferencedFrameNumber")
        place, column, row = self.plane(str(reference.ReferencedSOPInstanceUID), None if frame is None else int(frame))
        return place + (points_px[:, :1] - 0.5) * column + (points_px[:, 1:] - 0.5) * row


@pytest.fixture(scope="module", params=WAYS)
def made(request: pytest.FixtureRequest) -> Made:
    return Made(WAYS[request.param]())


def frames_in_space(ds: Dataset, pixels: np.ndarray, marked: np.ndarray) -> np.ndarray:
    """Middle of the marked pixels of an object with functional groups, by its own geometry."""
    shared = ds.SharedFunctionalGroupsSequence[0]
    spacing = [float(v) for v in shared.PixelMeasuresSequence[0].PixelSpacing]
    way = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float)
    points = []
    for number in np.flatnonzero(marked.any(axis=(1, 2))):
        place = np.array(ds.PerFrameFunctionalGroupsSequence[number].PlanePositionSequence[0].ImagePositionPatient, float)
        for i, j in np.argwhere(marked[number]):
            points.append(place + j * spacing[1] * way[:3] + i * spacing[0] * way[3:])
    return np.mean(points, axis=0)


def near(found: np.ndarray, name: str) -> None:
    assert np.linalg.norm(found - np.array(MARKERS_LPS_MM[name])) < TOLERANCE_MM, (name, found)


def test_segments_lie_on_their_markers(made: Made) -> None:
    ds = made.objects["SEG1"]
    pixels = ds.pixel_array.astype(bool)
    numbers = [f.SegmentIdentificationSequence[0].ReferencedSegmentNumber for f in ds.PerFrameFunctionalGroupsSequence]
    for number, item in enumerate(ds.SegmentSequence, start=1):
        marked = pixels & (np.array(numbers) == number)[:, None, None]
        near(frames_in_space(ds, pixels, marked), item.SegmentLabel.removeprefix("Marker "))


def test_parametric_map_lies_on_the_markers(made: Made) -> None:
    ds = made.objects["PM1"]
    values = np.frombuffer(ds.FloatPixelData, np.float32).reshape(ds.NumberOfFrames, ds.Rows, ds.Columns)
    near_all = frames_in_space(ds, values, values > 0.9)
    weights = {name: np.count_nonzero(mask) for name, mask in masks(made.source.images).items()}
    wanted = sum(np.array(MARKERS_LPS_MM[n]) * w for n, w in weights.items()) / sum(weights.values())
    assert np.linalg.norm(near_all - wanted) < TOLERANCE_MM


def test_box_lies_around_its_marker_in_space_and_on_the_slices(made: Made) -> None:
    polygons = [np.array(i.GraphicData, float).reshape(-1, 3)[:4] for i in items(made.objects["SR1"]) if i.ValueType == "SCOORD3D"]
    near(np.mean(np.concatenate(polygons), axis=0), "left")
    outlines = []
    for item in items(made.comprehensive):
        if item.ValueType == "SCOORD" and name_of(item) == "111030" and item.GraphicType == "POLYLINE":
            line = np.array(item.GraphicData, float).reshape(-1, 2)[:4]
            outlines.append(made.in_space(line, item.ContentSequence[0].ReferencedSOPSequence[0]))
    assert len(outlines) == len(polygons)
    near(np.mean(np.concatenate(outlines), axis=0), "left")
    assert np.allclose(np.sort(np.concatenate(outlines), axis=0), np.sort(np.concatenate(polygons), axis=0), atol=0.01)


def test_illustration_of_each_segment_lies_around_its_marker(made: Made) -> None:
    seen = set()
    for group in (i for i in items(made.objects["SR1"]) if name_of(i) == "125007"):
        marker = next(str(c.TextValue) for c in group.ContentSequence if name_of(c) == "112039").removeprefix("Marker ")
        for item in (c for c in group.ContentSequence if name_of(c) == "121080" and marker in MARKERS_LPS_MM):
            corners = np.array(item.GraphicData, float).reshape(-1, 2)[:4]
            found = np.mean(made.in_space(corners, item.ContentSequence[0].ReferencedSOPSequence[0]), axis=0)
            assert np.linalg.norm(found - np.array(MARKERS_LPS_MM[marker])) < 2 * TOLERANCE_MM, marker  # on the largest slice
            seen.add(marker)
    assert seen == set(MARKERS_LPS_MM)


def test_lines_of_the_presentation_state_lie_on_the_markers(made: Made) -> None:
    found: dict[str, list[np.ndarray]] = {}
    for annotation in made.objects["PR1"].GraphicAnnotationSequence:
        label = annotation.TextObjectSequence[0].UnformattedTextValue
        for graphic in annotation.GraphicObjectSequence:
            points = np.array(graphic.GraphicData, float).reshape(-1, 2)
            if graphic.GraphicType == "POLYLINE":
                found.setdefault(label, []).append(made.in_space(points[:-1], annotation.ReferencedImageSequence[0]))
    for name in MARKERS_LPS_MM:
        slices = [np.mean(line, axis=0) for line in found[f"Marker {name}"]]
        near(np.mean(slices, axis=0), name)


def test_contours_of_the_structure_set_lie_on_the_markers(made: Made) -> None:
    ds = made.objects["RTSTRUCT1"]
    names = {s.ROINumber: s.ROIName.removeprefix("Marker ") for s in ds.StructureSetROISequence}
    for structure in ds.ROIContourSequence:
        points = [np.array(c.ContourData, float).reshape(-1, 3) for c in structure.ContourSequence]
        near(np.mean([np.mean(p, axis=0) for p in points], axis=0), names[structure.ReferencedROINumber])


def test_marks_on_the_pictures_stand_where_the_source_is_bright(made: Made) -> None:
    """The outline's colour on a page, taken back to the slice that the page refers to."""
    images = made.source.images
    assert isinstance(images, Volume)
    seen = set()
    for name, ds in made.objects.items():
        if not name.startswith("SC") or len(ds.SourceImageSequence) != 1 or not ds.PatientOrientation:
            continue
        place, column, row = made.plane(
            str(ds.SourceImageSequence[0].ReferencedSOPInstanceUID), ds.SourceImageSequence[0].get("ReferencedFrameNumber")
        )
        scale = min(768 / images.values.shape[2], 706 / images.values.shape[1])
        left = (768 - round(images.values.shape[2] * scale)) / 2
        for marker, color in COLORS.items():
            spot = np.abs(ds.pixel_array[:690].astype(int) - color).max(axis=-1) < 12
            if spot.sum() > 200:
                i, j = np.argwhere(spot).mean(axis=0)
                x = ((j - left) / scale - 0.5) * column + (i / scale - 0.5) * row + place
                wanted = np.array(MARKERS_LPS_MM[marker])
                off = (x - wanted) - np.cross(column, row) * ((x - wanted) @ np.cross(column, row)) / 16.0  # across the slice it may differ
                assert np.linalg.norm(off) < 1.5, (marker, off)
                seen.add(marker)
    assert seen == set(MARKERS_LPS_MM)


def test_patient_orientation_of_pictures_is_that_of_the_slice(made: Made) -> None:
    volume = made.source.images
    assert isinstance(volume, Volume)
    for name, ds in made.objects.items():
        if name.startswith("SC") and ds.PatientOrientation:
            for letters, axis in zip(ds.PatientOrientation, (2, 1), strict=True):
                step = volume.affine_lps_mm[:3, axis]
                number = {"L": 0, "R": 0, "P": 1, "A": 1, "H": 2, "F": 2}[letters[0]]
                assert number == int(np.argmax(np.abs(step)))
                assert (step[number] > 0) == (letters[0] in "LPH")


@pytest.mark.parametrize("kind", list(SegKind))
@pytest.mark.parametrize("rle", [False, True])
@pytest.mark.parametrize("way", ["axial", "multi-frame oblique"])
def test_every_kind_of_segmentation_holds_the_same_masks(kind: SegKind, rle: bool, way: str) -> None:
    source = WAYS[way]()
    form = ResultForm(objects=frozenset({ObjectKind.SEG}), seg_kind=kind, rle=rle)
    [item] = build_results(request(source, form=form))
    ds = item.data_set
    compressed = ds.file_meta.TransferSyntaxUID.is_encapsulated
    assert compressed == (rle and kind is not SegKind.BINARY)
    pixels = ds.pixel_array
    for number, name in enumerate(VALUES, start=1):
        if kind is SegKind.LABELMAP:
            marked = pixels == number
        else:
            of = [f.SegmentIdentificationSequence[0].ReferencedSegmentNumber for f in ds.PerFrameFunctionalGroupsSequence]
            marked = (pixels > 0) & (np.array(of) == number)[:, None, None]
        near(frames_in_space(ds, pixels, marked), name)
        assert np.count_nonzero(marked) == np.count_nonzero(masks(source.images)[name])
    assert ds.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices == 4.0


def test_segment_on_one_slice_keeps_the_distance_of_slices() -> None:
    source = stack("CT", slices=3, slice_mm=20.0)
    [item] = build_results(request(source, form=ResultForm(objects=frozenset({ObjectKind.SEG}))))
    assert item.data_set.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices == 20.0


def test_images_that_were_resampled_are_placed_by_their_own_grid() -> None:
    """Every second slice left out and the rest moved by half a slice: no source slice lies there."""
    source = stack("CT", AXIAL)
    assert isinstance(source.images, Volume)
    affine = source.images.affine_lps_mm.copy()
    affine[2, 3] += 1.5
    moved = Volume(source.images.values, affine, source.images.frame_of_reference_uid, source.images.source_sop_instance_uids)
    resampled = MadeSource("resampled", source.data_sets, moved)
    objects = {o.kind: o.data_set for o in build_results(request(resampled, full_result(resampled)))}
    ds = objects["SEG"]
    of = [f.SegmentIdentificationSequence[0].ReferencedSegmentNumber for f in ds.PerFrameFunctionalGroupsSequence]
    marked = ds.pixel_array.astype(bool) & (np.array(of) == 1)[:, None, None]
    found = frames_in_space(ds, ds.pixel_array, marked)
    assert np.linalg.norm(found - np.array(MARKERS_LPS_MM["left"]) - (0, 0, 1.5)) < TOLERANCE_MM


def test_tracking_identifiers_are_the_same_in_every_object(made: Made) -> None:
    pairs = {(s.TrackingID, s.TrackingUID) for s in made.objects["SEG1"].SegmentSequence}
    groups = [i for i in items(made.objects["SR1"]) if name_of(i) == "125007"]
    reported = {
        (
            next(str(c.TextValue) for c in g.ContentSequence if name_of(c) == "112039"),
            next(str(c.UID) for c in g.ContentSequence if name_of(c) == "112040"),
        )
        for g in groups
    }
    assert pairs <= reported
    assert len(reported) == len(groups)
    drawn = {(g.TrackingID, g.TrackingUID) for a in made.objects["PR1"].GraphicAnnotationSequence for g in a.GraphicObjectSequence}
    assert drawn <= reported
    evidence = {
        r.ReferencedSOPInstanceUID
        for study in made.objects["SR1"].CurrentRequestedProcedureEvidenceSequence
        for series in study.ReferencedSeriesSequence
        for r in series.ReferencedSOPSequence
    }
    named = {*made.headers, *(str(made.objects[k].SOPInstanceUID) for k in ("SEG1", "PM1"))}
    assert evidence == {pydicom.uid.UID(uid) for uid in named}
