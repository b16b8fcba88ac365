"""Values of elements as what they mean: numbers, dates, times, ages. Tolerant: what cannot be read is None, never an error."""

from __future__ import annotations

import re
import unicodedata
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from typing import TypeAlias

from dicom_node.domain.elements import Kind

Span: TypeAlias = tuple[Decimal, Decimal]
"""First and last point of what a text names: a day is a span of seconds, a number one point."""

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,5})?")
_AGE = re.compile(r"([0-9]{1,3})([DWMY])")
_DAYS = {"D": Decimal(1), "W": Decimal(7), "M": Decimal("30.4375"), "Y": Decimal("365.25")}
_DATE = re.compile(r"([0-9]{4})(?:[-.]?([0-9]{2})(?:[-.]?([0-9]{2}))?)?")
_TIME = re.compile(r"([0-9]{2})(?::?([0-9]{2})(?::?([0-9]{2})(?:\.([0-9]{1,6}))?)?)?")
_OFFSET = re.compile(r"(?:([+-])([0-9]{2}):?([0-9]{2})|Z)$")
_MICROSECOND = timedelta(microseconds=1)
_EPOCH = datetime(1, 1, 1, tzinfo=UTC)
_MOST_DIGITS = 64


@lru_cache(maxsize=4096)  # the conditions of a thousand rules ask for the same values
def cleaned(values: tuple[str, ...]) -> tuple[str, ...]:
    """Take padding off, leave empty values out, and compose letters (NFC)."""
    stripped = (v.strip(" \0") for v in values)
    return tuple(v if v.isascii() else unicodedata.normalize("NFC", v) for v in stripped if v)


def number(text: str) -> Decimal | None:
    """Read a number as DS and IS write it, padding allowed. Source: PS3.5 table 6.2-1."""
    text = text.strip(" \0")
    if len(text) > _MOST_DIGITS or _NUMBER.fullmatch(text) is None:
        return None
    try:
        return Decimal(text)
    except InvalidOperation:
        return None


def age_days(text: str) -> Decimal | None:
    """Read an age in days; a month has 30.4375 days and a year 365.25. Source: PS3.5 table 6.2-1, VR AS."""
    found = _AGE.fullmatch(text.strip(" \0").upper())
    return int(found[1]) * _DAYS[found[2]] if found else None


def person_name(text: str) -> str:
    """Leave out trailing empty components and component groups. Source: PS3.5 6.2.1.1."""
    return "=".join(group.rstrip("^ ").strip() for group in text.split("=")).rstrip("=")


@lru_cache(maxsize=4096)
def span(kind: Kind, text: str) -> Span | None:
    """Read what a text names, as first and last point on a line; None if it is nothing of that kind.

    Dates and times may be partial and may have the separators of ISO 8601; a partial one spans all that it may mean.
    A time with an offset from UTC is compared in UTC, one without as it stands.
    """
    if kind.is_moment:
        return _moment(kind, text.strip(" \0"))
    point = age_days(text) if kind is Kind.AGE else number(text)
    return None if point is None else (point, point)


def _moment(kind: Kind, text: str) -> Span | None:
    try:
        if kind is Kind.TIME:
            return _points(*_time_span(datetime(2000, 1, 1, tzinfo=UTC), text))
        if kind is Kind.DATE:
            return _points(*_date_span(text))
        return _points(*_date_time_span(text))
    except (ValueError, OverflowError):
        return None


def _points(first: datetime, last: datetime) -> Span:
    return tuple(Decimal((m - _EPOCH) // _MICROSECOND) / 1_000_000 for m in (first, last))  # type: ignore[return-value]  # two of two


def _date_span(text: str) -> tuple[datetime, datetime]:
    found = _DATE.fullmatch(text)
    if found is None:
        raise ValueError(text)
    year, month, day = int(found[1]), int(found[2] or 1), int(found[3] or 1)
    first = datetime(year, month, day, tzinfo=UTC)
    try:
        if found[3]:
            after = first + timedelta(days=1)
        else:
            after = datetime(year + month // 12, month % 12 + 1, 1, tzinfo=UTC) if found[2] else datetime(year + 1, 1, 1, tzinfo=UTC)
    except (ValueError, OverflowError):
        return first, datetime.max.replace(tzinfo=UTC)  # some archives write 9999-12-31 for a date that is not known
    return first, after - _MICROSECOND


def _time_span(day: datetime, text: str) -> tuple[datetime, datetime]:
    found = _TIME.fullmatch(text)
    if found is None:
        raise ValueError(text)
    second = 59 if found[3] == "60" else int(found[3] or 0)  # a leap second is allowed
    first = day.replace(hour=int(found[1]), minute=int(found[2] or 0), second=second, microsecond=int((found[4] or "").ljust(6, "0")))
    if found[4]:
        width = timedelta(microseconds=10 ** (6 - len(found[4])))
    else:
        width = timedelta(seconds=1) if found[3] else timedelta(minutes=1) if found[2] else timedelta(hours=1)
    return first, first + width - _MICROSECOND


def _date_time_span(text: str) -> tuple[datetime, datetime]:
    offset = _OFFSET.search(text) if len(text) > 10 else None
    zone: tzinfo = UTC
    if offset is not None:
        text = text[: offset.start()]
        if offset[1]:
            east = timedelta(hours=int(offset[2]), minutes=int(offset[3]))
            zone = timezone(-east if offset[1] == "-" else east)
    date, time = _divided(text)
    first, last = _date_span(date)
    if time:
        first, last = _time_span(first, time)
    return first.replace(tzinfo=zone), last.replace(tzinfo=zone)


def _divided(text: str) -> tuple[str, str]:
    """Divide a date and time at the `T` or space of ISO 8601, else after the eight digits of the date."""
    for separator in ("T", " "):
        date, found, time = text.partition(separator)
        if found:
            return date, time
    return (text[:8], text[8:]) if text[:8].isdigit() else (text, "")
