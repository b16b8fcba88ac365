"""All result objects of one run."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias

import pydicom

from dicom_node.domain.frames import Images
from dicom_node.domain.jobs import JobKey
from dicom_node.domain.profiles import ResultProfile
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
from dicom_node.sr_writer.variants import form_of_profile, variant_of
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
        predecessors: Reports of the rule's latest earlier run on the study; a report takes the place of the one in its own form, or of
            all of them if there is none in that form.
        language: RFC 5646 tag of the report's language; one of `words.languages()`. English where the source's character set cannot
            hold it, and the report says so.
        form: Which objects, in which form.
        in_variants: Destinations of other profiles get other objects of the same run: every kind has UIDs for each of its variants.
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
    in_variants: bool = False

    def uid(self, *parts: str) -> str:
        """Derive a UID of this job; the same parts give the same UID in every attempt."""
        if self.in_variants and parts[0] in ("series", "instance"):
            parts = (*parts, self.variant(ObjectKind(parts[1])))
        key = self.key
        return derive_uid("result", key.study_instance_uid, str(key.revision), key.rule, key.model_digest, *parts)

    def variant(self, kind: ObjectKind) -> str:
        """Name what tells objects of a kind apart from those of the same run in another form; empty if there is one form only."""
        return variant_of(kind, self.form, self.language) if self.in_variants else ""

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
        variant: As `variants.variant_of` names it; empty if all destinations get the same.
    """

    kind: str
    number: int
    data_set: pydicom.Dataset
    variant: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """The objects of one run.

    Attributes:
        first: What those of the first profile were made from.
    """

    objects: tuple[ResultObject, ...]
    first: ResultSet


def build_results(request: BuildRequest) -> tuple[ResultObject, ...]:
    """Build the objects of one run that its form asks for; what the report refers to comes before it.

    A result that says why nothing was analysed, or that nothing was found, gives a report and a page that say so.

    Raises:
        PatientMismatchError: source or results belong to more than one patient or study, or refer to anything else.
        ResultError: images, masks and regions do not fit each other, or the library refuses to build an object.
    """
    return _build(request, {}).objects


def build_for_profiles(request: BuildRequest, profiles: Sequence[ResultProfile]) -> tuple[ResultObject, ...]:
    """Build what the profiles want of one run. See `build_all`."""
    return build_all(request, profiles).objects


def build_all(request: BuildRequest, profiles: Sequence[ResultProfile]) -> Built:
    """Build what the profiles want of one run, each variant of an object once.

    Args:
        request: Its form and language are not read.
        profiles: Of the destinations; at least one.

    Raises:
        PatientMismatchError: as `build_results`.
        ResultError: as `build_results`.
    """
    known: _Known = {}
    forms = dict.fromkeys((form_of_profile(p), p.language) for p in profiles)
    first, *_ = [_build(replace(request, form=form, language=language, in_variants=True), known).first for form, language in forms]
    return Built(tuple(item for objects in known.values() for item in objects), first)


def _build(request: BuildRequest, known: _Known) -> Built:
    check_one_patient(request.source)
    request = replace(request, predecessors=_in_own_form(request))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library remarks on source headers, quoting them; they are kept as they are
            results = result_set_of(request)
            objects = tuple(_built(results, known))
    except (ValueError, TypeError, AttributeError, KeyError, IndexError) as error:
        raise ResultError(f"result object cannot be built: {type(error).__name__}: {place_of(error)}") from error
    check_results(request.source, [o.data_set for o in objects], [p.sop_instance_uid for p in request.predecessors])
    return Built(objects, results)


def _in_own_form(request: BuildRequest) -> tuple[Predecessor, ...]:
    variant = request.variant(ObjectKind.SR)
    return tuple(p for p in request.predecessors if p.variant == variant) or request.predecessors


_Known: TypeAlias = dict[tuple[ObjectKind, str], tuple[ResultObject, ...]]


def _built(results: ResultSet, known: _Known) -> Iterator[ResultObject]:
    wanted = results.request.form.objects
    made: list[pydicom.Dataset] = []

    def build_reports(shared: ResultSet) -> Iterator[pydicom.Dataset]:
        yield build_report(shared, made)

    for kind, build in (*_REFERRED_TO, (ObjectKind.SR, build_reports), *_FURTHER):
        if kind not in wanted:
            continue
        key = kind, results.request.variant(kind)
        if key not in known:
            known[key] = tuple(_finished(results, kind, number, data_set) for number, data_set in enumerate(build(results), start=1))
        if kind in (ObjectKind.SEG, ObjectKind.PM):
            made += [item.data_set for item in known[key]]
        yield from known[key]


def _finished(results: ResultSet, kind: ObjectKind, number: int, data_set: pydicom.Dataset) -> ResultObject:
    finish(results, kind, data_set)
    return ResultObject(kind.value, number, data_set, results.request.variant(kind))


def _build_segmentations(results: ResultSet) -> Iterator[pydicom.Dataset]:
    if results.segments:
        yield build_segmentation(results)


def _build_maps(results: ResultSet) -> Iterator[pydicom.Dataset]:
    if results.source.volume is not None and results.source.is_located:
        for number, shown in enumerate(results.request.result.maps, start=1):
            yield build_parametric_map(results, shown, number)


def _build_document(results: ResultSet) -> Iterator[pydicom.Dataset]:
    from dicom_node.sr_writer.document import build_document  # noqa: PLC0415 - the PDF library takes 0.1 s to load and is seldom wanted

    return build_document(results)


_Builder: TypeAlias = tuple[ObjectKind, Callable[[ResultSet], Iterator[pydicom.Dataset]]]
_REFERRED_TO: tuple[_Builder, ...] = ((ObjectKind.SEG, _build_segmentations), (ObjectKind.PM, _build_maps))
_FURTHER: tuple[_Builder, ...] = (
    (ObjectKind.SC, build_captures),
    (ObjectKind.PR, build_presentation_state),
    (ObjectKind.KO, build_key_images),
    (ObjectKind.DOC, _build_document),
    (ObjectKind.RTSTRUCT, build_structure_set),
)
