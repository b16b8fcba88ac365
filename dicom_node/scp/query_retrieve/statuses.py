"""What the statuses of C-FIND, C-GET and C-MOVE mean, as our errors."""

from __future__ import annotations

from pydicom.dataset import Dataset

from dicom_node.errors import SourceRefusedError

PENDING = frozenset({0xFF00, 0xFF01})
PENDING_KEYS_IGNORED = 0xFF01
CANCELLED = 0xFE00
SOME_FAILED = 0xB000

_LONGEST_COMMENT = 64
_WORDS = {
    0x0122: ("SOP class not supported", "the source does not offer this query model"),
    0x0124: ("not authorised", "register this node's AE title for queries at the source"),
    0xA700: ("out of resources", "try again later, or ask for less"),
    0xA701: ("out of resources: cannot count the matches", "try again later, or ask for less"),
    0xA702: (
        "out of resources: cannot perform the sub-operations",
        "look into the source's log; for `retrieve: move` it must reach this node's host and port",
    ),
    0xA801: ("move destination unknown", "register this node's AE title, host and port as a destination at the source"),
    0xA900: ("identifier does not match the SOP class", "the source does not support a query of this level or with these keys"),
}


def refusal(source_name: str, asked: str, response: Dataset, came: int = 0) -> SourceRefusedError:
    """Word a failure status.

    What the source itself comments goes into the hint, which only people see, and not into the message, which is logged.

    Args:
        source_name: Name of the query source.
        asked: The service, for example `C-FIND`.
        response: Status and the elements related to it.
        came: Instances that had come by then.
    Source: PS3.4 C.4.1.1.4, C.4.2.1.5, C.4.3.1.4; PS3.7 Annex C.
    """
    status = int(response.Status)
    words, hint = _WORDS.get(status, _words_of_range(status))
    comment = str(response.get("ErrorComment") or "")[:_LONGEST_COMMENT]
    return SourceRefusedError(
        f"{source_name}: {asked} answered {status:04X}: {words}" + (f"; {came} instance(s) had come" if came else ""),
        status=status,
        hint="; ".join(part for part in (hint, f"the source says: {comment}" if comment else "") if part),
    )


def _words_of_range(status: int) -> tuple[str, str]:
    if 0xA700 <= status <= 0xA7FF:
        return _WORDS[0xA700]
    if 0xA900 <= status <= 0xA9FF:
        return _WORDS[0xA900]
    if 0xC000 <= status <= 0xCFFF:
        return "unable to process", "look into the source's log"
    if status == CANCELLED:
        return "cancelled by the source", "try again later, or ask for less"
    return "failure", "look into the source's log"
