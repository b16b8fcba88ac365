from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path

import pytest

from dicom_node.errors import EngineUnavailableError, ModelError
from dicom_node.inference import Manifest, ModelBundle
from dicom_node.inference.gate.agreement import Agreement, Tolerance
from dicom_node.inference.gate.choice import Candidate, Choice, State, choose, standings
from dicom_node.inference.gate.records import CaseKind, CaseRecord, EngineKey, Record
from dicom_node.inference.gate.subject import Engine, Subject, subject_of
from tests.unit.gate.bundles import manifest

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
TRT16, TRT32, VINO16, ORT32 = (
    Engine("tensorrt", "fp16"),
    Engine("tensorrt", "fp32"),
    Engine("openvino", "bf16"),
    Engine("onnxruntime", "fp32"),
)
GONE, NEVER, GOOD, BAD, PARITY = "unavailable", "no record", "good record", "bad record", "parity record"
NO_RECORD = "no record says that it agrees with the reference; run dicom-node models build tiny"


def subject(*, cpu_fallback: bool = True, clearances: tuple[date | None, ...] = ()) -> Subject:
    sections: dict[str, object] = {"engines": {"backends": ["tensorrt", "onnxruntime"], "cpu_fallback": cpu_fallback}}
    if clearances:
        regions = ("EU", "US")
        entries = [
            {"region": r, "class": "IIa", "number": f"No {n}", "expires": e}
            for n, (r, e) in enumerate(zip(regions, clearances, strict=False))
        ]
        sections |= {"stage": "cleared", "clearances": entries}
    return subject_of(ModelBundle(Path("tiny"), Manifest.model_validate(manifest(**sections)), "d" * 64, "w" * 64))


def candidate(engine: Engine, how: str) -> Candidate:
    device = "cuda:0" if engine.backend == "tensorrt" else "cpu"
    key = EngineKey("d" * 64, {}, engine.backend, engine.precision, device, {})
    return Candidate(engine, device, None if how == GONE else key, "no GPU is here" if how == GONE else "", engine == ORT32)


def record(key: EngineKey, how: str) -> Record:
    failed = {BAD: ("y: largest error 1", "thing: Dice 0.2", "third")}.get(how, ())
    case = CaseRecord("chest", CaseKind.REFERENCE, Agreement(), failed, 0.1)
    return Record(key, Tolerance(), (case,), how == PARITY, NOW, 1.0)


def stand(engines: Mapping[Engine, str]) -> tuple[tuple[Candidate, ...], dict[str, Record]]:
    candidates = tuple(candidate(engine, how) for engine, how in engines.items())
    kept = {c.key.digest: record(c.key, engines[c.engine]) for c in candidates if c.key and engines[c.engine] not in (GONE, NEVER)}
    return candidates, kept


def choice(engines: Mapping[Engine, str], **fields: object) -> Choice:
    return choose(subject(**fields), *stand(engines), NOW)


@pytest.mark.parametrize(
    ("engines", "chosen", "generated", "fallback"),
    [
        ({TRT16: GOOD, ORT32: GOOD}, TRT16, False, ""),
        ({TRT16: PARITY, ORT32: GOOD}, TRT16, True, ""),
        ({TRT16: GOOD, TRT32: GOOD, ORT32: NEVER}, TRT16, False, ""),
        ({ORT32: NEVER}, ORT32, False, ""),
        ({ORT32: GOOD, TRT16: GOOD}, ORT32, False, ""),
        (
            {TRT16: GONE, ORT32: NEVER},
            ORT32,
            False,
            "onnxruntime fp32, the reference, serves: tensorrt fp16 on cuda:0 is not available (no GPU is here)",
        ),
        (
            {TRT16: NEVER, ORT32: NEVER},
            ORT32,
            False,
            f"onnxruntime fp32, the reference, serves: tensorrt fp16 on cuda:0 is not verified ({NO_RECORD})",
        ),
        (
            {TRT16: BAD, ORT32: GOOD},
            ORT32,
            False,
            "onnxruntime fp32, the reference, serves: tensorrt fp16 on cuda:0 failed its verification "
            "(chest: y: largest error 1; chest: thing: Dice 0.2; and 1 more)",
        ),
        (
            {TRT16: BAD, TRT32: GONE, VINO16: GOOD, ORT32: GOOD},
            VINO16,
            False,
            "openvino bf16 serves: tensorrt fp16 on cuda:0 failed its verification "
            "(chest: y: largest error 1; chest: thing: Dice 0.2; and 1 more); tensorrt fp32 on cuda:0 is not available (no GPU is here)",
        ),
    ],
)
def test_the_first_engine_that_is_here_and_agrees_serves(
    engines: Mapping[Engine, str], chosen: Engine, generated: bool, fallback: str
) -> None:
    found = choice(engines)
    assert (Engine(found.backend, found.precision), found.generated, found.fallback) == (chosen, generated, fallback)
    kept = stand(engines)[1]
    key = candidate(chosen, GOOD).key
    assert found.record == (kept[key.digest].digest if key.digest in kept else "")


def test_a_reference_that_fails_its_cases_refuses_the_model_even_where_another_engine_agrees() -> None:
    with pytest.raises(ModelError, match=r"tiny 1\.0\.0: the reference fails the model's own cases: chest: y: largest error 1") as caught:
        choice({TRT16: GOOD, ORT32: BAD})
    assert "dicom-node models verify tiny" in caught.value.hint


def test_nothing_that_may_serve_is_said_with_every_reason() -> None:
    with pytest.raises(EngineUnavailableError, match=r"tensorrt fp16 on cuda:0 is not verified .* onnxruntime fp32 is not available"):
        choice({TRT16: NEVER, ORT32: GONE})


def test_a_model_without_cpu_fallback_waits_for_its_gpu() -> None:
    with pytest.raises(EngineUnavailableError, match=r"no GPU is here\); onnxruntime fp32 may not stand in on the CPU") as caught:
        choice({TRT16: GONE, ORT32: GOOD}, cpu_fallback=False)
    assert caught.value.retryable
    assert choice({TRT16: GOOD, ORT32: GOOD}, cpu_fallback=False).backend == "tensorrt"
    assert choice({ORT32: GOOD}, cpu_fallback=False).backend == "onnxruntime"


@pytest.mark.parametrize(
    ("clearances", "serves"),
    [
        ((None,), True),
        ((date(2026, 11, 26),), True),
        ((date(2026, 11, 25),), False),
        ((date(2026, 11, 25), date(2027, 1, 1)), True),
        ((date(2026, 11, 25), None), True),
        ((date(2026, 11, 25), date(2020, 1, 1)), False),
    ],
)
def test_a_cleared_model_serves_to_the_end_of_the_last_day_of_a_clearance(clearances: tuple[date | None, ...], serves: bool) -> None:
    if serves:
        assert choice({ORT32: GOOD}, clearances=clearances).backend == "onnxruntime"
        return
    with pytest.raises(ModelError, match=r"every clearance has ended: EU No 0 on 2026-11-25") as caught:
        choice({ORT32: GOOD}, clearances=clearances)
    assert "prolonged" in caught.value.hint


def test_a_record_of_another_engine_does_not_count_even_under_its_key() -> None:
    candidates, _ = stand({TRT16: GOOD, ORT32: NEVER})
    foreign = record(dataclasses.replace(candidates[0].key, device="another GPU"), GOOD)
    found = standings(subject(), candidates, {candidates[0].key.digest: foreign})
    assert [s.state for s in found] == [State.UNVERIFIED, State.REFERENCE]


def test_only_a_reference_on_the_cpu_needs_no_record() -> None:
    on_gpu = dataclasses.replace(candidate(ORT32, NEVER), device="cuda:0", reference=False)
    (standing,) = standings(subject(), [on_gpu], {})
    assert standing.state is State.UNVERIFIED
