"""Storage and Verification SCU."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made by the module at run time

from dicom_node.delivery.contexts import by_association, proposed_syntaxes
from dicom_node.delivery.exchange import exchanging
from dicom_node.delivery.library_socket import LibrarySocket
from dicom_node.delivery.outcomes import Outcome, Verdict
from dicom_node.delivery.stored_file import Head, head_of
from dicom_node.delivery.storing import Storing, no_context
from dicom_node.domain.destinations import StorageScp
from dicom_node.errors import ConfigError, DeliveryError
from dicom_node.ops.checkpoint import Checkpoint
from dicom_node.ops.tls import ClientContext, client_context

_MAX_PDU = 131_072
_REJECTED = {
    (1, 3): "calling AE title not recognised: register this node's AE title at the destination",
    (1, 7): "called AE title not recognised: check ae_title of the destination",
    (3, 1): "temporary congestion",
    (3, 2): "too many associations",
}


class NoContextAcceptedError(DeliveryError):
    """The destination answers, and takes nothing of what was proposed."""

    retryable = False


def configure_library() -> None:
    """Keep data set elements out of pynetdicom's log."""
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    _config.LOG_HANDLER_LEVEL = "none"
    _config.USE_SHORT_DIMSE_AET = True


def echo(calling_ae_title: str, destination: StorageScp) -> None:
    """Send a C-ECHO.

    Raises:
        DeliveryError: why it was not answered with success.
    """
    with associated(calling_ae_title, destination, [(Verification, ImplicitVRLittleEndian)]) as association:
        status = association.send_c_echo()
        if "Status" not in status:
            raise DeliveryError(f"{destination.name}: no response to C-ECHO within {destination.timeout_s:g} s")
        if status.Status != 0:
            raise DeliveryError(f"{destination.name}: C-ECHO answered {status.Status:04X}")


def send(calling_ae_title: str, destination: StorageScp, paths: Sequence[Path], answered: Callable[[int, Outcome], None]) -> None:
    """Send Part 10 files in order, over one association or, if they need more than 128 presentation contexts, several.

    Transfer syntaxes are proposed as the destination's profile says: see `delivery.contexts`.

    Args:
        calling_ae_title: Our AE title.
        destination: Where to.
        paths: Files to send.
        answered: Called with the index of the path and what came of it, as each response arrives; first for files that cannot be read.

    Raises:
        DeliveryError: no association, or it ended; what was not `answered` was not stored as far as we know.
    """
    heads: dict[int, Head] = {}
    for index, path in enumerate(paths):
        try:
            heads[index] = head_of(path)
        except DeliveryError as error:
            answered(index, Outcome(Verdict.REFUSED, None, str(error)))
    kinds = {index: head.kind for index, head in heads.items()}
    for indices, contexts in by_association(kinds, destination.transfer_syntaxes):
        try:
            with associated(calling_ae_title, destination, contexts) as association, exchanging(association, destination) as exchange:
                Storing(exchange, destination, {index: (paths[index], heads[index]) for index in indices}, answered).run()
        except NoContextAcceptedError:
            for index in indices:
                answered(index, no_context(heads[index].kind.sop_class_uid, destination))


def accepted_classes(calling_ae_title: str, destination: StorageScp, sop_class_uids: Sequence[str]) -> frozenset[str]:
    """Ask which SOP classes a destination takes, by proposing them and releasing the association.

    Raises:
        DeliveryError: no association.
    """
    wanted = destination.transfer_syntaxes
    contexts = [(uid, syntax) for uid in sop_class_uids for syntax in proposed_syntaxes(uid, str(ExplicitVRLittleEndian), wanted)]
    try:
        with associated(calling_ae_title, destination, contexts) as association:
            return frozenset(str(cx.abstract_syntax) for cx in association.accepted_contexts)
    except NoContextAcceptedError:
        return frozenset()


@contextmanager
def associated(
    calling_ae_title: str,
    destination: StorageScp,
    contexts: Sequence[tuple[str, str]],
    *,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
    handlers: Sequence[EventHandlerType] = (),
) -> Iterator[Association]:
    """Open an association, and release it at the end.

    Args:
        calling_ae_title: Our AE title.
        destination: Whom to call.
        contexts: SOP class and transfer syntax of each presentation context.
        roles: Role selections to propose.
        handlers: What is served on it.

    Raises:
        DeliveryError: why there is none; NoContextAcceptedError if only the contexts are at fault.
    """
    configure_library()
    ae = AE(ae_title=calling_ae_title)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = destination.timeout_s
    tls = _tls_for(destination)
    association = ae.associate(
        destination.host,
        destination.port,
        contexts=[build_context(sop_class, syntax) for sop_class, syntax in contexts],
        ae_title=destination.ae_title,
        max_pdu=_MAX_PDU,
        ext_neg=list(roles),
        evt_handlers=[(evt.EVT_CONN_OPEN, _take_socket, [destination.timeout_s]), (evt.EVT_REQUESTED, _park), *handlers],
        tls_args=(tls, destination.host) if tls else None,
    )
    if not association.is_established:
        if association.rejected_contexts and not association.accepted_contexts:
            raise NoContextAcceptedError(f"{destination.name}: no presentation context accepted")
        why = f"TLS: {tls.failure}" if tls and tls.failure else _why_not(association, destination)
        raise DeliveryError(f"{destination.name}: {why}")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        cast(Checkpoint, association._reactor_checkpoint).unpark()  # the thread ends only once it runs
        association.join(destination.timeout_s)


def _tls_for(destination: StorageScp) -> ClientContext | None:
    try:
        return client_context(destination.tls) if destination.tls else None
    except ConfigError as error:
        raise DeliveryError(f"{destination.name}: TLS: {error}", hint=error.hint) from error


def _why_not(association: Association, destination: StorageScp) -> str:
    primitive = association.acceptor.primitive
    if association.is_rejected and primitive is not None:
        source, diagnostic = int(primitive.result_source or 0), int(primitive.diagnostic or 0)
        return f"association rejected: {_REJECTED.get((source, diagnostic), f'source {source}, reason {diagnostic}')}"
    if association.is_aborted and primitive is not None:
        return "association aborted: no presentation context accepted"
    return (
        f"no association with {destination.host}:{destination.port} (nobody listens there, or no answer within {destination.timeout_s:g} s)"
    )


def _park(event: evt.Event) -> None:
    """Keep the library's second thread, which has nothing to do for a requestor, from taking responses before it starts."""
    checkpoint = Checkpoint()
    checkpoint.park()
    event.assoc._reactor_checkpoint = checkpoint


def _take_socket(event: evt.Event, timeout_s: float) -> None:
    made = event.assoc.dul.socket
    if made is not None and made.socket is not None:
        made.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        event.assoc.dul.socket = LibrarySocket(made, timeout_s)
