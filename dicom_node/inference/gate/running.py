"""One run of a model on a case, whatever becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from dicom_node.domain.results import InferenceResult
from dicom_node.errors import ModelError, ModelInputError, VolumeError, place_of
from dicom_node.inference.applicability import check, with_protocol_warnings
from dicom_node.inference.bundle import Manifest
from dicom_node.inference.gate.agreement import Agreement
from dicom_node.inference.gate.compare import compare_outputs, compare_results
from dicom_node.inference.model import Inputs, Model, StepRecorder
from dicom_node.inference.session import Tensors


@dataclass(frozen=True, slots=True, eq=False)
class Run:
    """What came of one run.

    Attributes:
        outputs: Of the network; None if it did not come so far.
        result: None if the input was not analysed or the engine failed.
        not_analysed: Why the model does not analyse the input; empty if it does.
        failure: Why the engine failed; empty if it did not.
    """

    outputs: Tensors | None
    result: InferenceResult | None
    not_analysed: str = ""
    failure: str = ""


def run_model(manifest: Manifest, model: Model, inputs: Inputs, now: datetime) -> Run:
    """Run a model as a job does: outside of its intended use not at all; refusals and failures become part of what is returned."""
    applicability = check(manifest, inputs)
    if not applicability.applies:
        return Run(None, None, not_analysed=" ".join(applicability.refusals))
    outputs: Tensors | None = None
    try:
        prepared = model.prepare(inputs, StepRecorder())
        outputs = model.infer(prepared)
        result = with_protocol_warnings(model.conclude(prepared, outputs, now), applicability)
    except (ModelInputError, VolumeError) as error:
        return Run(outputs, None, not_analysed=str(error))
    except ModelError as error:
        return Run(outputs, None, failure=str(error))
    except Exception as error:  # noqa: BLE001 - a model's own steps may raise anything over an engine's outputs: that run has failed
        return Run(outputs, None, failure=f"{type(error).__name__} in {place_of(error)}")
    return Run(outputs, result, not_analysed="; ".join(result.not_analysed))


def compare_runs(reference: Run, seen: Run) -> Agreement:
    """Compare an engine's run with the reference's; two runs that both do not analyse the input agree."""
    if seen.failure:
        return Agreement(faults=(f"the engine fails: {seen.failure}",))
    if reference.failure:
        return Agreement(faults=(f"the reference fails: {reference.failure}",))
    agreement = Agreement()
    if reference.outputs is not None and seen.outputs is not None:
        agreement += compare_outputs(reference.outputs, seen.outputs)
    if reference.result is not None and seen.result is not None:
        return agreement + compare_results(reference.result, seen.result)
    if bool(reference.not_analysed) != bool(seen.not_analysed):
        who, why = ("the reference", reference.not_analysed) if reference.not_analysed else ("this engine", seen.not_analysed)
        return agreement + Agreement(faults=(f"only {who} does not analyse the input: {why}",))
    return agreement
