"""Reading what a job gets, through the patient gate, into what its model takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

import pydicom

from dicom_node.domain.frames import Images
from dicom_node.domain.inference_trace import TracedInput
from dicom_node.domain.jobs import Job
from dicom_node.domain.routing import JobInput
from dicom_node.errors import VolumeError
from dicom_node.inference import (
    GeometryPolicy,
    Inputs,
    ModelBundle,
    ModelInput,
    ReadImages,
    files_of,
    images_from_instances,
    read_instances,
)
from dicom_node.inference.applicability import check
from dicom_node.inference.bundle.inputs_schema import InputKind, InputSlot
from dicom_node.pipeline.headers import header_attributes
from dicom_node.pipeline.results import ReadAs
from dicom_node.sr_writer import check_one_patient, check_other_input
from dicom_node.storage import Database
from dicom_node.storage.input_instances import InputInstance, input_instances


@dataclass(frozen=True, slots=True, eq=False)
class JobImages:
    """The inputs of one job, decoded.

    Attributes:
        inputs: For the model, by the names of its manifest; the first is the one that results refer to.
        source: Instances of the first input, in the order of its slices or frames; their pixel data stay in their files.
        traced: For the trace.
        warnings: What was done to the images beyond reading them, and what the protocol warns of; they stand beside the result.
        refusals: Why nothing is analysed, one sentence each; empty if something is.
        unused: Inputs of the rule that the model does not have.
        read_as: How the first input was read; None if it could not be.
    """

    inputs: Inputs
    source: Sequence[pydicom.Dataset]
    traced: tuple[TracedInput, ...]
    warnings: tuple[str, ...]
    unused: tuple[str, ...]
    refusals: tuple[str, ...] = ()
    read_as: ReadAs | None = None

    @property
    def images(self) -> Images | None:
        """What results refer to; None if the first input could not be read as the model wants it."""
        return next(iter(self.inputs.values())).images if self.inputs else None


def decoded_bytes(database: Database, job: Job) -> int:
    """Say what a job's inputs take in memory, by their headers.

    Raises:
        StorageError: an instance is not in the index, or the database failed.
    """
    with database.reading() as session:
        return sum(one.decoded_bytes for wanted in job.inputs for one in input_instances(session, wanted))


def read_job(database: Database, job: Job, bundle: ModelBundle) -> JobImages:
    """Read and decode every input of a job that its model has; all pass the patient gate, those that it does not have too.

    Raises:
        StorageError: an instance is not in the index, or the database failed.
        PatientMismatchError: the inputs are not of one patient.
        PixelError: a file cannot be read or decoded.
    """
    with database.reading() as session:
        indexed = [input_instances(session, wanted) for wanted in job.inputs]
    series = [read_instances([one.path for one in found]) for found in indexed]
    _check_patients(job.inputs, series)
    slots = dict(_slots(job.inputs, bundle))
    unused = tuple(wanted.name for number, wanted in enumerate(job.inputs) if number not in slots)
    if missing := _missing({slot.name for _, slot in slots.values()}, bundle):
        traced_all = tuple(_traced(one.name, one, series[n], indexed[n]) for n, one in enumerate(job.inputs))
        return JobImages({}, series[0], traced_all, (), unused, missing)
    inputs: dict[str, ModelInput] = {}
    sources: list[list[pydicom.Dataset]] = []
    traced: list[TracedInput] = []
    warnings: list[str] = []
    first: ReadAs | None = None
    for number, (name, slot) in slots.items():
        read_as = _read_as(slot)
        try:
            read = read_images(read_as, series[number])
        except VolumeError as error:
            traced.append(_traced(name, job.inputs[number], series[number], indexed[number]))
            source = sources[0] if sources else series[0]
            return JobImages(inputs, source, tuple(traced), (), unused, (_refusal(name, error),), first)
        first = first or read_as
        inputs[name] = ModelInput(read.images, header_attributes(read.instances[0]), files_of(read.instances))
        sources.append(read.instances)
        traced.append(_traced(name, job.inputs[number], read.instances, indexed[number]))
        warnings += read.warnings
    fit = check(bundle.manifest, {name: inputs[name] for name, slot in slots.values() if name == slot.name})
    return JobImages(inputs, sources[0], tuple(traced), (*warnings, *fit.warnings), unused, fit.refusals, first)


def read_images(read_as: ReadAs, instances: Sequence[pydicom.Dataset]) -> ReadImages:
    """Decode the instances of an input.

    Raises:
        PixelError: one cannot be decoded.
        VolumeError: they are no volume of that kind.
    """
    return images_from_instances(read_as.kind, instances, GeometryPolicy(read_as.uneven, read_as.tilted, dict(read_as.only)))


def _check_patients(wanted: Sequence[JobInput], series: Sequence[Sequence[pydicom.Dataset]]) -> None:
    check_one_patient(series[0])
    for one, others in zip(wanted[1:], series[1:], strict=True):
        check_other_input(one.name, series[0][0], others, prior=one.study_instance_uid != wanted[0].study_instance_uid)


def _slots(wanted: Sequence[JobInput], bundle: ModelBundle) -> Iterator[tuple[int, tuple[str, InputSlot]]]:
    """Pair a job's inputs with the model's by name, by number of the job's; those for the model's first input come first.

    Where nothing has the name of the model's first input, the job's first goes there, unless its name is that of another one: a rule
    without `inputs` has one whose name says nothing. Of several priors under one name the second is `NAME-2`, and so on.
    """
    first = bundle.manifest.inputs[0]
    declared = {slot.name: slot for slot in bundle.manifest.inputs}
    found = [(number, declared.get(one.name)) for number, one in enumerate(wanted)]
    if found and found[0][1] is None and all(slot is not first for _, slot in found):
        found[0] = (0, first)
    seen: Counter[str] = Counter()
    for number, slot in sorted(found, key=lambda pair: pair[1] is not first):
        if slot is not None:
            seen[slot.name] += 1
            yield number, (slot.name if seen[slot.name] == 1 else f"{slot.name}-{seen[slot.name]}", slot)


def _missing(given: Set[str], bundle: ModelBundle) -> tuple[str, ...]:
    """Say which inputs that the model cannot do without the job does not have."""
    return tuple(f"Input {slot.name} is missing." for slot in bundle.manifest.inputs if not slot.optional and slot.name not in given)


def _refusal(name: str, error: VolumeError) -> str:
    """Say what is wrong with the images, and what would let them through."""
    return f"Input {name}: {error}{f' ({error.hint})' if error.hint else ''}."


def _read_as(slot: InputSlot) -> ReadAs:
    policy = slot.to_policy()
    return ReadAs("frames" if slot.kind is InputKind.FRAMES else "volume", policy.uneven, policy.tilted, tuple(policy.only.items()))


def _traced(name: str, wanted: JobInput, ordered: Sequence[pydicom.Dataset], found: Sequence[InputInstance]) -> TracedInput:
    sha256 = {one.sop_instance_uid: one.sha256 for one in found}
    uids = [str(data_set.SOPInstanceUID) for data_set in ordered]
    return TracedInput(name, wanted.study_instance_uid, wanted.series_instance_uid, {uid: sha256.get(uid, "") for uid in uids})
