"""Results that return to whoever sent the study: to which peer, or why to none."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from itertools import groupby

from sqlmodel import Session, col

from dicom_node.config import Configuration, Peer
from dicom_node.config.return_addresses import return_name
from dicom_node.domain.destinations import TheSender
from dicom_node.domain.jobs import DeliveryState, Job
from dicom_node.errors import DeliveryError
from dicom_node.jobs import queue
from dicom_node.ops.logs import get_logger
from dicom_node.pipeline.settling import settle
from dicom_node.storage import deliveries, delivery_operations
from dicom_node.storage.forwarded import SentBy, received_images
from dicom_node.storage.tables import DeliveryRow


def address_owed(session: Session, configuration: Configuration, now: datetime) -> None:
    """Give every delivery that is owed to a destination of type sender to the peer that it returns to, or refuse it visibly.

    Refused and not left waiting: only a person can name the peer or its port. A retry asks again.
    """
    names = [d.name for d in configuration.destinations.values() if isinstance(d, TheSender)]
    if not names:
        return
    found = deliveries.some(session, DeliveryRow.state == DeliveryState.OWED, col(DeliveryRow.destination).in_(names))
    ordered = sorted(found, key=lambda d: (d.destination, d.job_id))
    for (name, job_id), group in groupby(ordered, key=lambda d: (d.destination, d.job_id)):
        items, job = list(group), queue.get(session, job_id)
        if job is None:
            continue
        try:
            to = return_address(session, configuration, job, name)
        except DeliveryError as error:
            reason = f"{error}: {error.hint}"
            for item in items:
                delivery_operations.give_up(session, item.id, reason, now)
            settle(session, job_id, now)
            get_logger().error("delivery_without_address", job=job_id, destination=name, reason=reason)
        else:
            for item in items:
                delivery_operations.readdress(session, item.id, to, now)


def return_address(session: Session, configuration: Configuration, job: Job, destination: str) -> str:
    """Name the destination of the peer that sent the most instances of a job's inputs; the study's own, not those of priors.

    Raises:
        DeliveryError: nobody is on record, it is no peer that can be called, or it is this node itself.
    """
    images = received_images(session, job.key.study_instance_uid)
    own = [i for i in job.inputs if i.study_instance_uid == job.key.study_instance_uid]
    counted = Counter(image.sent_by for i in own for uid in i.sop_instance_uids if (image := images.get(uid)) is not None)
    if not counted:
        raise DeliveryError(f"{destination}: it is not on record who sent the study", hint="send the results by `dicom-node jobs send`")
    peer, by = _by_peer(configuration, counted)
    own_titles = {configuration.ae_title, *(t.ae_title for t in configuration.node.called_ae_titles)}
    if by.calling_ae_title in own_titles:
        raise DeliveryError(
            f"{destination}: {by.calling_ae_title}, who sent the study, is this node itself", hint="name another destination"
        )
    if peer is None:
        whom = f"{by.calling_ae_title} at {by.address}, who sent the study,"
        raise DeliveryError(
            f"{destination}: {whom} is no peer",
            hint="add it to peers with a port, then `dicom-node deliveries retry`; or `dicom-node jobs send`",
        )
    if peer.port is None:
        hint = "give it a port in peers, then `dicom-node deliveries retry`"
        raise DeliveryError(f"{destination}: peer {peer.name}, who sent the study, has no port", hint=hint)
    return return_name(destination, peer.name)


def _by_peer(configuration: Configuration, counted: Counter[SentBy]) -> tuple[Peer | None, SentBy]:
    """Return the peer that sent the most, from whatever addresses, and one of them; of equals the one that stands first in `peers`."""
    totals: Counter[str] = Counter()
    found: dict[str, tuple[Peer | None, SentBy]] = {}
    for by, count in counted.items():
        peer = next((p for p in configuration.node.peers if p.accepts(by.calling_ae_title, by.address)), None)
        key = f"peer {peer.name}" if peer else f"{by.calling_ae_title} {by.address}"
        totals[key] += count
        found.setdefault(key, (peer, by))
    places = {f"peer {peer.name}": number for number, peer in enumerate(configuration.node.peers)}
    return found[max(totals, key=lambda key: (totals[key], -places.get(key, len(places)), key))]
