"""Whether a message that pynetdicom sends is still under way, so that nothing of ours goes between its fragments.

Source: PS3.8 annex E: fragments of messages on one association are not interleaved.
"""

from __future__ import annotations

from dicom_node.ops.command_set import has_data_set, read_command_set
from dicom_node.ops.pdata import P_DATA_TF, Fragment, PDataReader


class OutgoingMessages:
    """Watches the PDUs that pynetdicom hands to its socket, each of them whole."""

    def __init__(self) -> None:
        """Begin between messages."""
        self._reader = PDataReader()
        self._command = bytearray()
        self.open = False

    def sent(self, pdu: bytes) -> None:
        """Take note of a PDU."""
        if pdu[0] != P_DATA_TF:
            return
        fragments: list[Fragment] = []
        self._reader.read(memoryview(pdu), fragments)
        for fragment in fragments:
            if fragment.is_command:
                self._command += fragment.data
                self.open = not fragment.ends or has_data_set(read_command_set(self._command))
                if fragment.ends:
                    self._command.clear()
            else:
                self.open = not fragment.ends
