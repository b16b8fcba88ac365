"""All result objects of one run."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pydicom

from dicom_node.domain.jobs import JobKey
from dicom_node.domain.results import InferenceResult, Predecessor
from dicom_node.domain.uids import derive_uid
from dicom_node.domain.volume import Volume
from dicom_node.errors import ResultError, place_of
from dicom_node.sr_writer.captures import build_captures
from dicom_node.sr_writer.finish import finish
from dicom_node.sr_writer.gate import check_one_patient, check_results
from dicom_node.sr_writer.normalise import normalised_headers
from dicom_node.sr_writer.report import build_report
from dicom_node.sr_writer.segmentation import build_segmentation


@dataclass(frozen=True, slots=True, eq=False)
class BuildRequest:
    """What result objects are made from.

    Attributes:
        key: Identity of the job; every UID derives from it.
        source: The analysed instances in slice order; not modified, pixel data not read.
        node_version: Software version of the node.
        ae_title: AE title of the node.
        predecessors: Reports of the rule's latest earlier run on the study, whose place the new one takes.
    """

    key: JobKey
    source: Sequence[pydicom.Dataset]
    volume: Volume
    result: InferenceResult
    node_version: str
    ae_title: str
    predecessors: tuple[Predecessor, ...] = ()

    def uid(self, *parts: str) -> str:
        """Derive a UID of this job; the same parts give the same UID in every attempt."""
        key = self.key
        return derive_uid("result", key.study_instance_uid, str(key.revision), key.rule, key.model_digest, *parts)

    @property
    def content_at(self) -> datetime:
        """Content Date and Time: when the analysis started, local time. Source: IHE AIR 6.5.3.1."""
        return self.result.started_at.astimezone()

    @property
    def replaces(self) -> str:
        """Say in one sentence whose place the results take; empty if nobody's."""
        if not self.predecessors:
            return ""
        earlier = self.predecessors[0].revision
        return f"Replaces the results on revision {earlier} of the study; this is revision {self.key.revision}."


@dataclass(frozen=True, slots=True, eq=False)
class ResultObject:
    """One finished object with its file meta information.

    Attributes:
        kind: SR, SEG or SC.
        number: Counts the objects of one kind from 1.
    """

    kind: str
    number: int
    data_set: pydicom.Dataset


def build_results(request: BuildRequest) -> tuple[ResultObject, ...]:
    """Build SEG, SR and SC of one run; SEG first, since the SR names it.

    Raises:
        PatientMismatchError: source or results belong to more than one patient or study.
        ResultError: the library refuses to build an object.
    """
    check_one_patient(request.source)
    headers = normalised_headers(request.source, request.volume.spacing_mm[0])
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library remarks on source headers, quoting them; they are kept as they are
            objects = tuple(_built(request, headers))
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ResultError(f"result object cannot be built: {type(error).__name__}: {place_of(error)}") from error
    check_results(request.source[0], [o.data_set for o in objects])
    return objects


def _built(request: BuildRequest, headers: Sequence[pydicom.Dataset]) -> Iterator[ResultObject]:
    found = [s for s in request.result.segments if s.mask.any()]
    segmentation = build_segmentation(request, headers, found) if found else None
    report = build_report(request, headers, segmentation)
    kinds: list[tuple[str, int, pydicom.Dataset]] = [("SR", 1, report)]
    if segmentation is not None:
        kinds.insert(0, ("SEG", 1, segmentation))
    kinds += [("SC", number, capture) for number, capture in enumerate(build_captures(request, headers), start=1)]
    for kind, number, data_set in kinds:
        finish(request, headers[0], kind, data_set)
        yield ResultObject(kind, number, data_set)
