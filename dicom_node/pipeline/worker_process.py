"""The worker's main loop."""

from __future__ import annotations

from collections.abc import Sequence

from dicom_node.errors import DicomNodeError
from dicom_node.inference.engines.probe import CudaDevice, cuda_devices_apart
from dicom_node.inference.pixels.plugins import register_device_decoders
from dicom_node.ops.lifecycle import Lifecycle
from dicom_node.ops.logs import get_logger
from dicom_node.ops.wakeup import Wakeup, ring
from dicom_node.pipeline.model_host.host_process import nursery
from dicom_node.pipeline.process import Process, run_turns
from dicom_node.pipeline.worker import Worker
from dicom_node.pipeline.working.placement import Placement, number_of, worker_count
from dicom_node.storage import Database


def run(process: Process) -> None:
    """Run jobs until told to stop; the job under way is finished first."""
    nursery().fork()
    gpus = look_for_devices()
    number, configured = number_of(process.name), process.configuration.workers.count
    placement = Placement(number, max(worker_count(configured, len(gpus)), number + 1), gpus)
    files, database = process.files, Database(process.configuration.node.database)
    with Wakeup(files.run, process.name) as bell:
        lifecycle = Lifecycle(bell.ring_self)
        worker = Worker(process.name, process.configuration, database, files, placement)
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


def look_for_devices() -> Sequence[CudaDevice]:
    """Ask the driver in a process apart, and let this process, which decodes, decode on a GPU if there is one.

    Called once, after the nursery was forked: decoders on a GPU begin to use it here.
    """
    found, log = cuda_devices_apart(), get_logger()
    if not found.devices:
        log.debug("no_devices", reason=found.reason)
        return ()
    log.info("devices_found", devices=", ".join(f"cuda:{gpu.index} {gpu.name}" for gpu in found.devices))
    try:
        registered, reason = register_device_decoders(found.devices), "nvidia-nvimgcodec cannot be loaded"
    except Exception as error:  # noqa: BLE001 - whatever a vendor's plug-in raises: the CPU decodes
        registered, reason = False, type(error).__name__
    if not registered:
        hint = "install nvidia-nvimgcodec-cu12 or -cu13, as the driver's CUDA version is"
        log.warning("device_decoders_unavailable", reason=f"{reason}; the CPU decodes", hint=hint)
    return found.devices
