"""What the SCP offers beside Storage, and the library's switches."""

from __future__ import annotations

from pynetdicom import _config, build_context
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]  # made by the module at run time


def configure_library() -> None:
    """Set pynetdicom's process-wide switches.

    Its log handlers would print data set elements: off.
    """
    _config.LOG_REQUEST_IDENTIFIERS = False
    _config.LOG_RESPONSE_IDENTIFIERS = False
    _config.LOG_HANDLER_LEVEL = "none"
    _config.USE_SHORT_DIMSE_AET = True


def service_contexts() -> list[PresentationContext]:
    """List the contexts of the services beside Storage, whose contexts follow the requestor's proposals."""
    return [build_context(Verification)]
