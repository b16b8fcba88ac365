"""All result objects of one run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import pydicom

from dicom_node.domain.frames import Images
from dicom_node.domain.jobs import JobKey
from dicom_node.domain.results import InferenceResult, Predecessor
from dicom_node.domain.uids import derive_uid
from dicom_node.errors import ResultError, place_of
from dicom_node.sr_writer.captures import build_captures
from dicom_node.sr_writer.finish import finish
from dicom_node.sr_writer.form import DEFAULT_FORM, ObjectKind, ResultForm
from dicom_node.sr_writer.gate import check_one_patient, check_results
from dicom_node.sr_writer.key_images import build_key_images
from dicom_node.sr_writer.parametric_map import build_parametric_map
from dicom_node.sr_writer.presentation_state import build_presentation_state
from dicom_node.sr_writer.report import build_report
from dicom_node.sr_writer.result_set import ResultSet, result_set_of
from dicom_node.sr_writer.segmentation import build_segmentation
from dicom_node.sr_writer.structure_set import build_structure_set
from dicom_node.sr_writer.words import ENGLISH


@dataclass(frozen=True, slots=True, eq=False)
class BuildRequest:
    """What result objects are made from.

    Attributes:
        key: Identity of the job; every UID derives from it.
        source: The analysed instances, in slice order if they are slices; one if it is multi-frame. Not modified, pixel data not read.
        images: What the model saw of them; None if they could not be read, and the result says that nothing was analysed.
        node_version: Software version of the node.
        ae_title: AE title of the node.
        predecessors: Reports of the rule's latest earlier run on the study, whose place the new one takes.
        language: RFC 5646 tag of the report's language; one of `words.languages()`. English where the source's character set cannot
            hold it, and the report says so.
        form: Which objects, in which form.
    """

    key: JobKey
    source: Sequence[pydicom.Dataset]
    images: Images | None
    result: InferenceResult
    node_version: str
    ae_title: str
    predecessors: tuple[Predecessor, ...] = ()
    language: str = ENGLISH
    form: ResultForm = DEFAULT_FORM

    def uid(self, *parts: str) -> str:
        """Derive a UID of this job; the same parts give the same UID in every attempt."""
        key = self.key
        return derive_uid("result", key.study_instance_uid, str(key.revision), key.rule, key.model_digest, *parts)

    @property
    def content_at(self) -> datetime:
        """Content Date and Time: when the analysis started, local time. Source: IHE AIR 6.5.3.1."""
        return self.result.started_at.astimezone()


@dataclass(frozen=True, slots=True, eq=False)
class ResultObject:
    """One finished object with its file meta information.

    Attributes:
        kind: SR, SEG, SC, PM, PR, KO, DOC or RTSTRUCT.
        number: Counts the objects of one kind from 1.
    """

    kind: str
    number: int
    data_set: pydicom.Dataset


def build_results(request: BuildRequest) -> tuple[ResultObject, ...]:
    """Build the objects of one run that its form asks for; what the report refers to comes before it.

    A result that says why nothing was analysed, or that nothing was found, gives a report and a page that say so.

    Raises:
        PatientMismatchError: source or results belong to more than one patient or study, or refer to anything else.
        ResultError: images, masks and regions do not fit each other, or the library refuses to build an object.
    """
    check_one_patient(request.source)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library remarks on source headers, quoting them; they are kept as they are
            objects = tuple(_built(result_set_of(request)))
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise ResultError(f"result object cannot be built: {type(error).__name__}: {place_of(error)}") from error
    check_results(request.source, [o.data_set for o in objects], [p.sop_instance_uid for p in request.predecessors])
    return objects


def _built(results: ResultSet) -> Iterator[ResultObject]:
    wanted, request = results.request.form.objects, results.request
    made: list[pydicom.Dataset] = []
    if results.segments:
        made.append(build_segmentation(results))
        yield _finished(results, ObjectKind.SEG, 1, made[-1])
    if ObjectKind.PM in wanted and results.source.volume is not None and results.source.is_located:
        for number, shown in enumerate(request.result.maps, start=1):
            made.append(build_parametric_map(results, shown, number))
            yield _finished(results, ObjectKind.PM, number, made[-1])
    if ObjectKind.SR in wanted:
        yield _finished(results, ObjectKind.SR, 1, build_report(results, made))
    for kind, build in _FURTHER:
        if kind in wanted:
            for number, data_set in enumerate(build(results), start=1):
                yield _finished(results, kind, number, data_set)


def _finished(results: ResultSet, kind: ObjectKind, number: int, data_set: pydicom.Dataset) -> ResultObject:
    finish(results, kind, data_set)
    return ResultObject(kind.value, number, data_set)


def _build_document(results: ResultSet) -> Iterator[pydicom.Dataset]:
    from dicom_node.sr_writer.document import build_document  # noqa: PLC0415 - the PDF library takes 0.1 s to load and is seldom wanted

    return build_document(results)


_FURTHER: tuple[tuple[ObjectKind, Callable[[ResultSet], Iterator[pydicom.Dataset]]], ...] = (
    (ObjectKind.SC, build_captures),
    (ObjectKind.PR, build_presentation_state),
    (ObjectKind.KO, build_key_images),
    (ObjectKind.DOC, _build_document),
    (ObjectKind.RTSTRUCT, build_structure_set),
)
