"""Storage and Verification SCU."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, _config, build_context, evt
from pynetdicom.association import Association
from pynetdicom.pdu_primitives import SCP_SCU_RoleSelectionNegotiation
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made by the module at run time

from dicom_node.delivery.outcomes import Outcome, Verdict, outcome_from_status
from dicom_node.domain.destinations import Destination
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


def configure_library() -> None:
    """Keep data set elements out of pynetdicom's log."""
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    _config.LOG_HANDLER_LEVEL = "none"
    _config.USE_SHORT_DIMSE_AET = True


def echo(calling_ae_title: str, destination: Destination) -> None:
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


def send(calling_ae_title: str, destination: Destination, paths: Sequence[Path], answered: Callable[[int, Outcome], None]) -> None:
    """Send Part 10 files over one association, in order.

    Each file's own transfer syntax is proposed; explicit and implicit little endian as well where pydicom can re-encode.

    Args:
        calling_ae_title: Our AE title.
        destination: Where to.
        paths: Files to send.
        answered: Called with the index of the path and what came of it, as each response arrives.

    Raises:
        DeliveryError: no association, or it ended; what was not `answered` was not stored as far as we know.
    """
    kinds = [_kind_of(path) for path in paths]
    proposed = [(sop_class, syntax) for sop_class, own in kinds for syntax in _syntaxes(own)]
    with associated(calling_ae_title, destination, list(dict.fromkeys(proposed))) as association:
        for index, path in enumerate(paths):
            if not association.is_established:
                raise DeliveryError(f"{destination.name}: association ended after {index} of {len(paths)} objects")
            answered(index, _send_one(association, path, kinds[index], destination))


def _send_one(association: Association, path: Path, kind: tuple[str, str], destination: Destination) -> Outcome:
    accepted = {str(cx.transfer_syntax[0]) for cx in association.accepted_contexts if cx.abstract_syntax == kind[0]}
    if not accepted:
        return Outcome(Verdict.REFUSED, 0x0122, f"{destination.name} accepts no presentation context for SOP class {kind[0]}")
    data_set = pydicom.dcmread(path)
    if kind[1] not in accepted:
        _to_syntax(data_set, accepted)
    response = association.send_c_store(data_set)
    if "Status" not in response:
        raise DeliveryError(f"{destination.name}: no response within {destination.timeout_s:g} s, or association aborted")
    return outcome_from_status(response.Status, str(response.get("ErrorComment", ""))[:64])


def _to_syntax(data_set: pydicom.FileDataset, accepted: set[str]) -> None:
    target = ExplicitVRLittleEndian if ExplicitVRLittleEndian in accepted else ImplicitVRLittleEndian
    if data_set.file_meta.TransferSyntaxUID.is_compressed:
        data_set.decompress()
    data_set.file_meta.TransferSyntaxUID = target


def _syntaxes(own: str) -> list[str]:
    return list(dict.fromkeys([own, ExplicitVRLittleEndian, ImplicitVRLittleEndian]))


def _kind_of(path: Path) -> tuple[str, str]:
    try:
        meta = pydicom.filereader.read_file_meta_info(path)
        return str(meta.MediaStorageSOPClassUID), str(meta.TransferSyntaxUID)
    except (InvalidDicomError, AttributeError, OSError) as error:
        raise DeliveryError(f"{path.name} is no DICOM Part 10 file", hint="only files with preamble and file meta can be sent") from error


@contextmanager
def associated(
    calling_ae_title: str,
    destination: Destination,
    contexts: Sequence[tuple[str, str]],
    *,
    roles: Sequence[SCP_SCU_RoleSelectionNegotiation] = (),
) -> Iterator[Association]:
    """Open an association, and release it at the end.

    Args:
        calling_ae_title: Our AE title.
        destination: Whom to call.
        contexts: SOP class and transfer syntax of each presentation context.
        roles: Role selections to propose.

    Raises:
        DeliveryError: why there is none.
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
        evt_handlers=[(evt.EVT_CONN_OPEN, _disable_nagle), (evt.EVT_REQUESTED, _park)],
        tls_args=(tls, destination.host) if tls else None,
    )
    if not association.is_established:
        why = f"TLS: {tls.failure}" if tls and tls.failure else _why_not(association, destination)
        raise DeliveryError(f"{destination.name}: {why}")
    try:
        yield association
    finally:
        if association.is_established:
            association.release()
        cast(Checkpoint, association._reactor_checkpoint).unpark()  # the thread ends only once it runs


def _tls_for(destination: Destination) -> ClientContext | None:
    try:
        return client_context(destination.tls) if destination.tls else None
    except ConfigError as error:
        raise DeliveryError(f"{destination.name}: TLS: {error}", hint=error.hint) from error


def _why_not(association: Association, destination: Destination) -> str:
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


def _disable_nagle(event: evt.Event) -> None:
    wrapped = event.assoc.dul.socket
    if wrapped is not None and wrapped.socket is not None:
        wrapped.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
