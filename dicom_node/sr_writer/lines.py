"""The report as lines of text: what pages, text reports and documents write, from the content tree alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from dicom_node.sr_writer.content import Content, Group, Number, Outcome, SentenceKind
from dicom_node.sr_writer.words import Words

_UNITS = {"[hnsf'U]": "HU", "1": "", "{0:1}": "", "{ratio}": ""}


class LineKind(StrEnum):
    """How a line is set."""

    TITLE = "title"
    BANNER = "banner"
    """What must be read first: outcome without figures, stage of the model."""
    HEADING = "heading"
    ROW = "row"
    WARNING = "warning"
    TEXT = "text"


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        text: Label of a row, or the sentence.
        value: Of a row.
        note: Of a row: reference range or place.
    """

    kind: LineKind
    text: str
    value: str = ""
    note: str = ""


def report_lines(content: Content, words: Words) -> tuple[Line, ...]:
    """Write the whole report in reading order."""
    return tuple(_lines(content, words))


def figure(number: Number) -> str:
    """Write a value with its unit; a dash where nothing could be measured."""
    if not math.isfinite(number.value):
        return "-"
    unit = unit_label(number.unit.value)
    return f"{number.value:,.0f} {unit}".rstrip() if abs(number.value) >= 100 else f"{number.value:.2f} {unit}".rstrip()


def unit_label(ucum: str) -> str:
    """How people write a UCUM unit."""
    return _UNITS.get(ucum, ucum)


def plain(line: Line) -> str:
    """Write a line without layout."""
    text = f"{line.text}: {line.value}" if line.value else line.text
    return f"{text} ({line.note})" if line.note else text


def _lines(content: Content, words: Words) -> Iterator[Line]:
    yield Line(LineKind.TITLE, content.title)
    if content.outcome is Outcome.NOT_ANALYSED:
        yield Line(LineKind.BANNER, words("not_analysed"))
    elif content.outcome is Outcome.NO_FINDING:
        yield Line(LineKind.BANNER, words("no_finding"))
    for sentence in content.sentences:
        if sentence.kind in (SentenceKind.OUTCOME, SentenceKind.STAGE):
            yield Line(LineKind.BANNER, sentence.text)
    yield from _findings(content, words)
    measured = [group for group in content.groups if not group.is_finding]
    yield from _rows(words("heading_measurements"), [row for group in measured for row in _numbers(group, several=len(measured) > 1)])
    yield from _rows(words("heading_evaluations"), [row for group in measured for row in _answers(group, words)])
    yield Line(LineKind.HEADING, words("heading_notes"))
    for sentence in content.sentences:
        if sentence.kind in (SentenceKind.WARNING, SentenceKind.REPLACES):
            yield Line(LineKind.WARNING, sentence.text)
    for sentence in content.sentences:
        if sentence.kind in (SentenceKind.NOTE, SentenceKind.INTENDED_USE):
            yield Line(LineKind.TEXT, sentence.text)


def _rows(heading: str, rows: list[Line]) -> Iterator[Line]:
    if rows:
        yield Line(LineKind.HEADING, heading)
        yield from rows


def _findings(content: Content, words: Words) -> Iterator[Line]:
    rows = []
    for group in content.findings:
        notes = [group.place.text if group.place else "", words("site", site=group.site.meaning) if group.site else ""]
        rows.append(Line(LineKind.ROW, group.label, _percent(group), ", ".join(n for n in notes if n)))
        rows += [Line(LineKind.ROW, f"  {row.text}", row.value, row.note) for row in (*_numbers(group), *_answers(group, words))]
    yield from _rows(words("heading_findings"), rows)


def _numbers(group: Group, *, several: bool = False) -> list[Line]:
    prefix = f"{group.label}: " if several and group.place else ""
    return [Line(LineKind.ROW, f"{prefix}{n.label}", figure(n), n.reference_range) for n in group.numbers]


def _answers(group: Group, words: Words) -> list[Line]:
    certain = "" if group.is_finding or group.certainty is None else f"{words('certainty')} {_percent(group)}"
    return [Line(LineKind.ROW, a.label, a.value.meaning, certain) for a in group.answers if a.concept.value != "111017"]


def _percent(group: Group) -> str:
    return "" if group.certainty is None else f"{100 * group.certainty:.0f} %"
