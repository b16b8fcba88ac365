"""Associations with query sources, and what to say when there is none."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom import AE, build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made by the module at run time

from dicom_node.domain.sources import QuerySource
from dicom_node.errors import SourceRefusedError, SourceSilentError, SourceUnreachableError
from dicom_node.scp.contexts import configure_library
from dicom_node.scp.query_retrieve.attention import Attention, AttentiveProvider, provider_of

_MAX_PDU = 131_072
_REJECTED = {
    (1, 1): ("no reason given", "look into the source's log"),
    (1, 2): ("application context not supported", ""),
    (1, 3): ("calling AE title not recognised", "register this node's AE title, address and port at the source"),
    (1, 7): ("called AE title not recognised", "check ae_title of the query source"),
    (2, 1): ("no reason given", "look into the source's log"),
    (2, 2): ("protocol version not supported", ""),
    (3, 1): ("temporary congestion", "try again later"),
    (3, 2): ("local limit exceeded", "the source has too many associations open: try again later"),
}


@dataclass(frozen=True, slots=True)
class Proposal:
    """What one association is for.

    Attributes:
        model: SOP class that must be accepted.
        storage: SOP classes that the source shall send to us, each with the transfer syntaxes of one presentation context.
        handlers: Bound to the association.
        attention: Who takes arriving instances, and who may cancel.
    """

    model: str
    storage: Sequence[tuple[str, Sequence[str]]] = ()
    handlers: Sequence[EventHandlerType] = ()
    attention: Attention = field(default_factory=Attention)


def echo(calling_ae_title: str, source: QuerySource) -> None:
    """Send a C-ECHO.

    Raises:
        SourceError: why it was not answered with success.
    """
    with associated(calling_ae_title, source, Proposal(str(Verification))) as association:
        status = association.send_c_echo()
        if "Status" not in status:
            raise silence(association, source, "C-ECHO")
        if status.Status != 0:
            raise SourceRefusedError(f"{source.name}: C-ECHO answered {status.Status:04X}", status=int(status.Status))


@contextmanager
def associated(calling_ae_title: str, source: QuerySource, proposal: Proposal) -> Iterator[Association]:
    """Open an association for one purpose; released at the end, aborted if the block raises.

    Raises:
        SourceUnreachableError: there is none, in words.
    """
    association = _request(calling_ae_title, source, proposal)
    try:
        _check_accepted(association, source, proposal)
        yield association
    except BaseException:
        if association.is_established:
            association.abort()
        raise
    finally:
        if association.is_established:
            association.release()
        provider_of(association).close()


def silence(association: Association, source: QuerySource, asked: str) -> SourceSilentError:
    """Say why no response came."""
    provider = provider_of(association)
    if provider.fault:
        return SourceSilentError(f"{source.name}: a message of {asked} cannot be read ({provider.fault}), association aborted")
    if provider.timed_out:
        return SourceSilentError(
            f"{source.name}: no answer to {asked} within {source.timeout_s:g} s",
            hint="the source may be slow or stuck: look into its log, or raise timeout of the query source",
        )
    return SourceSilentError(f"{source.name}: the association ended before {asked} was answered", hint="look into the source's log")


def _request(calling_ae_title: str, source: QuerySource, proposal: Proposal) -> Association:
    configure_library()
    ae = AE(ae_title=calling_ae_title)
    ae.connection_timeout = ae.acse_timeout = ae.dimse_timeout = source.timeout_s
    ae.network_timeout = None  # silence is watched where an answer is due; between two requests there is nothing to wait for
    contexts = [build_context(proposal.model, [ImplicitVRLittleEndian, ExplicitVRLittleEndian])]
    contexts += [build_context(sop_class, list(syntaxes)) for sop_class, syntaxes in proposal.storage]
    roles = [build_role(sop_class, scp_role=True) for sop_class in dict.fromkeys(s for s, _ in proposal.storage)]
    opened: list[bool] = []

    def take_over(event: evt.Event) -> None:
        opened.append(True)
        wrapped = event.assoc.dul.socket
        if wrapped is not None and wrapped.socket is not None:
            wrapped.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        event.assoc.dimse = AttentiveProvider(event.assoc, proposal.attention)

    try:
        association = ae.associate(
            source.host,
            source.port,
            contexts=contexts,
            ae_title=source.ae_title,
            max_pdu=_MAX_PDU,
            ext_neg=list(roles),
            evt_handlers=[(evt.EVT_CONN_OPEN, take_over), *proposal.handlers],
        )
    except OSError as error:
        raise SourceUnreachableError(f"{source.name}: {source.host} cannot be looked up", hint="check host of the query source") from error
    if not association.is_established:
        raise _why_not(association, source, connected=bool(opened))
    return association


def _why_not(association: Association, source: QuerySource, *, connected: bool) -> SourceUnreachableError:
    place = f"{source.name} ({source.ae_title} at {source.host}:{source.port})"
    answer = association.acceptor.primitive
    if association.is_rejected and answer is not None:
        reason = (int(answer.result_source or 0), int(answer.diagnostic or 0))
        words, hint = _REJECTED.get(reason, (f"source {reason[0]}, reason {reason[1]}", ""))
        return SourceUnreachableError(f"{place}: association rejected: {words}", hint=hint)
    if answer is not None:
        return SourceUnreachableError(f"{place}: no presentation context accepted", hint="the source does not offer this service to us")
    if connected:
        return SourceUnreachableError(
            f"{place}: connected, but the association request was not answered within {source.timeout_s:g} s, or the connection was closed",
            hint="is that the DICOM port, without TLS?",
        )
    return SourceUnreachableError(
        f"{place}: nobody listens there, or no connection within {source.timeout_s:g} s", hint="check host, port and firewall"
    )


def _check_accepted(association: Association, source: QuerySource, proposal: Proposal) -> None:
    accepted = association.accepted_contexts
    if not any(cx.abstract_syntax == proposal.model for cx in accepted):
        name = build_context(proposal.model).abstract_syntax
        raise SourceUnreachableError(
            f"{source.name}: presentation context {name.name if name else proposal.model} is not accepted",
            hint="the source does not offer this service to us; `retrieve: move` or `get` may be what it knows",
        )
    if proposal.storage and not any(cx.as_scp for cx in accepted if cx.abstract_syntax != proposal.model):
        raise SourceUnreachableError(
            f"{source.name}: no storage context is accepted with this node in the SCP role, so that C-GET could bring nothing",
            hint="use `retrieve: move` for this source",
        )
