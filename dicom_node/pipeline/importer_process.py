"""The main loop of the importer, which watches folders."""

from __future__ import annotations

import threading
from time import monotonic

from dicom_node.config import WatchSection
from dicom_node.errors import DicomNodeError
from dicom_node.ops.lifecycle import Lifecycle
from dicom_node.ops.logs import get_logger
from dicom_node.ops.wakeup import ring
from dicom_node.pipeline.imports.importer import Importer, VisitingDoor, importing_door, origin_of_imports
from dicom_node.pipeline.imports.watched_folder import WatchedFolder
from dicom_node.pipeline.process import Process
from dicom_node.scp.visits import VisitBook

_LOOK_EVERY_S = 1.0
_AFTER_FAULT_S = 5.0


def run(process: Process) -> None:
    """Watch folders until told to stop; the entry under way is finished first."""
    configuration, files = process.configuration, process.files
    files.discard_partials(process.name)
    wake = threading.Event()
    lifecycle = Lifecycle(wake.set)
    visits = VisitBook(files.run, process.name, wanted=configuration.asks_for_release)
    door = VisitingDoor(importing_door(configuration, files, process.name), origin_of_imports(configuration), visits)
    importer = Importer(door.begin)

    def watched(section: WatchSection) -> WatchedFolder:
        state = files.run / f"watched-{section.name}.json"
        return WatchedFolder(section, importer, state, lambda complete: door.leave(released=complete))

    folders = [watched(section) for section in configuration.node.watch]
    every_s = min([_LOOK_EVERY_S, *(max(0.05, s.settle.total_seconds() / 2) for s in configuration.node.watch)])
    log = get_logger()
    log.info("importer_watching", folders=len(folders))
    while lifecycle.keep_going():
        if lifecycle.take_reload():
            visits.wanted = process.reload().asks_for_release
        wait_s = every_s
        for folder in folders:
            try:
                if folder.look(monotonic(), lifecycle.keep_going):
                    ring(files.run, "pipeline")
            except DicomNodeError as error:
                log.error("turn_failed", code=error.code, reason=str(error))
                wait_s = _AFTER_FAULT_S
        wake.wait(wait_s)
        wake.clear()
    log.info("importer_stopped")
