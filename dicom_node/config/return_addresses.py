"""Destinations of those that results can return to: one for each peer that has a port."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dicom_node.config.peer_schema import Peer
from dicom_node.domain.destinations import Destination, StorageScp, TheSender


def return_name(destination: str, peer: str) -> str:
    """Name what goes to one peer; no name in node.yaml can hold an @."""
    return f"{destination}@{peer}"


def return_addresses(destinations: Iterable[Destination], peers: Iterable[Peer]) -> Iterator[StorageScp]:
    """Make a storage SCP of each peer that has a port, for each destination of type sender.

    Profile, commitment and TLS are the destination's, title and address the peer's.
    """
    peers = list(peers)
    for one in destinations:
        if isinstance(one, TheSender):
            for peer in peers:
                if peer.port is not None:
                    place = (peer.ae_title, peer.host, peer.port)
                    name, syntaxes = return_name(one.name, peer.name), one.transfer_syntaxes
                    yield StorageScp(name, *place, one.profile, one.timeout_s, one.tls, one.commit, syntaxes)
