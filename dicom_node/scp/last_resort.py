"""Both threads of an association under guard: pynetdicom's threads that end in an exception leave nothing open.

An exception of one of them would end that thread alone; the other would wait for it, with socket, place and files, for ever. What a
peer sends can cause it: pynetdicom converts some of a request's fields outside of its own guards.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final, cast

from pynetdicom.association import Association
from pynetdicom.pdu_primitives import A_P_ABORT

from dicom_node.errors import place_of
from dicom_node.ops.logs import get_logger
from dicom_node.scp.fast_socket import FastSocket

_ABORT: Final = struct.pack(">BBIBBBB", 7, 0, 4, 0, 0, 2, 6)
"""By the service provider, invalid PDU parameter value. Source: PS3.8 9.3.8."""
_LONGEST_END_S = 10.0


def guard(association: Association, close: Callable[[], None]) -> None:
    """Have both threads end together, whatever ends one of them; call before they start.

    Args:
        association: Acceptor whose socket is a `FastSocket`.
        close: Closes the connection and cleans up; harmless when done before.
    """
    run_association, run_provider = association.run, association.dul.run
    fast = cast(FastSocket, association.dul.socket)

    def guarded_association() -> None:
        try:
            run_association()
        except Exception as error:  # noqa: BLE001 - this is the thread's main loop
            _report(association, error)
            fast.send(_ABORT)
        finally:
            if association.dul.is_alive():  # it alone touches the instance under way
                association.dul.kill_dul()
                fast.hang_up()
                association.dul.join(_LONGEST_END_S)
            close()

    def guarded_provider() -> None:
        try:
            run_provider()
        except Exception as error:  # noqa: BLE001 - this is the thread's main loop
            _report(association, error)
            fast.send(_ABORT)
            fast.hang_up()
            association.dul.to_user_queue.put(A_P_ABORT())
        finally:
            if association.requestor.primitive is None:  # the other thread waits for a request that will not come
                association.dul.to_user_queue.put(A_P_ABORT())
            association.dimse.msg_queue.put((None, None))

    association.run = guarded_association  # type: ignore[method-assign]
    association.dul.run = guarded_provider  # type: ignore[method-assign]


def _report(association: Association, error: Exception) -> None:
    get_logger().warning(
        "association_failed",
        reason="what the peer sent could not be read; answered with an A-ABORT",
        error=type(error).__name__,
        place=place_of(error),
        address=association.requestor.address,
    )
