"""What the loops of the node's processes share. Each looks for work by itself; a bell only makes it look sooner."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from dicom_node.config import Configuration
from dicom_node.errors import DicomNodeError
from dicom_node.ops.lifecycle import Lifecycle
from dicom_node.ops.logs import get_logger
from dicom_node.ops.wakeup import Wakeup
from dicom_node.pipeline.turns import AFTER_FAULT_S
from dicom_node.storage import InstanceFiles

LONGEST_WAIT_S = 2.0


@dataclass(frozen=True, slots=True)
class Process:
    """What every process is given.

    Attributes:
        name: Unique on this node, for example `worker-0`.
        reload: Reads the configuration again; raises ConfigError.
        listener: Descriptor of a socket that listens already, inherited from the supervisor.
        tls_listener: The same for the TLS port.
    """

    name: str
    configuration: Configuration
    reload: Callable[[], Configuration]
    listener: int | None = None
    tls_listener: int | None = None

    @property
    def files(self) -> InstanceFiles:
        """Instance store, folders created."""
        files = InstanceFiles(self.configuration.data_dir)
        files.prepare()
        return files


def run_turns(lifecycle: Lifecycle, bell: Wakeup, turn: Callable[[], float]) -> None:
    """Take turns until told to stop; each says how long to wait for the next, seconds. An error of ours costs one turn."""
    log = get_logger()
    log.info("process_started")
    while lifecycle.keep_going():
        try:
            wait_s = turn()
        except DicomNodeError as error:
            log.error("turn_failed", code=error.code, reason=str(error))
            wait_s = AFTER_FAULT_S
        if lifecycle.keep_going() and wait_s > 0:
            bell.wait(wait_s)
    log.info("process_stopping")


def seconds_until(moment: datetime | None) -> float:
    """Say how long to wait for a moment, at most the longest wait, seconds."""
    if moment is None:
        return LONGEST_WAIT_S
    return min(LONGEST_WAIT_S, max(0.001, (moment - datetime.now(UTC)).total_seconds()))
