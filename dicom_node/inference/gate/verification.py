"""Verify engines of a model: the cases of its bundle, or where it has none a generated parity check; write the records."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter

from dicom_node.errors import EngineUnavailableError, ModelError
from dicom_node.inference.bundle.verification_schema import Case
from dicom_node.inference.gate.agreement import Agreement
from dicom_node.inference.gate.case_files import inside, read_mask
from dicom_node.inference.gate.case_inputs import CaseInputs, first_images
from dicom_node.inference.gate.choice import Candidate
from dicom_node.inference.gate.expectations import check_expectation
from dicom_node.inference.gate.opening import EngineSettings, open_model_on, open_sessions
from dicom_node.inference.gate.parity import Lengths, check_parity
from dicom_node.inference.gate.records import CaseKind, CaseRecord, EngineKey, Record, Records
from dicom_node.inference.gate.running import compare_runs, run_model
from dicom_node.inference.gate.subject import Subject
from dicom_node.inference.model import Model

Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class Gate:
    """What verifying needs beside the model.

    Attributes:
        case_inputs: Makes or reads a case's images.
        now: The clock, UTC.
        on_progress: Told what is done, and the share of it, 0 to 1.
    """

    records: Records
    settings: EngineSettings
    case_inputs: CaseInputs
    now: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))
    on_progress: Progress = field(default=lambda *_: None)


def verify(gate: Gate, subject: Subject, candidate: Candidate, reference: Candidate, *, again: bool = False) -> Record:
    """Verify one engine, the reference first if it has no record; the records are kept.

    Of several processes that verify the same engine at once, one does it and the others take its record.

    Args:
        gate: Where and how.
        subject: The model.
        candidate: The engine; the reference itself is checked against the bundle's expectations only.
        reference: What it is compared with.
        again: Do it anew even if there is a record.

    Returns:
        The record, good or bad.

    Raises:
        EngineUnavailableError: the engine is not here; nothing is recorded.
        ModelError: the reference fails, so that there is nothing to compare with; nothing is recorded for the other engine.
        StorageError: the record cannot be written.
    """
    if candidate.key is None:
        raise EngineUnavailableError(f"{candidate.engine} is not available: {candidate.unavailable}")
    if not candidate.reference:
        own = verify(gate, subject, reference, reference)
        if own.failed:
            raise ModelError(
                f"{subject.name}: the reference, {reference.engine}, fails its own cases: {own.failed[0]}",
                hint="No engine can be verified. Compare network and cases with what was delivered.",
            )
    with gate.records.alone(candidate.key):
        known = gate.records.find(candidate.key)
        if known is not None and not again:
            return known
        record = _verify(gate, subject, candidate, reference, candidate.key)
        gate.records.keep(record)
    return record


def _verify(gate: Gate, subject: Subject, candidate: Candidate, reference: Candidate, key: EngineKey) -> Record:
    begin, generated = perf_counter(), False
    try:
        cases = _run_cases(gate, subject, candidate, reference)
        generated = not any(_compares(case) for case in cases)
        if generated:
            cases += _load_alone(gate, subject, candidate) if candidate.reference else _run_parity(gate, subject, candidate, reference)
    except EngineUnavailableError:
        raise
    except ModelError as error:
        if candidate.reference:
            raise
        cases = (CaseRecord("load", CaseKind.REFERENCE, Agreement(), (f"the engine cannot be used: {error}",), perf_counter() - begin),)
    return Record(key, subject.tolerance, cases, generated, gate.now(), perf_counter() - begin)


def _run_cases(gate: Gate, subject: Subject, candidate: Candidate, reference: Candidate) -> tuple[CaseRecord, ...]:
    cases = subject.bundle.manifest.verification.cases
    if not cases:
        return ()
    with ExitStack() as stack:
        models = [open_model_on(subject, reference, gate.settings)]
        stack.callback(models[0].close)
        if not candidate.reference:
            models.append(open_model_on(subject, candidate, gate.settings))
            stack.callback(models[1].close)
        found = []
        for number, case in enumerate(cases):
            gate.on_progress(f"{candidate.engine}: {case.name}", number / len(cases))
            found.append(_run_case(gate, subject, case, models))
        gate.on_progress(f"{candidate.engine}: compared", 1.0)
    return _judged(found, subject)


def _run_case(gate: Gate, subject: Subject, case: Case, models: Sequence[Model]) -> CaseRecord:
    begin = perf_counter()
    images = gate.case_inputs.load(subject, case)
    runs = [run_model(subject.bundle.manifest, model, images, gate.now()) for model in models]
    if len(runs) == 2:  # judged when the magnitudes of all cases are known
        return CaseRecord(case.name, CaseKind.REFERENCE, compare_runs(*runs), (), perf_counter() - begin)
    first, folder = first_images(images), subject.bundle.folder
    agreement, failed = check_expectation(runs[0], case.expect, first, lambda name: read_mask(inside(folder, name), first))
    return CaseRecord(case.name, CaseKind.EXPECTATIONS, agreement, failed, perf_counter() - begin)


def _judged(cases: Sequence[CaseRecord], subject: Subject) -> tuple[CaseRecord, ...]:
    """Judge the comparisons with the reference: an output's error is a share of what the reference reaches over all cases."""
    largest: dict[str, float] = {}
    for case in cases:
        for array in case.agreement.outputs + case.agreement.maps:
            largest[array.name] = max(largest.get(array.name, 0.0), array.largest)
    tolerance = subject.tolerance
    return tuple(
        case if case.kind is CaseKind.EXPECTATIONS else dataclasses.replace(case, failed=case.agreement.within(tolerance, largest))
        for case in cases
    )


def _compares(case: CaseRecord) -> bool:
    """Tell whether a case is more than a refusal, on which any two engines agree."""
    return case.kind is CaseKind.EXPECTATIONS or case.agreement != Agreement()


def _load_alone(gate: Gate, subject: Subject, candidate: Candidate) -> tuple[CaseRecord, ...]:
    begin = perf_counter()
    open_model_on(subject, candidate, gate.settings).close()
    return (CaseRecord("load", CaseKind.LOADED, Agreement(), (), perf_counter() - begin),)


def _run_parity(gate: Gate, subject: Subject, candidate: Candidate, reference: Candidate) -> tuple[CaseRecord, ...]:
    lengths = Lengths(subject.profiles, subject.window)
    found: list[CaseRecord] = []
    with open_sessions(subject, reference, gate.settings) as ours, open_sessions(subject, candidate, gate.settings) as theirs:
        for number, name in enumerate(ours):
            gate.on_progress(f"{candidate.engine}: generated parity check of {name}", number / len(ours))
            cases = check_parity(ours[name], theirs[name], lengths, subject.tolerance)
            found += [dataclasses.replace(case, name=f"{name}, {case.name}") if len(ours) > 1 else case for case in cases]
    gate.on_progress(f"{candidate.engine}: compared", 1.0)
    return tuple(found)
