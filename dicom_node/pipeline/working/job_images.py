"""Reading what a job gets, through the patient gate, into what its model takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pydicom

from dicom_node.domain.frames import Images
from dicom_node.domain.inference_trace import TracedInput
from dicom_node.domain.jobs import Job
from dicom_node.domain.routing import JobInput
from dicom_node.inference import Inputs, ModelBundle, ModelInput, read_instances, volume_from_instances
from dicom_node.pipeline.headers import header_attributes
from dicom_node.sr_writer import check_one_patient, check_other_input
from dicom_node.storage import Database
from dicom_node.storage.input_instances import InputInstance, input_instances


@dataclass(frozen=True, slots=True, eq=False)
class JobImages:
    """The inputs of one job, decoded.

    Attributes:
        inputs: For the model, by the names of its manifest; the first is the one that results refer to.
        source: Instances of the first input, in the order of its slices or frames, without what was decoded.
        traced: For the trace.
    """

    inputs: Inputs
    source: Sequence[pydicom.Dataset]
    traced: tuple[TracedInput, ...]

    @property
    def images(self) -> Images:
        """What results refer to."""
        return next(iter(self.inputs.values())).images


def decoded_bytes(database: Database, job: Job) -> int:
    """Say what a job's inputs take in memory, by their headers.

    Raises:
        StorageError: an instance is not in the index, or the database failed.
    """
    with database.reading() as session:
        return sum(one.decoded_bytes for wanted in job.inputs for one in input_instances(session, wanted))


def read_job(database: Database, job: Job, bundle: ModelBundle) -> JobImages:
    """Read and decode every input of a job.

    Raises:
        StorageError: an instance is not in the index, or the database failed.
        PatientMismatchError: the inputs are not of one patient.
        PixelError: a file cannot be read or decoded.
        VolumeError: a series is no volume, so that the study cannot be analysed.
    """
    with database.reading() as session:
        indexed = [input_instances(session, wanted) for wanted in job.inputs]
    series = [read_instances([one.path for one in found]) for found in indexed]
    check_one_patient(series[0])
    for wanted, others in zip(job.inputs[1:], series[1:], strict=True):
        prior = wanted.study_instance_uid != job.inputs[0].study_instance_uid
        check_other_input(wanted.name, series[0][0], others, prior=prior)
    inputs: dict[str, ModelInput] = {}
    sources, traced = [], []
    for name, wanted, found in zip(_names(job.inputs, bundle), job.inputs, indexed, strict=True):
        volume, ordered = volume_from_instances(series.pop(0))
        inputs[name] = ModelInput(volume, header_attributes(ordered[0]))
        sources.append([_without_pixels(data_set) for data_set in ordered])
        traced.append(_traced(name, wanted, ordered, found))
    return JobImages(inputs, sources[0], tuple(traced))


def _names(wanted: Sequence[JobInput], bundle: ModelBundle) -> list[str]:  # noqa: ARG001 - the manifest will name its inputs
    """Name the inputs as the manifest does: a rule without `inputs` has one, whose name says nothing."""
    return [*("images" for _ in wanted[:1]), *(one.name for one in wanted[1:])]


def _traced(name: str, wanted: JobInput, ordered: Sequence[pydicom.Dataset], found: Sequence[InputInstance]) -> TracedInput:
    sha256 = {one.sop_instance_uid: one.sha256 for one in found}
    uids = [str(data_set.SOPInstanceUID) for data_set in ordered]
    return TracedInput(name, wanted.study_instance_uid, wanted.series_instance_uid, {uid: sha256.get(uid, "") for uid in uids})


def _without_pixels(data_set: pydicom.Dataset) -> pydicom.Dataset:
    """Let go of what is decoded; results need headers only."""
    if "PixelData" in data_set:
        del data_set.PixelData
    return data_set
