"""What a TLS connection must be. Paths and choices only; contexts are built in `ops/tls.py`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class TlsProfile(StrEnum):
    """Secure Transport Connection Profiles. Source: PS3.15 B.12 and B.13; B.1 to B.11 are retired."""

    BCP195 = "bcp195"
    MODIFIED_BCP195 = "modified-bcp195"


class TlsVersion(StrEnum):
    """Least protocol version; both profiles exclude what is older. Source: RFC 8996."""

    TLS_1_2 = "1.2"
    TLS_1_3 = "1.3"


@dataclass(frozen=True, slots=True)
class TlsServer:
    """How a listener proves itself and whom it believes.

    Attributes:
        certificate: PEM, this node's certificate first, then those between it and its root.
        key: PEM, not encrypted.
        ca: PEM, authorities whose certificates peers may show; None asks no peer for one.
        require_client_certificate: A peer without certificate is refused.
    """

    certificate: Path
    key: Path
    ca: Path | None
    require_client_certificate: bool
    profile: TlsProfile = TlsProfile.BCP195
    min_version: TlsVersion = TlsVersion.TLS_1_2


@dataclass(frozen=True, slots=True)
class TlsClient:
    """How a requestor proves itself and whom it believes.

    Attributes:
        ca: PEM, authorities that may have signed the other side's certificate.
        certificate: PEM, shown if the other side asks; None shows none.
        key: PEM, not encrypted; given with `certificate`.
        check_host: The certificate must name the host that was connected to.
    """

    ca: Path
    certificate: Path | None = None
    key: Path | None = None
    check_host: bool = True
    profile: TlsProfile = TlsProfile.BCP195
    min_version: TlsVersion = TlsVersion.TLS_1_2
