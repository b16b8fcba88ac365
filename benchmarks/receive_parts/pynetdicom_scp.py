"""Stock pynetdicom as its documentation shows it, with its faster way to a file and a 128 KB PDU: PORT FOLDER."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import cast

from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made by the module at run time


def _store(event: evt.Event, folder: Path) -> int:
    request = cast(C_STORE, event.request)
    with (folder / str(request.AffectedSOPInstanceUID)).open("wb") as stream:
        stream.write(event.encoded_dataset())
    return 0x0000


def main() -> None:
    """Listen until killed."""
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    ae = AE(ae_title="PYNETDICOM")
    ae.maximum_pdu_size = 131072
    ae.maximum_associations = 64
    ae.supported_contexts = AllStoragePresentationContexts
    ae.add_supported_context(Verification)
    ae.start_server(("127.0.0.1", port), block=True, evt_handlers=[(evt.EVT_C_STORE, _store, [folder])])


if __name__ == "__main__" and len(sys.argv) == 3:
    main()
