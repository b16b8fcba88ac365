"""Messages as durable files beside the result objects of their job."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.domain.jobs import StoredResult
from dicom_node.pipeline.result_files import variant_suffix
from dicom_node.sr_writer.messages import Hl7Form, Message
from dicom_node.storage import InstanceFiles
from dicom_node.storage.files import write_durably


def write_messages(files: InstanceFiles, job_id: int, messages: Sequence[Message]) -> list[StoredResult]:
    """Write each message into the folder of its job, which holds its objects already; a later attempt replaces what an earlier one left.

    On record a message has the place of a SOP Instance with a UID of its own and no SOP class, so that nothing takes it for one.

    Raises:
        StorageError: disk full or broken.
    """
    folder = files.results_of(job_id)
    stored = []
    for message in messages:
        kind, variant = message.form.kind, message.form.variant
        suffix = "hl7" if isinstance(message.form, Hl7Form) else "json"
        path = folder / f"{kind}-1{variant_suffix(variant)}.{suffix}"
        write_durably(path, [message.content], partial=folder / f".{path.name}.partial")
        stored.append(StoredResult(kind, 1, "", message.uid, "", path, variant))
    return stored
