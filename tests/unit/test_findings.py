from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from dicom_node.config.expressions import compile_after
from dicom_node.domain.findings import findings_from_result
from dicom_node.domain.results import Code, Highlight, InferenceResult, Measurement, ModelIdentity, Segment, Stage

CODE = Code("1", "99TEST", "Test")
ML = Code("mL", "UCUM", "milliliter")


def result(marked: int, value: float = 12.5) -> InferenceResult:
    mask = np.zeros((2, 3, 4), np.bool_)
    mask.flat[:marked] = True
    nothing = np.zeros_like(mask)
    return InferenceResult(
        model=ModelIdentity("triage", "Triage", "2.1", "m", "0" * 64, "0" * 64, "2.25.4", "none", "none", Stage.RESEARCH, "tests"),
        finding=CODE,
        finding_site=None,
        measurements=(Measurement("volume", "Volume", CODE, value, ML, ""),),
        segments=(Segment("bleed", "Bleeding", mask, CODE, CODE, None, (1, 2, 3)),),
        highlights=(Highlight("Shift", nothing, (1, 2, 3)), Highlight("Bleeding", nothing, (1, 2, 3))),
        warnings=("a warning",),
        parameters=(),
        started_at=datetime(2024, 1, 2, tzinfo=UTC),
        compute_s=0.0,
    )


@pytest.mark.parametrize("marked", [0, 1, 24])
def test_finding_is_present_where_a_voxel_is_marked(marked: int) -> None:
    found = findings_from_result(result(marked), voxel_ml=0.5)
    assert found == {
        "model": "triage",
        "version": "2.1",
        "outcome": "analysed",
        "findings": {"Bleeding": {"present": marked > 0}, "Shift": {"present": False}},
        "measurements": {"volume": {"value": 12.5, "unit": "mL"}},
        "segments": {"bleed": {"volume_ml": marked * 0.5}},
    }
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_outcome_says_whether_anything_was_analysed() -> None:
    refused = findings_from_result(replace(result(0), not_analysed=("Modality is MR, the model is for CT.",)), voxel_ml=0.5)
    assert refused["outcome"] == "not-analysed"
    assert compile_after('result.outcome == "not-analysed"').holds(refused) == (True, "")
    assert "Modality" not in json.dumps(refused)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_measurement_that_is_no_number_decides_nothing(value: float) -> None:
    found = findings_from_result(result(1, value), voxel_ml=0.5)
    assert found["measurements"] == {}
    for text in ('result.measurements["volume"].value > 1.0', '!(result.measurements["volume"].value > 1.0)'):
        met, why = compile_after(text).holds(found)
        assert not met
        assert "volume" in why


def test_values_are_plain_numbers_whatever_the_model_computes_with() -> None:
    measured = result(1)
    single = replace(measured, measurements=(replace(measured.measurements[0], value=np.float32(0.25)),))  # type: ignore[arg-type]
    assert type(findings_from_result(single, voxel_ml=0.5)["measurements"]["volume"]["value"]) is float
