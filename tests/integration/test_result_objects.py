"""Result objects before second readers: dciodvfy, dcentvfy, dsrdump, highdicom."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import highdicom
import numpy as np
import pydicom
import pytest

from dicom_node.domain.jobs import JobKey
from dicom_node.errors import PatientMismatchError
from dicom_node.inference import ModelInput, load_bundle, open_model, volume_from_instances
from dicom_node.pipeline.headers import header_attributes
from dicom_node.sr_writer import BuildRequest, build_results, read_measurements
from tests.conftest import ROOT
from tests.phantoms import chest_series, write
from tests.result_checks import contradictions, errors_of, saved

KEY = JobKey("1.2.3", 1, "rule", "d" * 64)
NOW = datetime(2024, 1, 2, 10, 15, tzinfo=UTC)


def request_for(source: list[pydicom.Dataset]) -> BuildRequest:
    model = open_model(load_bundle(ROOT / "config" / "models" / "chest-ct-densitometry"), threads=1)
    volume, ordered = volume_from_instances(source)
    result = model.run({"images": ModelInput(volume, header_attributes(ordered[0]))}, NOW)
    model.close()
    return BuildRequest(KEY, ordered, volume, result, "0.1.0", "AINODE")


def test_every_object_of_the_phantom_ct_passes_the_validators(tmp_path: Path) -> None:
    originals = write(chest_series(), tmp_path / "source")
    paths = saved(build_results(request_for([pydicom.dcmread(p) for p in originals])), tmp_path / "results")
    assert list(paths) == ["SEG1", "SR1", *(f"SC{n}" for n in range(1, 8))]
    assert errors_of(list(paths.values())) == {}
    assert contradictions([*originals, *paths.values()]) == []


def test_report_read_back_carries_the_figures_and_every_warning(tmp_path: Path) -> None:
    request = request_for(chest_series(ContrastBolusAgent="IV"))
    report = next(o for o in build_results(request) if o.kind == "SR").data_set
    report.save_as(tmp_path / "sr.dcm", enforce_file_format=True)
    read = read_measurements(pydicom.dcmread(tmp_path / "sr.dcm"))
    assert [m.value for m in read.measurements] == pytest.approx([m.value for m in request.result.measurements], abs=1e-4)
    assert [m.unit for m in read.measurements] == ["mL", "%", "%", "[hnsf'U]", "[hnsf'U]"]
    assert set(request.result.warnings) <= set(read.comments)
    dump = subprocess.run(["/usr/bin/dsrdump", tmp_path / "sr.dcm"], capture_output=True, text=True, check=True).stdout
    assert "Comprehensive 3D SR Document" in dump
    assert f'"{round(request.result.measurements[0].value, 4)}"' in dump


def test_segmentation_read_back_is_the_mask_on_the_grid_of_the_source() -> None:
    request = request_for(chest_series())
    item = next(o for o in build_results(request) if o.kind == "SEG").data_set
    segmentation = highdicom.seg.Segmentation.from_dataset(item)
    mask = request.result.segments[0].mask
    marked = [n for n in range(len(mask)) if mask[n].any()]
    uids = [request.images.source_sop_instance_uids[n] for n in marked]
    frames = segmentation.get_pixels_by_source_instance(uids, combine_segments=True, ignore_spatial_locations=True)
    assert np.array_equal(frames.astype(bool), mask[marked])
    assert item.NumberOfFrames == len(marked)
    assert item.ReferencedSeriesSequence[0].SeriesInstanceUID == request.source[0].SeriesInstanceUID
    assert (item.Rows, item.Columns) == (64, 64)


def test_retry_builds_the_same_sop_instances_and_another_job_others() -> None:
    request = request_for(chest_series())
    first, second = build_results(request), build_results(request)
    assert [o.data_set.SOPInstanceUID for o in first] == [o.data_set.SOPInstanceUID for o in second]
    assert len({o.data_set.SOPInstanceUID for o in first}) == 9
    other = BuildRequest(JobKey("1.2.3", 2, "rule", "d" * 64), request.source, request.images, request.result, "0.1.0", "AINODE")
    assert not {o.data_set.SOPInstanceUID for o in first} & {o.data_set.SOPInstanceUID for o in build_results(other)}


@pytest.mark.parametrize("keyword", ["PatientID", "IssuerOfPatientID", "PatientName", "StudyInstanceUID"])
def test_series_of_two_patients_gets_no_result(keyword: str) -> None:
    request = request_for(chest_series())
    setattr(request.source[5], keyword, "1.9")
    with pytest.raises(PatientMismatchError, match=keyword):
        build_results(request)


def test_research_model_is_marked_in_every_object() -> None:
    for item in build_results(request_for(chest_series())):
        assert item.data_set.ContentQualification == "RESEARCH"
        assert item.data_set.SeriesDescription.endswith("(not for diagnosis)")
        purposes = [e.PurposeOfReferenceCodeSequence[0].CodeValue for e in item.data_set.ContributingEquipmentSequence]
        assert "1630" in purposes


def test_source_is_not_changed_by_building() -> None:
    request = request_for(chest_series(PatientSex="U"))
    before = [str(d) for d in request.source]
    build_results(request)
    assert [str(d) for d in request.source] == before
