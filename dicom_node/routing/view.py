"""A study as the rules read it: by keyword, not by instance, so that a condition is asked once per distinct value.

A set of instances of one series is an integer with a bit for each; bit 0 is the first instance of the series.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dicom_node.domain.instances import Attributes
from dicom_node.domain.routing import ConditionTrace
from dicom_node.domain.studies import Series, Study

InstanceSet: TypeAlias = int
"""A set of instances of one series."""

MOST_VALUES_SHOWN = 10
NO_SERIES_NUMBER = 1 << 31  # after every Series Number (IS, PS3.5 6.2)


@dataclass(frozen=True, slots=True)
class Column:
    """What the instances of a series hold for one keyword.

    Attributes:
        parts: Distinct value tuples, each with the instances that hold it; absent and empty are one, ().
        seen: Distinct values, at most ten.
    """

    parts: tuple[tuple[tuple[str, ...], InstanceSet], ...]
    seen: tuple[str, ...]


Answer: TypeAlias = tuple[InstanceSet, ConditionTrace]
"""Which instances of a series met a test, and the trace of it."""


class SeriesView:
    """One series of a study.

    Attributes:
        everything: All its instances.
        answers: What the tests of a rule set found, by their number; filled by the rule set.
    """

    __slots__ = ("_association", "_columns", "_headers", "answers", "everything", "number", "remembered", "series", "uid")

    def __init__(self, series: Series, association: Attributes) -> None:
        """Read nothing yet but the Series Number."""
        self.series = series
        self.uid = series.series_instance_uid
        self.everything: InstanceSet = (1 << len(series.instances)) - 1
        self.answers: dict[int, Answer] = {}
        self.remembered: dict[tuple[object, ...], object] = {}
        self._association = association
        self._headers = [instance.attributes for instance in series.instances]
        self._columns: dict[str, Column] = {}
        self.number = min(map(_series_number, self.column("SeriesNumber").parts), default=NO_SERIES_NUMBER)

    def column(self, keyword: str) -> Column:
        """Return what the instances hold for a keyword."""
        column = self._columns.get(keyword)
        if column is None:
            column = self._columns[keyword] = self._column(keyword)
        return column

    def _column(self, keyword: str) -> Column:
        if keyword in self._association:
            values = self._association[keyword]
            return Column(((values, self.everything),), _shown(values))
        found = [header.get(keyword, ()) for header in self._headers]
        first = found[0]
        if found.count(first) == len(found):
            return Column(((first, self.everything),), _shown(first))
        bits: dict[tuple[str, ...], list[int]] = {}
        for bit, values in enumerate(found):
            bits.setdefault(values, []).append(bit)
        parts = tuple((values, sum(1 << bit for bit in holders)) for values, holders in bits.items())
        return Column(parts, _shown([value for values in bits for value in values]))

    def parts(self, keywords: Sequence[str]) -> Iterator[tuple[dict[str, tuple[str, ...]], InstanceSet]]:
        """Yield the distinct headers, projected onto keywords, each with the instances that have it."""
        groups: list[tuple[dict[str, tuple[str, ...]], InstanceSet]] = [({}, self.everything)]
        for keyword in keywords:
            parts = self.column(keyword).parts
            groups = [
                ({**header, keyword: values}, common)
                for header, instances in groups
                for values, holders in parts
                if (common := instances & holders)
            ]
        yield from groups

    def values(self, keyword: str, instances: InstanceSet) -> list[tuple[str, ...]]:
        """Return the distinct values of some instances for a keyword."""
        return [values for values, holders in self.column(keyword).parts if holders & instances]

    def headers(self, instances: InstanceSet) -> Iterator[Attributes]:
        """Yield the header of each of some instances."""
        if instances == self.everything:
            return iter(self._headers)
        return (self._headers[bit] for bit in _bits(instances))

    def sop_instance_uids(self, instances: InstanceSet) -> tuple[str, ...]:
        """Return the SOP Instance UIDs of some instances, sorted: the order of arrival changes no job."""
        key = ("sop_instance_uids", instances)
        found = self.remembered.get(key)
        if not isinstance(found, tuple):
            members = self.series.instances
            found = self.remembered[key] = tuple(sorted(members[bit].sop_instance_uid for bit in _bits(instances)))
        return found


class StudyView:
    """A study whose series are ordered by Series Number and UID; a series without instances is none."""

    __slots__ = ("series", "study")

    def __init__(self, study: Study) -> None:
        """Read nothing yet but the Series Numbers."""
        self.study = study
        association = {"CallingAET": study.calling_ae_titles, "CalledAET": study.called_ae_titles}
        views = [SeriesView(series, association) for series in study.series if series.instances]
        self.series = sorted(views, key=lambda view: (view.number, view.uid))

    def values(self, keyword: str) -> set[str]:
        """Return the distinct values of the study for a keyword, without padding; an empty one stands for none."""
        parts = (values for series in self.series for values, _ in series.column(keyword).parts)
        return {values[0].strip(" \0") if values else "" for values in parts}


def _bits(instances: InstanceSet) -> Iterator[int]:
    text = bin(instances)[:1:-1]
    bit = text.find("1")
    while bit >= 0:
        yield bit
        bit = text.find("1", bit + 1)


def _shown(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))[:MOST_VALUES_SHOWN]


def _series_number(part: tuple[tuple[str, ...], InstanceSet]) -> int:
    values, _ = part
    text = values[0].strip(" \0") if values else ""
    return int(text) if text.lstrip("+-").isdecimal() and len(text) <= 12 else NO_SERIES_NUMBER  # IS has 12 characters
