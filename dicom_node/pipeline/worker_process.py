"""The worker's main loop."""

from __future__ import annotations

from dicom_node.errors import DicomNodeError
from dicom_node.ops.lifecycle import Lifecycle
from dicom_node.ops.logs import get_logger
from dicom_node.ops.wakeup import Wakeup, ring
from dicom_node.pipeline.process import LONGEST_WAIT_S, Process, run_turns
from dicom_node.pipeline.worker import Worker
from dicom_node.storage import Database


def run(process: Process) -> None:
    """Run jobs until told to stop; the job under way is finished first."""
    files, database = process.files, Database(process.configuration.node.database)
    with Wakeup(files.run, process.name) as bell:
        lifecycle = Lifecycle(bell.ring_self)
        worker = Worker(process.name, process.configuration, database, files)
        try:
            worker.preload()
        except DicomNodeError as error:
            get_logger().error("model_unusable", reason=str(error))

        def turn() -> float:
            if lifecycle.take_reload():
                worker.reconfigure(process.reload())
            if worker.run_one():
                ring(files.run, "sender")
                return 0.0
            return LONGEST_WAIT_S

        run_turns(lifecycle, bell, turn)
    database.close()
