from __future__ import annotations

from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError
from pydicom.sr.codedict import codes

from dicom_node.inference.bundle.json_schema import manifest_json_schema
from dicom_node.inference.bundle.manifest import Manifest
from dicom_node.inference.bundle.scope_schema import Counts, Lengths
from dicom_node.inference.bundle.tasks import tasks_of
from dicom_node.inference.bundle.units import is_ucum
from tests.unit.bundle.manifests import SEGMENTATION

SCHEMA = manifest_json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
ONE = {"value": "1", "scheme": "UCUM", "meaning": "1"}
CODE = {"value": "1", "scheme": "99X", "meaning": "x"}


def test_json_schema_is_one() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_every_option_explains_itself() -> None:
    for name, definition in SCHEMA["$defs"].items():
        section = next((form for form in definition.get("anyOf", ()) if "properties" in form), definition)
        for option, value in section.get("properties", {}).items():
            assert value.get("description"), f"{name}.{option}"


@pytest.mark.parametrize(
    ("old", "new", "sound"),
    [
        ("argmax: {}", "argmax:", True),
        ("infer: {sliding_window: {size: [8, 8, 8]}}", "infer: whole", True),
        ("infer: {sliding_window: {size: [8, 8, 8]}}", "infer: {slices: {neighbours: 1}, batch: 4}", True),
        ("infer: {sliding_window: {size: [8, 8, 8]}}", "infer: {whole: {}, slices: {}}", False),
        ("infer: {sliding_window: {size: [8, 8, 8]}}", "infer: {batch: 4}", False),
        ("argmax: {}", "{argmax: {}, top_k: {k: 1}}", False),
        ("argmax: {}", "argmin: {}", False),
        ("engines:", "resources: {time_limit: 90s, memory: 2GiB}\nengines:", True),
        ("engines:", "resources: {time_limit: 90}\nengines:", False),
        ("schema: 1", "schema: 2", False),
        ("stage: research", "stage: released", False),
        ("name: two-organs", "name: Two", False),
    ],
)
def test_json_schema_takes_what_the_program_takes(old: str, new: str, sound: bool) -> None:
    assert SEGMENTATION.count(old) == 1
    content = yaml.safe_load(SEGMENTATION.replace(old, new))
    assert list(VALIDATOR.iter_errors(content)) is not sound
    if sound:
        Manifest.model_validate(content)
    else:
        with pytest.raises(ValidationError):
            Manifest.model_validate(content)


@given(low=st.none() | st.floats(0.001, 1e6), high=st.none() | st.floats(0.001, 1e6))
def test_a_range_of_lengths_is_refused_exactly_if_nothing_fits_or_nothing_is_limited(low: float | None, high: float | None) -> None:
    sound = (low is not None or high is not None) and (low is None or high is None or low <= high)
    check_limits(Lengths, low, high, sound=sound)


@given(low=st.none() | st.integers(-3, 500), high=st.none() | st.integers(-3, 500))
def test_a_range_of_counts_is_refused_exactly_if_nothing_fits_or_nothing_is_limited(low: int | None, high: int | None) -> None:
    ordered = (low is not None or high is not None) and (low is None or high is None or low <= high)
    check_limits(Counts, low, high, sound=ordered and all(n is None or n >= 1 for n in (low, high)))


def check_limits(section: type[BaseModel], low: float | None, high: float | None, *, sound: bool) -> None:
    if sound:
        assert section.model_validate({"min": low, "max": high})
        return
    with pytest.raises(ValidationError):
        section.model_validate({"min": low, "max": high})


@pytest.mark.parametrize(
    "code",
    [
        *("1", "%", "mL", "ml", "L", "mm", "mm2", "cm3", "um2/s", "mm2/s", "10*-3.mm2/s", "[hnsf'U]", "{score}", "{counts}/s", "g/mL"),
        *("g/ml{SUVbw}", "mL/min/{1.73_m2}", "kg/m2", "/mm3", "m[Hg]", "mm[Hg]", "[iU]/L", "Cel", "ms", "kBq/mL", "100.ms", "deg", "s-1"),
    ],
)
def test_units_of_ucum_are_known(code: str) -> None:
    assert is_ucum(code)


@pytest.mark.parametrize(
    "code", ["", "HU", "millimeter", "mililiter", "cc", "ML/", "mm^2", "mL min", "/", "mm//s", "{", "{a b}", "%%", "pixels", "sec", "{ä}"]
)
def test_other_texts_are_no_units(code: str) -> None:
    assert not is_ucum(code)


def test_every_unit_of_the_standards_context_groups_is_known() -> None:
    every = [str(getattr(codes.UCUM, name).value) for name in codes.UCUM.dir()]
    assert len(every) > 50
    assert all(map(is_ucum, every))


@pytest.mark.parametrize(
    ("outputs", "postprocess", "tasks"),
    [
        ({"findings": [{"id": "a", "label": "A", "concept": CODE}]}, [{"boxes": {"axes": "xy"}}], ("detection",)),
        ({"findings": [{"id": "a", "label": "A", "concept": CODE}]}, [{"class_scores": {}}], ("classification",)),
        ({"evaluations": [{"id": "a", "label": "A", "concept": CODE, "classes": [CODE, {**CODE, "value": "2"}]}]}, [], ("classification",)),
        ({"maps": [{"id": "a", "label": "A", "quantity": CODE, "unit": ONE}]}, [], ("map",)),
        (
            {"measurements": [{"id": "a", "label": "A", "concept": CODE, "unit": ONE, "of": "y"}]},
            [],
            ("measurement",),
        ),
    ],
)
def test_task_is_read_off_the_outputs(outputs: dict[str, Any], postprocess: list[dict[str, Any]], tasks: tuple[str, ...]) -> None:
    content = yaml.safe_load(SEGMENTATION)
    content["outputs"] = {"finding": CODE, **outputs}
    content["steps"] = {"postprocess": postprocess}
    assert tasks_of(Manifest.model_validate(content)) == tasks


def test_segmentation_with_volumes_is_one_task() -> None:
    assert tasks_of(Manifest.model_validate(yaml.safe_load(SEGMENTATION))) == ("segmentation",)
