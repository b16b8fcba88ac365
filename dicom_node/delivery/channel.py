"""How something is sent to a destination, whatever it speaks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol, runtime_checkable

from dicom_node.delivery import scu
from dicom_node.delivery.fhir import FhirChannel
from dicom_node.delivery.mllp import MllpChannel
from dicom_node.delivery.outcomes import Outcome
from dicom_node.delivery.stow import StowChannel
from dicom_node.domain.destinations import Destination, FhirServer, Hl7Receiver, StorageScp, StowServer
from dicom_node.errors import DeliveryError


class Channel(Protocol):
    """The way to one destination. Used by one thread at a time."""

    def probe(self) -> str:
        """Ask whether it answers; returns what it said, in words.

        Raises:
            DeliveryError: it does not.
        """

    def send(self, paths: Sequence[Path], answered: Callable[[int, Outcome], None]) -> None:
        """Send files of one study, in order.

        Args:
            paths: What result objects lie in.
            answered: Called with the index of the path and what came of it, as soon as that is known.

        Raises:
            DeliveryError: the destination cannot be used; what was not `answered` was not stored as far as we know.
        """


@runtime_checkable
class SaysWhatItTakes(Protocol):
    """A channel whose destination can be asked which SOP classes it takes."""

    def takes(self, sop_class_uids: Sequence[str]) -> frozenset[str]:
        """Ask without sending.

        Raises:
            DeliveryError: it does not answer.
        """


class StorageChannel:
    """C-STORE over one association. See `Channel`."""

    def __init__(self, calling_ae_title: str, destination: StorageScp) -> None:
        """Connect nothing yet."""
        self._calling_ae_title = calling_ae_title
        self._destination = destination

    def probe(self) -> str:
        """Send a C-ECHO. See `Channel`."""
        scu.echo(self._calling_ae_title, self._destination)
        return f"{self._destination.ae_title} at {self._destination.host}:{self._destination.port} answers C-ECHO"

    def send(self, paths: Sequence[Path], answered: Callable[[int, Outcome], None]) -> None:
        """See `Channel`."""
        scu.send(self._calling_ae_title, self._destination, paths, answered)

    def takes(self, sop_class_uids: Sequence[str]) -> frozenset[str]:
        """Propose them. See `SaysWhatItTakes`."""
        return scu.accepted_classes(self._calling_ae_title, self._destination, sop_class_uids)


def channel_to(calling_ae_title: str, destination: Destination) -> Channel:
    """Choose the way to a destination.

    Args:
        calling_ae_title: Our AE title.
        destination: Where to.
    """
    if isinstance(destination, StorageScp):
        return StorageChannel(calling_ae_title, destination)
    if isinstance(destination, StowServer):
        return StowChannel(destination)
    if isinstance(destination, Hl7Receiver):
        return MllpChannel(destination)
    if isinstance(destination, FhirServer):
        return FhirChannel(destination)
    raise DeliveryError(f"{destination.name} is whoever sent a study", hint=f"name one as {destination.name}@PEER, PEER being one of peers")
