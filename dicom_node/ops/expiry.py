"""When to say that a certificate is about to expire."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from dicom_node.config.tls_files import CertificateInUse
from dicom_node.ops.logs import Logger, get_logger

STEPS_DAYS = (30, 14, 7, 1)
URGENT_DAYS = 7
"""Below this many days left, expiry is a fault and no longer a notice."""


def notice_due(days_left: int, said_at: int | None) -> bool:
    """Say whether a notice is due: once at each step, and at every look once it is urgent.

    Args:
        days_left: Whole days until it expires; negative once it has.
        said_at: Days left when it was last said; None if it was not.
    """
    if days_left < URGENT_DAYS:
        return True
    return any(days_left <= step and (said_at is None or said_at > step) for step in STEPS_DAYS)


class ExpiryWatch:
    """Logs the certificates that are about to expire; meant to look once a day."""

    def __init__(self) -> None:
        """Begin with nothing said."""
        self._said: dict[tuple[str, str, datetime], int] = {}
        self._log: Logger = get_logger()

    def look(self, certificates: Iterable[CertificateInUse], now: datetime) -> None:
        """Log what is due; a renewed certificate begins anew."""
        for certificate in certificates:
            key = (certificate.option, certificate.subject, certificate.expires_at)
            days_left = certificate.days_left(now)
            if not notice_due(days_left, self._said.get(key)):
                continue
            self._said[key] = days_left
            say = self._log.error if days_left < URGENT_DAYS else self._log.warning
            say(
                "certificate_expires",
                option=certificate.option,
                days_left=days_left,
                expires_at=certificate.expires_at.isoformat(timespec="seconds"),
                subject=certificate.subject,
                file=str(certificate.path),
            )
