"""Who may store over HTTP. Closed by default: a request without a configured sender's token is answered 401."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence

from dicom_node.config import StowSender
from dicom_node.errors import PeerError

_LONGEST_AE_TITLE = 16


class NotAdmittedError(PeerError):
    """A request comes from nobody we know, or from where that sender must not come from.

    Attributes:
        http_status: 401 or 403.
    """

    code = "not-admitted"

    def __init__(self, message: str, http_status: int) -> None:
        super().__init__(message)
        self.http_status = http_status


class Access:
    """The senders with their tokens' digests, read once; a reload makes a new one."""

    def __init__(self, senders: Sequence[StowSender]) -> None:
        """Read the tokens.

        Raises:
            ConfigError: a token file cannot be used.
        """
        self._senders = [(sender, sender.token_digest()) for sender in senders]

    def admit(self, authorization: str, address: str) -> StowSender:
        """Find whose request it is.

        Args:
            authorization: The Authorization header; empty if there is none.
            address: Where the connection comes from.

        Raises:
            NotAdmittedError: no or no known token (401), or the wrong address (403).
        Source: RFC 6750 2.1.
        """
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token.strip():
            raise NotAdmittedError("no bearer token", 401)
        digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
        known = [sender for sender, expected in self._senders if hmac.compare_digest(digest, expected)]
        if not known:
            raise NotAdmittedError("unknown token", 401)
        if not known[0].sends_from(address):
            raise NotAdmittedError(f"sender {known[0].name} must not come from this address", 403)
        return known[0]


def calling_ae_title(sender: StowSender) -> str:
    """Name a sender where an AE title is wanted: by its name if that fits, else STOW."""
    return sender.name if len(sender.name) <= _LONGEST_AE_TITLE else "STOW"
