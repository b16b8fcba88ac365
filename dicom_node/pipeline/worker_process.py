"""The worker's main loop."""

from __future__ import annotations

from dicom_node.errors import DicomNodeError
from dicom_node.ops.lifecycle import Lifecycle
from dicom_node.ops.logs import get_logger
from dicom_node.ops.wakeup import Wakeup, ring
from dicom_node.pipeline.process import Process, run_turns
from dicom_node.pipeline.worker import Worker
from dicom_node.storage import Database


def run(process: Process) -> None:
    """Run jobs until told to stop; the job under way is finished first."""
    files, database = process.files, Database(process.configuration.node.database)
    with Wakeup(files.run, process.name) as bell:
        lifecycle = Lifecycle(bell.ring_self)
        worker = Worker(process.name, process.configuration, database, files)
        worker.wake_with(bell.ring_self)
        try:
            worker.preload()
        except DicomNodeError as error:
            get_logger().error("model_unusable", reason=str(error))

        def turn() -> float:
            if lifecycle.take_reload():
                worker.reconfigure(process.reload())
            ended = worker.ended
            wait_s = worker.step()
            if worker.ended != ended:
                ring(files.run, "sender")
            return wait_s

        run_turns(lifecycle, bell, turn)
        worker.drain()
        worker.close()
    database.close()
