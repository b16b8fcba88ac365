"""What DIMSE-N requests have in common: their data set decoded within limits, and a status for every fault."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import TypeAlias

from pydicom.dataset import Dataset
from pynetdicom import evt
from pynetdicom.dsutils import decode

from dicom_node.domain.reports import UNDECODABLE
from dicom_node.domain.uids import is_safe_uid
from dicom_node.errors import DicomNodeError, RequestError, place_of
from dicom_node.ops.logs import get_logger
from dicom_node.scp.origin import origin_of
from dicom_node.storage import InstanceFiles
from dicom_node.storage.request_files import RequestFolders

SUCCESS = 0x0000
INVALID_ATTRIBUTE_VALUE = 0x0106
PROCESSING_FAILURE = 0x0110
DUPLICATE_SOP_INSTANCE = 0x0111
NO_SUCH_INSTANCE = 0x0112
INVALID_ARGUMENT = 0x0115
MISSING_ATTRIBUTE = 0x0120
MISSING_ATTRIBUTE_VALUE = 0x0121
NO_SUCH_ACTION = 0x0123
DUPLICATE_TRANSACTION = 0x0131
RESOURCE_LIMITATION = 0x0213

_LARGEST_ITEM_BYTES = 1024
_LARGEST_REST_BYTES = 65_536

Answer: TypeAlias = tuple[Dataset | int, Dataset | None]


@dataclass(frozen=True, slots=True)
class RequestSettings:
    """How requests are kept and what is refused.

    Attributes:
        owner: Unique name of this process on the node.
        min_free_bytes: Below this much free space requests are refused.
        max_references: Requests that name more instances are refused.
        wake: Called with the name of the processes that have something to do; must not block.
    """

    owner: str
    min_free_bytes: int
    max_references: int
    wake: Callable[[str], None] = lambda _process: None


class RequestDesk:
    """Where DIMSE-N handlers keep what they accept. Safe to use from many threads."""

    def __init__(self, files: InstanceFiles, folders: RequestFolders, settings: RequestSettings) -> None:
        """Take what every request needs; `folders` is prepared here, and what a killed process of this name left is removed."""
        self.folders = folders
        self.settings = settings
        self._files = files
        folders.prepare()
        for spool in (folders.commitments, folders.notices, folders.answers.reports):
            spool.discard_partials(settings.owner)

    def check_space(self) -> None:
        """Refuse below the free-space watermark.

        Raises:
            RequestError: 0213.
        """
        if self._files.free_bytes() < self.settings.min_free_bytes:
            raise RequestError("free space below watermark", status=RESOURCE_LIMITATION)

    def check_count(self, count: int) -> None:
        """Refuse requests that name too many instances.

        Raises:
            RequestError: 0213.
        """
        limit = self.settings.max_references
        if count > limit:
            raise RequestError(f"{count} instances in one request, {limit} are allowed", status=RESOURCE_LIMITATION)

    def data_set(self, event: evt.Event, encoded: BytesIO | None, fault: int) -> Dataset:
        """Decode a request's data set, unless it is larger than the most instances allowed could make it.

        Args:
            event: The request.
            encoded: Its data set as it came.
            fault: Status for one that is absent or cannot be decoded.

        Raises:
            RequestError: with `fault`, or 0213.
        """
        content = b"" if encoded is None else encoded.getvalue()
        if not content:
            raise RequestError("request has no data set", status=fault)
        if len(content) > _LARGEST_REST_BYTES + _LARGEST_ITEM_BYTES * self.settings.max_references:
            raise RequestError(f"request of {len(content)} bytes is too large", status=RESOURCE_LIMITATION)
        syntax = event.context.transfer_syntax
        try:
            return decode(BytesIO(content), syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)
        except UNDECODABLE as error:
            raise RequestError("data set of the request cannot be decoded", status=fault) from error


def items_of(data_set: Dataset, keyword: str, absent: int, wrong: int) -> list[Dataset]:
    """Return the items of a sequence that must have some.

    Raises:
        RequestError: with `absent` or `wrong`.
    """
    try:
        items = data_set.get(keyword)
        found = list(items or [])
    except UNDECODABLE as error:
        raise RequestError(f"{keyword} cannot be decoded", status=wrong) from error
    if not found or not all(isinstance(item, Dataset) for item in found):
        raise RequestError(f"{keyword} is missing or empty", status=absent)
    return found


def uid_of(data_set: Dataset, keyword: str, absent: int, wrong: int) -> str:
    """Return a UID that must be there.

    Raises:
        RequestError: with `absent` or `wrong`.
    """
    value = text_of(data_set, keyword, absent, wrong)
    if not is_safe_uid(value):
        raise RequestError(f"{keyword} is no UID", status=wrong)
    return value


def text_of(data_set: Dataset, keyword: str, absent: int, wrong: int) -> str:
    """Return a value that must be there, as text.

    Raises:
        RequestError: with `absent` or `wrong`.
    """
    try:
        value = str(data_set.get(keyword) or "").strip(" \0")
    except UNDECODABLE as error:
        raise RequestError(f"{keyword} cannot be decoded", status=wrong) from error
    if not value:
        raise RequestError(f"{keyword} is missing", status=absent)
    return value


def answered(name: str, handle: Callable[[evt.Event], Answer]) -> Callable[[evt.Event], Answer]:
    """Make a handler answer its faults with their statuses.

    Args:
        name: Of the log's event, for example `commitment`.
        handle: Accepts the request, or raises DicomNodeError.
    """

    def handler(event: evt.Event) -> Answer:
        log, peer = get_logger(), origin_of(event.assoc)
        try:
            return handle(event)
        except RequestError as error:
            log.warning(f"{name}_refused", status=f"{error.status:04X}", reason=str(error), calling_ae=peer.calling_ae_title)
            return error.status, None
        except DicomNodeError as error:
            log.error(f"{name}_failed", reason=str(error), calling_ae=peer.calling_ae_title)
            return (RESOURCE_LIMITATION if error.retryable else PROCESSING_FAILURE), None
        except Exception as error:  # noqa: BLE001 - the last door: pynetdicom would log the message, which may quote a data set
            log.error(f"{name}_failed", error=type(error).__name__, place=place_of(error), calling_ae=peer.calling_ae_title)
            return PROCESSING_FAILURE, None

    return handler
