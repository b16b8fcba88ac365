"""Plans of TensorRT-RTX, whose builder needs no GPU; they are built and kept, and not run."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from dicom_node.errors import ModelError
from dicom_node.inference.backends import Network, Precision, SessionOptions, ShapeRange
from dicom_node.inference.engines.build_engine import EngineMaker
from dicom_node.inference.engines.cache import EngineCache
from dicom_node.inference.engines.tensorrt_library import Flavour, load_tensorrt
from dicom_node.inference.gate.candidates import candidates
from dicom_node.inference.gate.opening import EngineSettings
from dicom_node.inference.gate.plans import build_plans, digest_of, note_beside, plan_makers
from dicom_node.inference.gate.subject import Engine, subject_of
from tests.unit.gate.bundles import write_bundle
from tests.unit.gate.networks import classifier
from tests.unit.gate.test_records import record

PROFILES = {"x": ShapeRange((1, 1, 8, 8), (1, 1, 16, 16), (2, 1, 16, 16))}


@pytest.fixture(scope="module")
def makers(tmp_path_factory: pytest.TempPathFactory) -> tuple[EngineMaker, EngineMaker]:
    """The plan of one network, built, and that of another one, not built."""
    pytest.importorskip("tensorrt_rtx", reason="the extra rtx is not installed")
    folder = tmp_path_factory.mktemp("plans")
    library, options = load_tensorrt(Flavour.RTX), SessionOptions(profiles=PROFILES, engines_dir=folder / "engines")
    built, other = (
        EngineMaker(library, None, (Network(classifier(folder / f"{seed}.onnx", seed=seed)), Precision.FP32, options)) for seed in (0, 1)
    )
    built.make()
    return built, other


def cache(maker: EngineMaker) -> EngineCache:
    return EngineCache(maker.run[2].engines_dir, limit_bytes=1 << 30)


def test_a_digest_is_that_of_all_plans_and_of_none_if_one_is_missing(makers: tuple[EngineMaker, EngineMaker]) -> None:
    built, other = makers
    key, plan = built.kept()
    assert plan == cache(built).find(key).plan
    assert digest_of([built]) == hashlib.sha256(hashlib.sha256(plan).digest()).hexdigest()
    assert digest_of([built, built]) not in ("", digest_of([built]))
    assert other.kept()[1] is None
    assert digest_of([built, other]) == digest_of([]) == ""


def test_a_record_stands_beside_its_plan_signed_with_it(makers: tuple[EngineMaker, EngineMaker]) -> None:
    built, other = makers
    before = digest_of([built])
    note_beside([built], record())
    kept = cache(built).find(built.kept()[0])
    assert kept.record["gate_record"] == record().digest
    assert kept.record["gate"]["key"]["backend"] == "tensorrt"
    assert kept.record["parts"]["precision"] == "fp32"
    assert digest_of([built]) == before
    with pytest.raises(ModelError, match="no engine"):
        note_beside([other], record())


def test_a_plan_whose_record_was_altered_is_none(makers: tuple[EngineMaker, EngineMaker], tmp_path: Path) -> None:
    built, _ = makers
    path = built.run[2].engines_dir / "entries" / built.kept()[0] / "record.json"
    altered = json.loads(path.read_bytes())
    path.write_text(json.dumps({**altered, "gate_record": "f" * 64}))
    assert digest_of([built]) == ""
    built.make()
    assert digest_of([built]) != ""


def test_other_back_ends_build_no_plans(tmp_path: Path) -> None:
    subject = subject_of(write_bundle(tmp_path / "tiny"))
    for candidate in candidates(subject):
        assert plan_makers(subject, candidate, EngineSettings()) == ()
        assert build_plans(subject, candidate, EngineSettings()) == ""


def test_without_a_gpu_there_is_no_plan_to_look_for(tmp_path: Path) -> None:
    subject = subject_of(write_bundle(tmp_path / "tiny", engines={"backends": ["tensorrt"], "precisions": ["fp16"]}))
    found = candidates(subject)[0]
    assert found.engine == Engine("tensorrt", "fp16")
    if found.unavailable:
        assert plan_makers(subject, found, EngineSettings()) == ()
