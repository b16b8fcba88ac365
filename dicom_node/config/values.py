"""Values as operators write them: durations, sizes, AE titles."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, WithJsonSchema

from dicom_node.domain.queue_order import hours_from_text

_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(ms|s|m|h|d|w|y)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0, "y": 31557600.0}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|KiB|MiB|GiB|TiB)")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


def parse_duration(value: object) -> timedelta:
    """Read `500ms`, `10s`, `10m`, `2h`, `1d`, `2w`, `5y` (a year has 365.25 days).

    Raises:
        ValueError: not such a text; a bare number has no unit and is refused.
    """
    if isinstance(value, timedelta):
        return value
    match = _DURATION.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a duration is a number with a unit, such as 500ms, 10s, 10m, 2h, 5y")
    return timedelta(seconds=float(match[1]) * _SECONDS[match[2]])


def parse_size(value: object) -> int:
    """Read `512 MiB`, `2GiB`.

    Raises:
        ValueError: not such a text.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    match = _SIZE.fullmatch(value.strip()) if isinstance(value, str) else None
    if match is None:
        raise ValueError("a size is a number with a unit, such as 512MiB or 2GiB")
    return int(float(match[1]) * _BYTES[match[2]])


def check_ae_title(value: object) -> str:
    """Check an AE title. Source: PS3.5 table 6.2-1, VR AE.

    Raises:
        ValueError: empty, longer than 16 characters, or with a character that AE does not allow.
    """
    if not isinstance(value, str) or not value.strip():
        raise ValueError("an AE title is a text of 1 to 16 characters")
    title = value.strip()
    if len(title) > 16:
        raise ValueError(f"AE title has {len(title)} characters, 16 are allowed")
    if not title.isascii() or not title.isprintable() or "\\" in title:
        raise ValueError("an AE title holds printable ASCII characters without backslash")
    return title


def check_hours(value: str) -> str:
    """Check hours of the day, such as `20:00-06:00`.

    Raises:
        ValueError: not such a text.
    """
    hours_from_text(value)
    return value


def check_time_zone(value: str) -> str:
    """Check a name of the IANA time zone database; empty is the machine's zone.

    Raises:
        ValueError: no such zone on this machine.
    """
    try:
        if value:
            ZoneInfo(value)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError(f"no time zone is named {value!r} on this machine; zones are named as Europe/Berlin") from error
    return value


def _duration_text(value: timedelta) -> str:
    return f"{value.total_seconds() * 1000:.0f}ms"


Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(_duration_text),
    WithJsonSchema({"type": "string", "pattern": f"^{_DURATION.pattern}$"}),
]
Size = Annotated[int, BeforeValidator(parse_size), Field(ge=0), WithJsonSchema({"type": "string", "pattern": f"^{_SIZE.pattern}$"})]
AeTitle = Annotated[str, BeforeValidator(check_ae_title)]
Port = Annotated[int, Field(ge=1, le=65535)]
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$")]
OffPeakHours = Annotated[str, AfterValidator(check_hours)]
TimeZone = Annotated[str, AfterValidator(check_time_zone)]
