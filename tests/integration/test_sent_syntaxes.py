"""Result objects go in the transfer syntaxes that a profile names, with the same pixels and the same UIDs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless, RLELossless
from pynetdicom.sop_class import (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    LabelMapSegmentationStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from dicom_node.delivery import scu
from dicom_node.delivery.contexts import proposed_syntaxes
from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.domain.destinations import StorageScp
from dicom_node.domain.profiles import PRESETS, ProfileObject, ResultProfile, SegType
from dicom_node.sr_writer import build_for_profiles
from tests.conftest import free_port
from tests.integration.scripted_pacs import Script, ScriptedPacs
from tests.result_findings import full_result, request
from tests.result_sources import stack

NATIVE = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
EVERY = (*NATIVE, RLELossless, JPEGLSLossless)
CLASSES = (
    BasicTextSRStorage,
    Comprehensive3DSRStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
    LabelMapSegmentationStorage,
)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """SR, SEG and one picture; and a label map that is compressed."""
    source, folder = stack(), tmp_path_factory.mktemp("results")
    profiles = (PRESETS["ohif"], ResultProfile("map", (ProfileObject.SEG,), seg_type=SegType.LABELMAP, rle=True))
    flat = full_result(source)
    objects = [o for o in build_for_profiles(request(source, flat), profiles) if o.number == 1]
    paths = []
    for item in objects:
        paths.append(folder / f"{item.kind}-{len(paths)}.dcm")
        item.data_set.save_as(paths[-1], enforce_file_format=True)
    return paths


@pytest.fixture
def pacs() -> Iterator[Callable[..., ScriptedPacs]]:
    running: list[ScriptedPacs] = []

    def start(port: int, syntaxes: tuple[str, ...]) -> ScriptedPacs:
        running.append(ScriptedPacs(port, Script(), classes=CLASSES, syntaxes=syntaxes))
        return running[-1]

    yield start
    for one in running:
        one.close()


@pytest.mark.parametrize(
    ("wanted", "accepted", "of_picture", "of_others"),
    [
        ((), EVERY, ExplicitVRLittleEndian, ExplicitVRLittleEndian),
        ((ImplicitVRLittleEndian,), EVERY, ImplicitVRLittleEndian, ImplicitVRLittleEndian),
        ((ImplicitVRLittleEndian, ExplicitVRLittleEndian), EVERY, ImplicitVRLittleEndian, ImplicitVRLittleEndian),
        ((RLELossless, ExplicitVRLittleEndian), EVERY, RLELossless, ExplicitVRLittleEndian),
        ((JPEGLSLossless, ImplicitVRLittleEndian), EVERY, JPEGLSLossless, ImplicitVRLittleEndian),
        ((JPEGLSLossless, ImplicitVRLittleEndian), NATIVE, ImplicitVRLittleEndian, ImplicitVRLittleEndian),
    ],
)
def test_objects_go_in_the_first_syntax_that_is_taken(  # noqa: PLR0917 - a table
    written: list[Path],
    pacs: Callable[..., ScriptedPacs],
    wanted: tuple[str, ...],
    accepted: tuple[str, ...],
    of_picture: str,
    of_others: str,
) -> None:
    port, outcomes = free_port(), list[Outcome]()
    archive = pacs(port, accepted)
    destination = StorageScp("pacs", "ORTHANC", "127.0.0.1", port, "x", 20, transfer_syntaxes=wanted)
    scu.send("AINODE", destination, written, lambda _, outcome: outcomes.append(outcome))
    assert [(o.verdict, o.reason) for o in outcomes] == [(Verdict.STORED, "")] * len(written)
    for path, syntax, got in zip(written, archive.syntaxes, archive.data_sets, strict=True):
        original = pydicom.dcmread(path)
        own = original.file_meta.TransferSyntaxUID
        kept = own == RLELossless and RLELossless in accepted and (not wanted or RLELossless in wanted)
        expected = of_picture if original.SOPClassUID == SecondaryCaptureImageStorage else RLELossless if kept else of_others
        assert syntax == expected
        assert got.SOPInstanceUID == original.SOPInstanceUID
        if "PixelData" in original:
            got.file_meta = pydicom.dataset.FileMetaDataset()
            got.file_meta.TransferSyntaxUID = pydicom.uid.UID(syntax)
            assert np.array_equal(got.pixel_array, original.pixel_array)


def test_nothing_is_compressed_that_cannot_be() -> None:
    wanted = (RLELossless, JPEGLSLossless, ImplicitVRLittleEndian)
    assert proposed_syntaxes(Comprehensive3DSRStorage, ExplicitVRLittleEndian, wanted) == [ImplicitVRLittleEndian]
    assert proposed_syntaxes(SegmentationStorage, ExplicitVRLittleEndian, wanted) == [ImplicitVRLittleEndian]
    assert proposed_syntaxes(LabelMapSegmentationStorage, RLELossless, wanted) == [RLELossless, ImplicitVRLittleEndian]


def test_classes_that_are_taken_are_asked_for_without_sending(pacs: Callable[..., ScriptedPacs]) -> None:
    port = free_port()
    archive = pacs(port, NATIVE)
    destination = StorageScp("pacs", "ORTHANC", "127.0.0.1", port, "x", 20)
    unknown = "1.2.840.10008.5.1.4.1.1.104.1"
    assert scu.accepted_classes("AINODE", destination, [SegmentationStorage, unknown]) == {SegmentationStorage}
    assert scu.accepted_classes("AINODE", destination, [unknown]) == frozenset()
    assert archive.stores == 0
