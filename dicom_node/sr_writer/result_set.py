"""What all objects of one run are made from: request, source, content, words, and how they may be written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from dicom_node.domain.profiles import Charset
from dicom_node.domain.results import Segment
from dicom_node.sr_writer.compose import Draft, compose
from dicom_node.sr_writer.content import Content
from dicom_node.sr_writer.fonts import Typeface, typeface_of
from dicom_node.sr_writer.form import ObjectKind, SegKind
from dicom_node.sr_writer.lines import plain, report_lines
from dicom_node.sr_writer.repertoire import UTF8, Repertoire, widened
from dicom_node.sr_writer.source import ImageReference, Source
from dicom_node.sr_writer.words import ENGLISH, Words, languages, words_of

if TYPE_CHECKING:
    from dicom_node.sr_writer.build import BuildRequest


@dataclass(frozen=True, slots=True, eq=False)
class ResultSet:
    """Shared by the writers of one run.

    Attributes:
        content: What report objects say.
        page_content: What pages and the document say: the same, or in English if no font has the language's characters.
        repertoire: Character set of every object.
        segments: Those of the segmentation object, by number from 1; empty if none is made.
        seg_kind: How they are written.
        overlap: Whether two of them share a pixel.
    """

    request: BuildRequest
    source: Source
    content: Content
    words: Words
    page_content: Content
    page_words: Words
    typeface: Typeface
    repertoire: Repertoire
    segments: tuple[Segment, ...]
    seg_kind: SegKind
    overlap: bool

    @property
    def first_images(self) -> list[ImageReference]:
        """References to the instances of the image library, whole."""
        headers = [self.source.headers[i] for i in self.content.library]
        return [ImageReference(str(h.SOPClassUID), str(h.SOPInstanceUID), None) for h in headers]


def result_set_of(request: BuildRequest, source: Source) -> ResultSet:
    """Decide language, character set and form, and compose the content.

    Raises:
        ResultError: images, masks and regions do not fit each other.
    """
    segments = _segments(request, source)
    overlap = _overlap(source, segments)
    seg_kind, notes = _seg_kind(request, overlap=overlap)
    if not segments and ObjectKind.SEG in request.form.objects and any(map(source.is_marked, request.result.segments)):
        notes = (*notes, "no_segmentation")
    numbers = {s.id: number for number, s in enumerate(segments, start=1)}
    draft = Draft(request, source, words_of(ENGLISH), numbers)
    words, repertoire, remarks = _written_in(draft, notes)
    content = compose(Draft(request, source, words, numbers, remarks))
    typeface = typeface_of(words.language)
    page_words, page_content = words, content
    if typeface is None:
        page_words, typeface = words_of(ENGLISH), typeface_of(ENGLISH)
        remark = page_words("no_font", wanted=_LATIN_NAMES.get(words.language, words.language))
        page_content = compose(Draft(request, source, page_words, numbers, (*_remarks(page_words, notes), remark)))
        content = compose(Draft(request, source, words, numbers, (*remarks, words("no_font", wanted=words.name))))
    assert typeface is not None  # noqa: S101 - the font that comes with Pillow has English
    return ResultSet(request, source, content, words, page_content, page_words, typeface, repertoire, segments, seg_kind, overlap)


def _segments(request: BuildRequest, source: Source) -> tuple[Segment, ...]:
    if ObjectKind.SEG not in request.form.objects or not source.frames or not source.is_located:
        return ()
    return tuple(s for s in request.result.segments if source.is_marked(s))


def _seg_kind(request: BuildRequest, *, overlap: bool) -> tuple[SegKind, tuple[str, ...]]:
    kind = request.form.seg_kind
    return (SegKind.BINARY, ("segments_overlap",)) if kind is SegKind.LABELMAP and overlap else (kind, ())


def _overlap(source: Source, segments: tuple[Segment, ...]) -> bool:
    if len(segments) < 2:
        return False
    taken = np.zeros(segments[0].mask.shape, np.bool_)
    for segment in segments:
        for index in source.touched(segment):
            if np.any(taken[index] & segment.mask[index]):
                return True
            taken[index] |= segment.mask[index]
    return False


def _written_in(draft: Draft, notes: tuple[str, ...]) -> tuple[Words, Repertoire, tuple[str, ...]]:
    """Choose language and character set: the wanted language if the source's set holds it, else English; UTF-8 if not even that."""
    wanted, kept = draft.request.language, draft.source.normalised.repertoire
    english = words_of(ENGLISH)
    remarks = _remarks(english, notes)
    if wanted not in languages():
        remarks = (*remarks, english("no_such_language", wanted=wanted))
    else:
        words = words_of(wanted)
        if draft.request.form.charset is Charset.UTF8:
            return words, Repertoire((UTF8,)), _remarks(words, notes)
        wider = widened(kept, _texts(draft, words, notes))
        if wider is not None:
            return words, wider, _remarks(words, notes)
        if wanted != ENGLISH:
            remarks = (*remarks, english("no_language", charset=kept.label, wanted=_LATIN_NAMES.get(wanted, wanted)))
    if widened(kept, _texts(draft, english, notes)) is None:
        return english, Repertoire((UTF8,)), (*remarks, english("utf8", charset=kept.label))
    return english, kept, remarks


_LATIN_NAMES = {"ko": "Korean"}


def _remarks(words: Words, notes: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(words(note) for note in notes)


def _texts(draft: Draft, words: Words, notes: tuple[str, ...]) -> list[str]:
    """Every text that objects will hold, to see whether it can be written."""
    content = compose(Draft(draft.request, draft.source, words, draft.segment_numbers, _remarks(words, notes)))
    texts = [plain(line) for line in report_lines(content, words)] + [s.text for s in content.sentences]
    for group in content.groups:
        texts += [group.tracking_id, group.finding.meaning, group.site.meaning if group.site else ""]
        texts += [t for n in group.numbers for t in (n.concept.meaning, n.unit.meaning)]
        texts += [t for a in group.answers for t in (a.concept.meaning, a.value.meaning)]
    result = draft.request.result
    texts += [result.model.title, result.model.manufacturer, *result.parameters, *(s.label for s in result.segments)]
    return [*texts, *(m.label for m in result.maps)]
