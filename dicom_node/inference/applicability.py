"""Whether a model is made for the images it got: what its intended use refuses, and what its protocol warns of. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from dicom_node.domain.frames import Images
from dicom_node.domain.results import InferenceResult
from dicom_node.domain.volume import Volume
from dicom_node.inference.bundle import Manifest, ModelBundle
from dicom_node.inference.bundle.inputs_schema import InputKind, InputSlot
from dicom_node.inference.bundle.scope_schema import InputScope
from dicom_node.inference.geometry_fit import geometry_misfits
from dicom_node.inference.header_fit import header_misfits, with_age
from dicom_node.inference.misfit import Misfit
from dicom_node.inference.model import Inputs, ModelInput


@dataclass(frozen=True, slots=True)
class Applicability:
    """The answer: sentences for the clinician, with what was wanted and seen; no patient's name, number or date.

    Attributes:
        refusals: Why nothing is analysed; empty if something is.
        warnings: What the result has to say beside its findings.
    """

    refusals: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def applies(self) -> bool:
        """Nothing speaks against an analysis."""
        return not self.refusals


def check(manifest: Manifest, inputs: Inputs) -> Applicability:
    """Compare images with intended use and protocol.

    Conditions are asked of the header of each input's first instance; an element that is missing fails a condition that wants a value.
    Without Patient's Age, the age is reckoned from birth date and the date of the study.

    Args:
        manifest: Of the model.
        inputs: By the names of the model's inputs; not modified.
    """
    refusals = [sentence for slot in manifest.inputs for sentence in _unusable(slot, inputs)]
    known = {slot.name for slot in manifest.inputs}
    refusals += [f"An input {name!r} was given, the model has none of that name." for name in inputs if name not in known]
    warnings: list[str] = []
    several = len(manifest.inputs) > 1
    for slot in manifest.inputs:
        given = inputs.get(slot.name)
        if given is None or not _is_kind(given.images, slot.kind):
            continue
        about = f"Input {slot.name}: " if several else ""
        use, protocol = manifest.intended_use.of(slot.name), manifest.protocol.of(slot.name)
        refusals += [f"{about}{m.refusal()}{_because(use, m)}." for m in _misfits(given, use)]
        warnings += [f"Outside the protocol: {about}{m.warning()}{_because(protocol, m)}." for m in _misfits(given, protocol)]
    return Applicability(tuple(refusals), tuple(warnings))


def with_protocol_warnings(result: InferenceResult, found: Applicability) -> InferenceResult:
    """Put what the protocol warns of before the model's own warnings."""
    return replace(result, warnings=(*found.warnings, *result.warnings))


def not_analysed_result(bundle: ModelBundle, reasons: Sequence[str], backend: str, precision: str, now: datetime) -> InferenceResult:
    """Make the result that says why nothing was analysed.

    Args:
        bundle: The model.
        reasons: One sentence each; at least one.
        backend: Engine that would have run it.
        precision: Of that engine.
        now: UTC.
    """
    if not reasons:
        raise ValueError("a result without analysis needs a reason")
    outputs = bundle.manifest.outputs
    return InferenceResult(
        model=bundle.identity(backend, precision),
        finding=outputs.finding.to_code(),
        finding_site=outputs.finding_site.to_code() if outputs.finding_site else None,
        measurements=(),
        segments=(),
        highlights=(),
        warnings=(),
        parameters=(),
        started_at=now,
        compute_s=0.0,
        not_analysed=tuple(reasons),
    )


def _unusable(slot: InputSlot, inputs: Inputs) -> Iterator[str]:
    given = inputs.get(slot.name)
    if given is None:
        if not slot.optional:
            yield f"Input {slot.name} is missing, the model does not run without it."
    elif not _is_kind(given.images, slot.kind):
        if slot.kind is InputKind.VOLUME:
            yield f"Input {slot.name} holds single images, the model is for slices that form a volume."
        else:
            yield f"Input {slot.name} was read as a volume, the model is for single images."


def _is_kind(images: Images, kind: InputKind) -> bool:
    return isinstance(images, Volume) is (kind is InputKind.VOLUME)


def _misfits(given: ModelInput, scope: InputScope) -> Iterator[Misfit]:
    yield from header_misfits(with_age(given.attributes), scope.conditions())
    yield from geometry_misfits(given.images, scope.geometry)


def _because(scope: InputScope, misfit: Misfit) -> str:
    consequence = scope.consequences.get(misfit.subject, "").rstrip(". ")
    return f"; {consequence}" if consequence else ""
