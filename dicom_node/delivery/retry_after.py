"""Retry-After of HTTP answers. Pure."""

from __future__ import annotations

from datetime import datetime
from email.utils import parsedate_to_datetime


def retry_after_s(header: str, now: datetime) -> float | None:
    """Read how long a server wants to be left alone, seconds, less than 0 for a date that has passed; None if it says nothing.

    Source: RFC 9110 10.2.3.
    """
    text = header.strip()
    try:
        return float(text) if text.isdecimal() else (parsedate_to_datetime(text) - now).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
