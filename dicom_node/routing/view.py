"""A study as the rules read it: by keyword, not by instance, so that a condition is asked once per distinct value.

A set of instances of one series is an integer with a bit for each; bit 0 is the first instance of the series.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from dicom_node.domain.instances import Attributes
from dicom_node.domain.routing import ConditionTrace
from dicom_node.domain.studies import Series, SeriesColumns, Study, StudyColumns

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


class SeriesView(ABC):
    """One series of a study.

    Attributes:
        everything: All its instances.
        answers: What the tests of the rule set that asked last found, by their number; filled by the rule set.
    """

    __slots__ = ("_association", "_columns", "answers", "count", "everything", "number", "remembered", "uid")

    def __init__(self, uid: str, count: int, association: Attributes) -> None:
        """Read nothing yet but the Series Number."""
        self.uid, self.count = uid, count
        self.everything: InstanceSet = (1 << count) - 1
        self.answers: dict[int, Answer] = {}
        self.remembered: dict[tuple[object, ...], object] = {}
        self._association = association
        self._columns: dict[str, Column] = {}
        self.number = min(map(_series_number, self.column("SeriesNumber").parts), default=NO_SERIES_NUMBER)

    @property
    def number_shown(self) -> int | None:
        """Return the Series Number; None if it has none."""
        return None if self.number == NO_SERIES_NUMBER else self.number

    @abstractmethod
    def each(self, keyword: str, instances: InstanceSet) -> Iterator[tuple[str, ...]]:
        """Yield what each of some instances holds for a keyword."""

    @abstractmethod
    def _read(self, keyword: str) -> Column:
        """Find what the instances hold for a keyword."""

    @abstractmethod
    def _uid_at(self, bit: int) -> str:
        """Return the SOP Instance UID of an instance."""

    def column(self, keyword: str) -> Column:
        """Return what the instances hold for a keyword."""
        column = self._columns.get(keyword)
        if column is None:
            values = self._association.get(keyword)
            column = self._columns[keyword] = self._read(keyword) if values is None else self._uniform(values)
        return column

    def _uniform(self, values: tuple[str, ...]) -> Column:
        return Column(((values, self.everything),), _shown(values))

    def _mixed(self, found: Sequence[tuple[str, ...]]) -> Column:
        first = found[0]
        if found.count(first) == len(found):
            return self._uniform(first)
        bits: dict[tuple[str, ...], list[int]] = {}
        for bit, values in enumerate(found):
            bits.setdefault(values, []).append(bit)
        parts = tuple((values, _set_of(holders)) for values, holders in bits.items())
        return Column(parts, _shown([value for values in bits for value in values]))

    def parts(self, keywords: Sequence[str]) -> Iterator[tuple[dict[str, tuple[str, ...]], InstanceSet]]:
        """Yield the distinct headers, projected onto keywords, each with the instances that have it."""
        columns = {keyword: self.column(keyword).parts for keyword in keywords}
        shared = {keyword: parts[0][0] for keyword, parts in columns.items() if len(parts) == 1}
        varied = [keyword for keyword in columns if keyword not in shared]
        bits: dict[tuple[tuple[str, ...], ...], list[int]] = {}
        for bit, values in enumerate(zip(*(self.each(keyword, self.everything) for keyword in varied), strict=True)):
            bits.setdefault(values, []).append(bit)
        for values, holders in bits.items():
            yield shared | dict(zip(varied, values, strict=True)), _set_of(holders)
        if not varied:
            yield shared, self.everything

    def values(self, keyword: str, instances: InstanceSet) -> list[tuple[str, ...]]:
        """Return the distinct values of some instances for a keyword."""
        return [values for values, holders in self.column(keyword).parts if holders & instances]

    def sop_instance_uids(self, instances: InstanceSet) -> tuple[str, ...]:
        """Return the SOP Instance UIDs of some instances, sorted: the order of arrival changes no job."""
        key = ("sop_instance_uids", instances)
        found = self.remembered.get(key)
        if not isinstance(found, tuple):
            found = self.remembered[key] = tuple(sorted(map(self._uid_at, _bits(instances))))
        return found


class _InstancesView(SeriesView):
    """A series given by its instances."""

    __slots__ = ("_headers", "_series")

    def __init__(self, series: Series, association: Attributes) -> None:
        self._series = series
        self._headers = [instance.attributes for instance in series.instances]
        super().__init__(series.series_instance_uid, len(series.instances), association)

    def each(self, keyword: str, instances: InstanceSet) -> Iterator[tuple[str, ...]]:
        headers = self._headers if instances == self.everything else [self._headers[bit] for bit in _bits(instances)]
        return (header.get(keyword, ()) for header in headers)

    def _read(self, keyword: str) -> Column:
        try:
            found = [header[keyword] for header in self._headers]  # twice as fast as `get`, and most elements are in all or none
        except KeyError:
            found = [header.get(keyword, ()) for header in self._headers]
        return self._mixed(found)

    def _uid_at(self, bit: int) -> str:
        return self._series.instances[bit].sop_instance_uid


class _ColumnsView(SeriesView):
    """A series given by its columns; an instance's position stands for its UID."""

    __slots__ = ("_given",)

    def __init__(self, series: SeriesColumns, association: Attributes) -> None:
        self._given = series.columns
        super().__init__(series.series_instance_uid, series.instances, association)

    def each(self, keyword: str, instances: InstanceSet) -> Iterator[tuple[str, ...]]:
        found = self._found(keyword)
        return iter(found) if instances == self.everything else (found[bit] for bit in _bits(instances))

    def _read(self, keyword: str) -> Column:
        column = self._given.get(keyword)
        if column is None:
            return self._uniform(())
        return self._uniform(column[0][0] or ()) if len(column[0]) == 1 else self._mixed(self._found(keyword))

    def _found(self, keyword: str) -> Sequence[tuple[str, ...]]:
        values, at = self._given.get(keyword, ((None,), None))
        present = [value or () for value in values]
        if at is not None:
            return [present[number] for number in at]
        return present * self.count if len(present) == 1 else present

    def _uid_at(self, bit: int) -> str:
        return str(bit)


class StudyView:
    """A study whose series are ordered by Series Number and UID; a series without instances is none.

    What has been read of it is kept, so that several rule sets in turn read it once. For one thread.

    Attributes:
        remembered: What the rule set that asked last chose, by kind of rule and instances.
    """

    __slots__ = ("remembered", "series", "study")

    def __init__(self, study: Study | StudyColumns) -> None:
        """Read nothing yet but the Series Numbers."""
        self.study = study
        self.remembered: dict[tuple[int, ...], object] = {}
        association = {"CallingAET": study.calling_ae_titles, "CalledAET": study.called_ae_titles}
        views = [
            _ColumnsView(series, association) if isinstance(series, SeriesColumns) else _InstancesView(series, association)
            for series in study.series
            if series.instances
        ]
        self.series = sorted(views, key=lambda view: (view.number, view.uid))

    def forget_answers(self) -> None:
        """Make ready for another rule set: tests have other numbers there."""
        self.remembered = {}
        for series in self.series:
            series.answers = {}

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


def _set_of(bits: Sequence[int]) -> InstanceSet:
    return sum(1 << bit for bit in bits)


def _shown(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(values))[:MOST_VALUES_SHOWN]


def _series_number(part: tuple[tuple[str, ...], InstanceSet]) -> int:
    values, _ = part
    text = values[0].strip(" \0") if values else ""
    return int(text) if text.lstrip("+-").isdecimal() and len(text) <= 12 else NO_SERIES_NUMBER  # IS has 12 characters
