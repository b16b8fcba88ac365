"""The receiver: one listener whose C-STOREs end in durable files."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import cast

from pynetdicom import AE, evt
from pynetdicom.association import Association
from pynetdicom.events import EventHandlerType
from pynetdicom.pdu_primitives import A_ASSOCIATE, A_RELEASE
from pynetdicom.presentation import PresentationContext

from dicom_node.domain.instances import AssociationPeer
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.ops.tls import ServerTls
from dicom_node.scp.contexts import configure_library, service_contexts
from dicom_node.scp.door import Client, Door
from dicom_node.scp.fast_socket import Established, FastSocket, printable
from dicom_node.scp.haste import Haste
from dicom_node.scp.listener import AssociationListener, ListenOn
from dicom_node.scp.metrics import association_rejected, of_peer
from dicom_node.scp.negotiation import prepare_negotiation
from dicom_node.scp.origin import origin_of
from dicom_node.scp.places import Places
from dicom_node.scp.policy import CONGESTED, LIMIT_EXCEEDED, AccessPolicy, Admission, Credentials, Rejection
from dicom_node.scp.rate import RateLimit
from dicom_node.scp.store_service import StoreService
from dicom_node.scp.tls import TlsHandshakes
from dicom_node.scp.visits import OpenVisit, VisitBook

_SUCCESS = 0x0000
_LAST_WORD_S = 1.0
_UNLIMITED = 1_000_000  # the policy counts, and logs what it rejects


@dataclass(frozen=True, slots=True)
class Services:
    """Presentation contexts, and the handlers of their requests."""

    contexts: Sequence[PresentationContext] = ()
    handlers: Sequence[EventHandlerType] = ()


NO_SERVICES = Services()


class Receiver:
    """Accepts associations that the policy admits and answers C-ECHO and C-STORE.

    An instance is answered 0x0000 only when its file is in `incoming/` under its final name, as durably as configured.
    """

    def __init__(self, door: Door, policy: AccessPolicy, places: Places, visits: VisitBook | None = None) -> None:
        """Take what the handlers need.

        Args:
            door: Where instances go.
            policy: May be replaced while running.
            places: Counts associations over all receivers.
            visits: Where it is noted which association brings which study; None: nowhere.
        """
        self.policy = policy
        self._visits = visits
        self._door = door
        self._places = places
        self._draining = False
        self._log: Logger = get_logger()
        self._servers: list[AssociationListener] = []
        self._contexts: list[PresentationContext] = []
        self._hastes: dict[AssociationPeer, Haste] = {}
        self._rates: dict[tuple[str, int], RateLimit] = {}
        self._admitted: dict[Association, tuple[AssociationPeer, Admission]] = {}
        self._open_visits: dict[Association, OpenVisit] = {}

    def start(self, listen: ListenOn, services: Services = NO_SERVICES, *, tls: ServerTls | None = None) -> int:
        """Listen in a background thread; return the port.

        Args:
            listen: Where and how; may be called again for another port.
            services: What is served besides verification and storage.
            tls: None speaks plain DICOM there.

        Raises:
            OSError: the port is taken or not allowed.
        """
        configure_library()
        ae = AE(ae_title=self.policy.ae_title)
        ae.maximum_pdu_size = listen.max_pdu_bytes
        ae.acse_timeout = ae.dimse_timeout = listen.acse_timeout_s
        ae.network_timeout = listen.network_timeout_s
        ae.maximum_associations = _UNLIMITED
        ae.require_called_aet = False
        self._contexts = [*service_contexts(), *services.contexts]
        bound: list[EventHandlerType] = [
            (evt.EVT_REQUESTED, self._requested),
            (evt.EVT_ACCEPTED, self._accepted),
            (evt.EVT_C_ECHO, lambda _event: _SUCCESS),
            (evt.EVT_ABORTED, self._aborted),
            (evt.EVT_ACSE_RECV, self._told),
            *services.handlers,
        ]
        server = ae.make_server(
            (listen.host, listen.port),
            contexts=self._contexts,
            evt_handlers=bound,
            server_class=AssociationListener,
            listen=listen,
            handshakes=TlsHandshakes(tls.current, listen.acse_timeout_s) if tls else None,
        )
        listener = cast(AssociationListener, server)
        ae._servers.append(listener)
        self._servers.append(listener)
        threading.Thread(target=listener.serve_forever, kwargs={"poll_interval": 0.1}, name="listener", daemon=True).start()
        return int(listener.server_address[1])

    def drain(self, timeout_s: float) -> int:
        """Stop listening, let open associations end, abort what is left after the timeout. Returns how many were aborted."""
        self._draining = True
        deadline = monotonic() + timeout_s
        for server in self._servers:
            server.shutdown()
        open_associations = [
            a for server in self._servers for a in server.active_associations if a.ident is not None
        ]  # others are rejected
        for association in open_associations:
            association.join(max(0.0, deadline - monotonic()))
        left = [a for a in open_associations if a.is_alive()]
        for association in left:
            association.abort(block=False)
        deadline = monotonic() + _LAST_WORD_S
        for association in left:
            association.join(max(0.0, deadline - monotonic()))
        stuck = [a for a in left if a.is_alive()]
        for association in stuck:  # a peer that does not read would be waited for
            association._kill = True
            cast(FastSocket, association.dul.socket).hang_up()
        for association in stuck:
            association.join(_LAST_WORD_S)
        return len(left)

    def _requested(self, event: evt.Event) -> None:
        association: Association = event.assoc
        primitive = association.requestor.primitive
        if not isinstance(primitive, A_ASSOCIATE):
            self._log.warning("association_malformed", reason="A-ASSOCIATE-RQ cannot be read", address=association.requestor.address)
            association.is_aborted = True
            association.kill()
            return
        origin = origin_of(association)
        try:
            verdict = CONGESTED if self._draining else self.policy.check(origin, _credentials_of(association))
            taken = None if isinstance(verdict, Rejection) else self._places.take(verdict.places)
        except OSError as error:  # no descriptors left, or a passcode file is gone
            self._log.error("association_not_admitted", reason=error.strerror, file=error.filename)
            verdict = CONGESTED
        if isinstance(verdict, Rejection):
            self._reject(association, origin, verdict)
            return
        fast = cast(FastSocket, association.dul.socket)
        if taken is None:
            self._reject(association, origin, LIMIT_EXCEEDED)
            return
        fast.at_end(taken.give_back)
        requested: list[PresentationContext] = primitive.presentation_context_definition_list
        association.acceptor.supported_contexts = prepare_negotiation(requested, self._contexts, verdict.accepted)
        self._admitted[association] = (origin, verdict)
        of_peer(origin.calling_ae_title).opened()
        fast.at_end(lambda: self._forget(association))
        self._log.debug("association_requested", peer=verdict.peer, calling_ae=origin.calling_ae_title, address=origin.address)

    def _accepted(self, event: evt.Event) -> None:
        """Begin to serve C-STORE."""
        association: Association = event.assoc
        admitted = self._admitted.get(association)
        if admitted is None:
            return
        origin, admission = admitted
        contexts = {int(cx.context_id or 0): (str(cx.abstract_syntax), str(cx.transfer_syntax[0])) for cx in association.accepted_contexts}
        fast = cast(FastSocket, association.dul.socket)
        visit = self._visits.open() if self._visits else None
        if visit is not None:
            self._open_visits[association] = visit
            fast.at_end(lambda: self._leave(association, released=False))
        service = StoreService(self._door, Client(origin, admission.limits, visit), contexts)
        established = Established(
            service, self._rate(admission), self._hastes.setdefault(origin, Haste()), association.network_timeout or 0.0
        )
        fast.establish(established)

    def _told(self, event: evt.Event) -> None:
        """Note a release when it is asked for: all that the association brought was answered before."""
        if isinstance(getattr(event, "primitive", None), A_RELEASE):
            self._leave(event.assoc, released=True)

    def _leave(self, association: Association, *, released: bool) -> None:
        visit = self._open_visits.pop(association, None)
        if visit is not None:
            visit.end(released=released)

    def _forget(self, association: Association) -> None:
        origin, _ = self._admitted.pop(association)
        of_peer(origin.calling_ae_title).closed()

    def _rate(self, admission: Admission) -> RateLimit | None:
        wanted = admission.limits.max_bytes_per_s
        if not wanted:
            return None
        return self._rates.setdefault((admission.peer, wanted), RateLimit(wanted))

    def _reject(self, association: Association, origin: AssociationPeer, rejection: Rejection) -> None:
        association.acse.send_reject(rejection.result, rejection.source, rejection.diagnostic)
        association_rejected(rejection.reason)
        self._log.warning(
            "association_rejected",
            reason=rejection.reason,
            calling_ae=printable(origin.calling_ae_title),
            called_ae=printable(origin.called_ae_title),
            address=origin.address,
        )
        association.kill()

    def _aborted(self, event: evt.Event) -> None:
        requestor = event.assoc.requestor
        self._log.warning("association_aborted", calling_ae=printable(requestor.ae_title), address=requestor.address)


def _credentials_of(association: Association) -> Credentials:
    identity = association.requestor.user_identity
    username = None
    passcode = b""
    if identity is not None and identity.user_identity_type in (1, 2):
        username = bytes(identity.primary_field or b"").decode("utf-8", "replace")
        passcode = bytes(identity.secondary_field or b"")
    return Credentials(username, passcode, cast(FastSocket, association.dul.socket).certificate)
