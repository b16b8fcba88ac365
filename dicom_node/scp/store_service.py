"""The Storage service of one association: C-STORE events in, responses out, instances through the door."""

from __future__ import annotations

from collections.abc import Mapping

from dicom_node.errors import DataSetMismatchError, DicomNodeError, SopClassError, UnparsableDataSetError
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.scp.command_set import StoreRequest, store_response
from dicom_node.scp.demultiplex import StoreBegins, StoreData
from dicom_node.scp.door import Client, Door, Incoming, InstanceKind
from dicom_node.scp.metrics import of_peer

_SUCCESS = 0x0000


class StoreService:
    """Serves the C-STORE requests of one association, one at a time.

    A refused instance is read to its end and thrown away, so that the association goes on; its response says why.
    """

    def __init__(self, door: Door, client: Client, contexts: Mapping[int, tuple[str, str]]) -> None:
        """Take what was negotiated.

        Args:
            door: Where instances go.
            client: The association's peer.
            contexts: Abstract syntax and transfer syntax of each accepted presentation context by its ID.
        """
        self.door = door
        self.client = client
        self.contexts = contexts
        self._metrics = of_peer(client.origin.calling_ae_title)
        self._log: Logger = get_logger()
        self._request: StoreRequest | None = None
        self._incoming: Incoming | None = None
        self._refusal: DicomNodeError | None = None

    @property
    def busy(self) -> bool:
        """Whether an instance is arriving."""
        return self._request is not None

    def serve(self, event: StoreBegins | StoreData) -> bytes:
        """Take one event; returns a response PDU when an instance has ended, otherwise nothing."""
        if isinstance(event, StoreBegins):
            return self._begin(event.request)
        if self._incoming is not None:
            try:
                self._incoming.write(event.views)
            except DicomNodeError as error:
                self.refuse(error)
            except Exception as error:  # noqa: BLE001 - a defect must cost this instance, not the association
                self._fail(error)
        return self.end() if event.ends else b""

    def resume(self, request: StoreRequest, incoming: Incoming | None) -> None:
        """Go on with a request that the accelerator began, whose data set is under way; None if its file is gone."""
        self._request, self._incoming, self._refusal = request, incoming, None

    def drop(self) -> None:
        """Throw away what has arrived of an instance that will not be completed; it was never acknowledged."""
        if self._incoming is not None:
            self._incoming.discard()
        self._incoming = self._request = None

    def _begin(self, request: StoreRequest) -> bytes:
        self._request, self._refusal = request, None
        abstract_syntax, transfer_syntax = self.contexts[request.context_id]
        try:
            if request.sop_class_uid != abstract_syntax:
                raise SopClassError("SOP class differs from the presentation context's")
            if not request.has_data_set:
                raise UnparsableDataSetError("C-STORE without a data set")
            kind = InstanceKind(request.sop_class_uid, request.sop_instance_uid, transfer_syntax)
            self._incoming = self.door.begin(self.client.origin, kind, self.client.limits.max_instance_bytes, self.client.visit)
        except DicomNodeError as error:
            self.refuse(error)
        except Exception as error:  # noqa: BLE001 - as above
            self._fail(error)
        return b"" if request.has_data_set else self.end()

    def end(self) -> bytes:
        """Keep or refuse the request under way; returns the response PDU."""
        request, incoming = self._request, self._incoming
        self._request = self._incoming = None
        if request is None:
            return b""
        if incoming is not None:
            try:
                incoming.finish()
            except DicomNodeError as error:
                self.refuse(error)
            except Exception as error:  # noqa: BLE001 - as above
                self._fail(error)
        refusal = self._refusal
        if refusal is None:
            return store_response(request, _SUCCESS)
        self._metrics.refused(refusal.dimse_status)
        tag = refusal.offending_tag if isinstance(refusal, DataSetMismatchError) else None
        return store_response(request, refusal.dimse_status, comment=str(refusal), offending_tag=tag)

    def refuse(self, error: DicomNodeError) -> None:
        """Keep nothing of the request under way and answer it so, at its end."""
        if self._incoming is not None:
            self._incoming.discard()
            self._incoming = None
        self._refusal = error
        self._log.warning(
            "instance_refused", status=f"{error.dimse_status:04X}", reason=str(error), calling_ae=self.client.origin.calling_ae_title
        )

    def _fail(self, error: Exception) -> None:
        self._log.error("instance_failed", error=type(error).__name__, calling_ae=self.client.origin.calling_ae_title)
        self.refuse(DicomNodeError("internal error"))
