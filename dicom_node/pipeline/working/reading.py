"""Everything a run needs before its model: bundle, limits, images. In a thread, since weights are hashed and pixels decoded."""

from __future__ import annotations

from time import perf_counter

from dicom_node.config.node_schema import WorkersSection
from dicom_node.domain.jobs import Job
from dicom_node.errors import ModelError
from dicom_node.inference import ModelBundle
from dicom_node.ops.logs import get_logger
from dicom_node.pipeline.model_host.client import RunLimits
from dicom_node.pipeline.model_host.messages import ModelChoice
from dicom_node.pipeline.working.bundle_shelf import BundleShelf
from dicom_node.pipeline.working.job_images import read_job
from dicom_node.pipeline.working.placement import Placement
from dicom_node.pipeline.working.run import ReadJob
from dicom_node.storage import Database


class Reading:
    """Reads jobs, for one configuration. Used from any thread."""

    def __init__(self, workers: WorkersSection, database: Database, shelf: BundleShelf, placement: Placement | None = None) -> None:
        """Take where it reads, and which GPU the models have."""
        self._placement = placement or Placement()
        self._workers = workers
        self._database = database
        self._shelf = shelf

    def read(self, job: Job, *, on_cpu: str) -> ReadJob:
        """Find the bundle that a job was made for, and read its inputs.

        Raises:
            ModelError: there is no such bundle any more.
            StudyError: the inputs cannot be read, are of several patients, or are no volume.
            StorageError: index or database failed.
        """
        begin = perf_counter()
        bundle = self._shelf.bundle(job.model)
        if bundle.digest != job.key.model_digest:
            raise ModelError(f"bundle {job.model} changed since the job was made", hint="send the study again to run the new bundle")
        images = read_job(self._database, job, bundle)
        if images.unused:
            names = ",".join(images.unused)
            get_logger().warning("inputs_unused", job=job.id, model=job.model, inputs=names, reason="the model has none of these names")
        why = on_cpu or self._placement.too_small_for(bundle)
        return ReadJob(bundle, choice_of(bundle, on_cpu=why), limits_of(bundle, self._workers), images, perf_counter() - begin)


def choice_of(bundle: ModelBundle, *, on_cpu: str) -> ModelChoice:
    """Name a bundle for the model host; `on_cpu` says why the device is to be left alone."""
    return ModelChoice(bundle.manifest.name, bundle.folder, bundle.digest, on_cpu, bundle.manifest.resources.device_memory or 0)


def limits_of(bundle: ModelBundle, workers: WorkersSection) -> RunLimits:
    """Return what a run may take: as its bundle says, else as configured."""
    resources = bundle.manifest.resources
    time_limit = resources.time_limit if "time_limit" in resources.model_fields_set else workers.time_limit
    return RunLimits(time_limit.total_seconds(), resources.memory or workers.memory_limit or None)
