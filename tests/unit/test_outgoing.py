"""Nothing goes between the fragments of a message that is being sent."""

from __future__ import annotations

from dicom_node.scp.outgoing import OutgoingMessages
from tests.unit.test_demultiplex import RELEASE, command, pdu, pdv


def test_a_message_is_open_from_its_first_fragment_to_its_last() -> None:
    outgoing = OutgoingMessages()
    for sent, still_open in (
        (pdu(pdv(command(0x100), command=True)), True),
        (pdu(pdv(b"event ", last=False)), True),
        (pdu(pdv(b"information")), False),
        (pdu(pdv(command(0x8030, data_set=False), command=True)), False),
        (RELEASE, False),
    ):
        outgoing.sent(sent)
        assert outgoing.open is still_open
