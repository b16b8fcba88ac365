"""Which of several series that fit an input is taken, and why another was not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dicom_node.domain.rules import InputSlot, Preference
from dicom_node.routing.slices import slices_of
from dicom_node.routing.view import NO_SERIES_NUMBER, InstanceSet, SeriesView
from dicom_node.routing.wording import mm

_Moment = tuple[str, str]
_SAME_SPACING_DECIMALS = 2  # positions are written with a few decimals; 0.999 and 1.0 mm are one spacing
_NO_MOMENT: _Moment = ("", "")
_MOMENT_KEYWORDS = (("SeriesDate", "SeriesTime"), ("AcquisitionDateTime", ""), ("AcquisitionDate", "AcquisitionTime"))


@dataclass(frozen=True, slots=True)
class Candidate:
    """The instances of a series that an input may get."""

    series: SeriesView
    instances: InstanceSet

    @property
    def count(self) -> int:
        """How many instances."""
        return self.instances.bit_count()


def by_preference(slot: InputSlot, candidates: Sequence[Candidate]) -> list[Candidate]:
    """Order candidates, the preferred one first: as `prefer` says, then most instances, lowest Series Number, Series Instance UID."""
    if len(candidates) < 2:
        return list(candidates)
    ordered = sorted(candidates, key=lambda c: (-c.count, c.series.number, c.series.uid))
    for preference in reversed(slot.prefer):
        if preference is Preference.THINNEST:
            ordered.sort(key=_spacing)
        elif preference is Preference.NEWEST:
            ordered.sort(key=moment, reverse=True)
        else:
            ordered.sort(key=lambda c: -c.count)
    return ordered


def why_not(slot: InputSlot, loser: Candidate, winner: Candidate) -> str:
    """Say in one sentence what made the winner the better one."""
    for preference in (*slot.prefer, Preference.MOST_INSTANCES):
        reason = _difference(preference, loser, winner)
        if reason:
            return reason
    if winner.series.number != loser.series.number:
        theirs = "none" if loser.series.number == NO_SERIES_NUMBER else str(loser.series.number)
        return f"as good, but Series Number {winner.series.number} comes first (this one: {theirs})"
    return "as good, but the Series Instance UID of another comes first"


def moment(candidate: Candidate) -> _Moment:
    """Return date and time of a series: Series Date and Time, else of its last acquisition; empty texts if it tells none."""
    key = ("moment", candidate.instances)
    remembered = candidate.series.remembered
    if key not in remembered:
        remembered[key] = _moment(candidate)
    found = remembered[key]
    return found if isinstance(found, tuple) else _NO_MOMENT


def _moment(candidate: Candidate) -> _Moment:
    for date, time in _MOMENT_KEYWORDS:
        moments = [m for header, _ in _projected(candidate, date, time) if (m := _moment_of(header, date, time)) != _NO_MOMENT]
        if moments:
            return max(moments)
    return _NO_MOMENT


def _projected(candidate: Candidate, date: str, time: str) -> list[tuple[dict[str, tuple[str, ...]], InstanceSet]]:
    parts = candidate.series.parts([date, time] if time else [date])
    return [(header, holders) for header, holders in parts if holders & candidate.instances]


def _moment_of(header: dict[str, tuple[str, ...]], date: str, time: str) -> _Moment:
    day = _first(header.get(date, ()))
    if not time:
        day, clock = day[:8], day[8:].partition("+")[0].partition("-")[0]
    else:
        clock = _first(header.get(time, ()))
    day, clock = day.replace(".", ""), clock.replace(":", "")  # ACR-NEMA wrote 1993.08.22 and 10:15:00
    if "." in clock:
        clock = clock.rstrip("0").rstrip(".")
    return (day, clock) if len(day) == 8 and day.isdecimal() else _NO_MOMENT


def _first(values: tuple[str, ...]) -> str:
    return values[0].strip(" \0") if values else ""


def _spacing(candidate: Candidate) -> float:
    spacing = slices_of(candidate.series, candidate.instances).spacing_mm
    return float("inf") if spacing is None else round(spacing, _SAME_SPACING_DECIMALS)


def _difference(preference: Preference, loser: Candidate, winner: Candidate) -> str:
    if preference is Preference.THINNEST:
        return _thicker(_spacing(loser), _spacing(winner))
    if preference is Preference.NEWEST:
        return _older(moment(loser), moment(winner))
    if loser.count == winner.count:
        return ""
    return f"another series has more instances: {winner.count} against {loser.count}"


def _thicker(ours: float, best: float) -> str:
    if ours == best:
        return ""
    if ours == float("inf"):
        return f"thinner series exists: {mm(best)} mm, the spacing of this one is unknown"
    digits = (mm(best), mm(ours)) if mm(best) != mm(ours) else (f"{best:.2f}", f"{ours:.2f}")
    return f"thinner series exists: {digits[0]} mm against {digits[1]} mm"


def _older(ours: _Moment, best: _Moment) -> str:
    if ours == best:
        return ""
    return f"newer series exists: {_written(best)} against {_written(ours)}"


def _written(when: _Moment) -> str:
    day, clock = when
    if not day:
        return "no date"
    parts = [clock[i : i + 2] for i in (0, 2, 4) if clock[i : i + 2]]
    return f"{day[:4]}-{day[4:6]}-{day[6:]}" + (f" {':'.join(parts)}{clock[6:]}" if parts else "")
