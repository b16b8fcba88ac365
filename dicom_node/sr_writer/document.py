"""The report as an Encapsulated PDF: text and pictures for whoever has no viewer that draws."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from io import BytesIO
from pathlib import Path

import highdicom
import pydicom
from PIL import Image
from pydicom.uid import EncapsulatedPDFStorage
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader, simpleSplit
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.ttfonts import TTFont
from reportlab.pdfgen.canvas import Canvas

from dicom_node.sr_writer.captures import source_item
from dicom_node.sr_writer.data_set import started_data_set
from dicom_node.sr_writer.form import ObjectKind
from dicom_node.sr_writer.lines import Line, LineKind, plain, report_lines
from dicom_node.sr_writer.overlay_pages import overlay_pages
from dicom_node.sr_writer.result_set import ResultSet

SERIES_NUMBER = 9970
_MARGIN = 50
_PICTURES = 4
_LATIN = "Report"
_FILL, _FILL_AND_STROKE = 0, 2
"""Text rendering modes: of a font with variable weight the document can hold the lightest only, which a stroke makes regular."""
_SIZES = {LineKind.TITLE: 18, LineKind.BANNER: 13, LineKind.HEADING: 12}
_AMBER, _BLACK, _GRAY = (0.75, 0.42, 0.0), (0.0, 0.0, 0.0), (0.35, 0.35, 0.35)
_COLORS = {LineKind.BANNER: _AMBER, LineKind.WARNING: _AMBER, LineKind.HEADING: _GRAY}


def build_document(results: ResultSet) -> Iterator[pydicom.Dataset]:
    """Write one document with the lines of the report and the first pages that show images.

    Source: PS3.3 A.45.1, C.24.2; title from LOINC, as viewers list it.
    """
    data_set = started_data_set(results, ObjectKind.DOC, EncapsulatedPDFStorage, SERIES_NUMBER)
    content = _pdf(results)
    data_set.ConversionType, data_set.BurnedInAnnotation = "WSD", "NO"
    data_set.RecognizableVisualFeatures = "NO"
    data_set.AcquisitionDateTime = None
    data_set.DocumentTitle = results.page_words("document_title")
    data_set.ConceptNameCodeSequence = [highdicom.sr.CodedConcept("18748-4", "LN", "Diagnostic Imaging Report")]
    data_set.MIMETypeOfEncapsulatedDocument = "application/pdf"
    data_set.SourceInstanceSequence = [source_item(r) for r in results.first_images]
    data_set.EncapsulatedDocumentLength = len(content)
    data_set.EncapsulatedDocument = content + bytes(len(content) % 2)
    yield data_set


def _pdf(results: ResultSet) -> bytes:
    """Set the document: no patient's name or number on it, as on the pages; the same input gives the same bytes."""
    buffer = BytesIO()
    canvas = Canvas(buffer, pagesize=A4, invariant=1, pageCompression=1)
    canvas.setTitle(results.page_words("document_title"))
    font = _font(results.typeface.file)
    lines = report_lines(results.page_content, results.page_words)
    y = A4[1] - _MARGIN
    for line in lines:
        y = _set_line(canvas, font, line, y)
    for number, page in enumerate(overlay_pages(results)):
        if number == _PICTURES:
            break
        if y < _MARGIN + 330:
            canvas.showPage()
            y = A4[1] - _MARGIN
        canvas.drawImage(ImageReader(Image.fromarray(page.pixels)), _MARGIN, y - 320, 310, 310)
        y -= 330
    canvas.save()
    return buffer.getvalue()


def _set_line(canvas: Canvas, font: str, line: Line, y: float) -> float:
    """Set one line, broken to the width of the page; return where the next begins."""
    size = _SIZES.get(line.kind, 10)
    y -= size * (0.9 if line.kind is LineKind.HEADING else 0.2)
    for text in simpleSplit(plain(line), font, size, A4[0] - 2 * _MARGIN):
        if y < _MARGIN + size:
            canvas.showPage()
            y = A4[1] - _MARGIN
        y -= size * 1.35
        canvas.setFont(font, size)
        canvas.setFillColorRGB(*_COLORS.get(line.kind, _BLACK))
        canvas.setStrokeColorRGB(*_COLORS.get(line.kind, _BLACK))
        canvas.setLineWidth(0.25)
        left = _MARGIN + (10 if line.text.startswith(" ") else 0)
        canvas.drawString(left, y, text, mode=_FILL if font == _LATIN else _FILL_AND_STROKE)
    return y


@lru_cache(maxsize=8)
def _font(file: Path | None) -> str:
    """Register a font for embedding; for the Latin alphabet the one that comes with the library."""
    name = _LATIN if file is None else f"Report-{file.stem}"
    pdfmetrics.registerFont(TTFont(name, "Vera.ttf" if file is None else str(file)))
    return name
