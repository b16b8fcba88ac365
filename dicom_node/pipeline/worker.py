"""Runs jobs: reads one ahead, lets its model host infer another, and writes the results of a third.

Exactly one job is this worker's by lease, from its claim until its results are recorded. What is done for the next ones before is no
claim (`jobs.ahead`), so that a worker that dies costs an attempt of one job only, and a job of higher priority that comes meanwhile goes
first. After a death, of this worker or of its host, one job runs with nothing beside it, so that what kills is found by itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from time import monotonic

from dicom_node.config import Configuration
from dicom_node.domain.jobs import Job, JobState
from dicom_node.errors import DicomNodeError, StorageError, TransitionError, place_of
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.pipeline.model_host.messages import Concluded, HostSettings
from dicom_node.pipeline.working.bundle_shelf import BundleShelf
from dicom_node.pipeline.working.counter import JobCounter
from dicom_node.pipeline.working.job_images import decoded_bytes
from dicom_node.pipeline.working.lease import LeaseKeeper
from dicom_node.pipeline.working.model_side import ModelSide
from dicom_node.pipeline.working.not_analysed import not_analysed
from dicom_node.pipeline.working.placement import Placement
from dicom_node.pipeline.working.reading import Reading, choice_of
from dicom_node.pipeline.working.recording import Recording
from dicom_node.pipeline.working.run import Fault, Phase, Run
from dicom_node.pipeline.working.wake import Wake
from dicom_node.sr_writer import build_self_test
from dicom_node.storage import Database, InstanceFiles

_BUSY_LOOK_S = 0.25
_IDLE_LOOK_S = 2.0
_LOOK_EVERY_S = 0.1
_MOST_AHEAD = 2
"""The next job, and one that a job of higher priority has overtaken since it was read."""


class Worker:
    """One process's worth of model runs. Used from one thread; its own threads read, write, keep the lease and talk to the host."""

    def __init__(
        self, name: str, configuration: Configuration, database: Database, files: InstanceFiles, placement: Placement | None = None
    ) -> None:
        """Take back what a dead worker of the same name held.

        Args:
            name: Unique on this node.
            configuration: As checked.
            database: With the newest schema.
            files: Instance store, prepared.
            placement: Which GPU is this worker's; None: none is.
        """
        self.name = name
        self._placement = placement or Placement()
        self.ended = 0
        self._configuration = configuration
        self._database = database
        self._files = files
        self._log: Logger = get_logger()
        self._wake = Wake()
        self._shelf = BundleShelf(configuration.node.models_dir, configuration.bundles_dir)
        self._models = ModelSide(_settings(name, configuration, self._placement), self._wake, verifies=configuration.workers.verify_engines)
        self._lease = LeaseKeeper(database, configuration.workers.lease)
        self._readers = ThreadPoolExecutor(2, thread_name_prefix="read")
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="write")
        self._claimed: Run | None = None
        self._ahead: dict[int, Run] = {}
        self._looked_at: object = None
        self._looked_at_s = self._held_at_s = float("-inf")
        self._take_over(configuration)
        weakref.finalize(self, _shut, self._models, self._lease)
        for job_id in self._counter.recover():
            self._models.alone = True
            self._log.warning("job_recovered", job=job_id, reason="worker died, attempt lost")

    @property
    def host_pid(self) -> int | None:
        """Process id of the model host; None if there is none now."""
        return self._models.host_pid

    def wake_with(self, callback: Callable[[], None]) -> None:
        """Call this, from any thread, whenever `step` has something to do."""
        self._wake.pass_on(callback)

    def preload(self) -> None:
        """Load the models that rules name and build results once, so that the first study waits for neither.

        Raises:
            DicomNodeError: results cannot be built here, or a bundle is faulty.
        """
        for name in dict.fromkeys(rule.model for rule in self._configuration.rules if rule.model):
            bundle = self._shelf.bundle(name)
            if bundle.digest not in self._left:
                self._models.load(choice_of(bundle, on_cpu=self._placement.too_small_for(bundle)))
        build_self_test(datetime.now(UTC))

    def reconfigure(self, configuration: Configuration) -> None:
        """Use a new configuration from the next job on."""
        self._configuration = configuration
        self._take_over(configuration)

    def run_one(self) -> bool:
        """Run until one job has ended; False if none is due."""
        ended = self.ended
        while self.ended == ended:
            wait_s = self.step()
            if self._claimed is None and self.ended == ended:
                return False
            self._wake.wait(min(wait_s, _BUSY_LOOK_S))
        return True

    def step(self, *, accept: bool = True) -> float:
        """Do what can be done now without waiting; returns how long nothing is to be done unless something wakes, seconds.

        Args:
            accept: Take new jobs.

        Raises:
            StorageError: the database failed; to be called again later.
        """
        ended = self.ended
        self._models.take_events()
        for run in (self._claimed, *self._ahead.values()):
            self._collect_reading(run)
        self._collect_written()
        self._look_for_cancel()
        if self.ended != ended:
            return 0.0
        if self._claimed is None and accept:
            self._claim_next()
        if self._claimed is not None:
            self._advance(self._claimed)
        if accept:
            self._look_ahead()
        if self.ended != ended:
            return 0.0
        busy = self._claimed is not None or self._ahead
        return min(_BUSY_LOOK_S, self._models.seconds_to_limit()) if busy else _IDLE_LOOK_S

    def drain(self) -> None:
        """Finish the job that is this worker's, and take no other."""
        while self._claimed is not None:
            try:
                wait_s = self.step(accept=False)
            except StorageError as error:
                self._log.error("turn_failed", code=error.code, reason=str(error))
                wait_s = _BUSY_LOOK_S
            self._wake.wait(wait_s)

    def close(self) -> None:
        """End host and threads, and leave what was only read ahead to others; a job that is under way costs an attempt."""
        _shut(self._models, self._lease)
        try:
            for run in self._ahead.values():
                self._counter.release(run.job)
        except StorageError as error:
            self._log.warning("jobs_not_released", reason=str(error))
        self._ahead.clear()
        self._readers.shutdown(cancel_futures=True)
        self._writer.shutdown()

    def _take_over(self, configuration: Configuration) -> None:
        self._left = self._left_to_others()
        self._counter = JobCounter(self.name, configuration, self._database, self._left)
        self._recording = Recording(configuration, self._database, self._files, self._shelf)
        self._reading = Reading(configuration.workers, self._database, self._shelf, self._placement)

    def _claim_next(self) -> None:
        """Claim the job that was begun first; else the next by the order of jobs, whether or not it was read ahead."""
        job = self._claim_begun() or self._counter.claim()
        if job is None:
            return
        run = self._ahead.pop(job.id) if job.id in self._ahead else Run(job)
        run.job, run.claimed, run.begun = job, True, False
        run.timings["waited_s"] = max(0.0, (datetime.now(UTC) - job.created_at).total_seconds())
        self._claimed = run
        self._lease.hold(job)
        self._log.info("job_started", job=job.id, model=job.model, attempt=job.attempt, study_uid=job.key.study_instance_uid)

    def _left_to_others(self) -> frozenset[str]:
        """Models of this configuration whose jobs wait for a worker with a larger GPU."""
        try:
            return self._placement.left_to_others(self._shelf.bundles().values()) if self._placement.gpu else frozenset()
        except DicomNodeError as error:
            self._log.error("models_not_placed", reason=str(error))
            return frozenset()

    def _claim_begun(self) -> Job | None:
        for run in [run for run in self._ahead.values() if run.begun]:
            job = self._counter.claim_begun(run.job.id)
            if job is not None:
                return job
            del self._ahead[run.job.id]
            self._models.drop(run)
        return None

    def _advance(self, run: Run) -> None:
        """Bring the claimed run on by as much as goes now."""
        if run.phase is Phase.WAITING:
            self._read(run)
        if run.phase is Phase.READ and not (self._models.alone and self._others_inside(run)):
            try:
                self._models.put(run)
            except DicomNodeError as error:
                run.end(Fault(error, retryable=error.retryable))
        if run.phase is Phase.PREPARED and self._models.device_is_free:
            self._models.infer([run, *self._companions_of(run)])
        if run.phase is Phase.OVER:
            self._record(run)
        self._lease.note(run.stage, run.progress)

    def _record(self, run: Run) -> None:
        if isinstance(run.outcome, Concluded) and run.read is not None:
            run.phase = Phase.WRITING
            run.timings["model_s"] = sum(run.timings.get(f"{stage}_s", 0.0) for stage in ("prepare", "infer", "conclude"))
            run.writing = self._writer.submit(self._recording.write, run.job, run.read.images, run.outcome, run.timings)
            run.writing.add_done_callback(self._wake)
        elif isinstance(run.outcome, Fault):
            self._end_with(run, run.outcome)

    def _collect_written(self) -> None:
        run = self._claimed
        if run is None or run.writing is None or not run.writing.done():
            return
        error = run.writing.exception()
        if error is None:
            self._models.alone = False
            self._end(run)
        elif isinstance(error, TransitionError):
            self._log_lost(run, error)
            self._end(run)
        else:
            self._end_with(run, _fault_of(error))

    def _end_with(self, run: Run, fault: Fault) -> None:
        self._recording.fail(run.job, fault)
        if not (fault.by_model and fault.retryable):
            self._models.alone = False
        self._end(run)

    def _end(self, run: Run) -> None:
        self._models.drop(run)
        self._lease.let_go()
        self._claimed = None
        self.ended += 1

    def _look_for_cancel(self) -> None:
        """Drop the claimed run if it is not ours any more; what its model does ends at once."""
        run, now = self._claimed, monotonic()
        if run is None or now - self._held_at_s < _LOOK_EVERY_S or run.phase is Phase.WRITING:
            return
        self._held_at_s = now
        if not self._counter.holds(run.job):
            self._log_lost(run, None)
            self._end(run)

    def _log_lost(self, run: Run, error: TransitionError | None) -> None:
        if self._recording.state_of(run.job) is JobState.CANCELLED:
            self._log.info("job_cancelled", job=run.job.id, model=run.job.model)
        else:
            self._log.warning("job_lost", job=run.job.id, reason=str(error or "lease lost"))

    def _look_ahead(self) -> None:
        """Read the next job, prepare it, and begin it when the device is free, all of it while the claimed one goes on."""
        run = self._claimed
        if run is None or self._models.alone or not (run.in_host or run.past_inference) or not self._is_time_to_look(run):
            return
        self._forget_taken()
        for other in self._ahead.values():
            if other.phase is Phase.READ and run.phase is not Phase.PREPARING:
                self._models.put(other)
        job = self._counter.next_job()
        if job is None or job.id == run.job.id:  # a lease that was lost put it back: this run has to end first
            return
        following = self._ahead.get(job.id) or self._reserve(job, _MOST_AHEAD)
        if following is None or any(other.begun for other in self._ahead.values()):
            return
        companions = self._reserve_companions(following)
        if following.phase is Phase.PREPARED and run.past_inference and self._models.device_is_free:
            self._models.infer([begun for begun in (following, *companions) if begun.phase is Phase.PREPARED and self._begin(begun)])

    def _is_time_to_look(self, run: Run) -> bool:
        """Say whether something has changed here since the last look into the queue, or may have changed there."""
        seen = (run.job.id, run.phase, tuple((other.job.id, other.phase) for other in self._ahead.values()))
        if seen == self._looked_at and monotonic() - self._looked_at_s < _BUSY_LOOK_S:
            return False
        self._looked_at, self._looked_at_s = seen, monotonic()
        return True

    def _forget_taken(self) -> None:
        """Drop what others took or an operator cancelled."""
        if self._ahead:
            kept = self._counter.kept()
            for job_id in self._ahead.keys() - kept:
                self._models.drop(self._ahead.pop(job_id))

    def _reserve(self, job: Job, most: int) -> Run | None:
        """Read a job ahead, if there is room for it."""
        room = self._configuration.workers.read_ahead
        if sum(not run.begun for run in self._ahead.values()) >= most or decoded_bytes(self._database, job) > room // most:
            return None
        if not self._counter.reserve(job):
            return None
        self._ahead[job.id] = run = Run(job)
        self._read(run)
        return run

    def _reserve_companions(self, run: Run) -> list[Run]:
        """Read jobs ahead that may share the inference of a run; returns those that are on their way."""
        wanted = self._models.across_jobs(run.read.choice) - 1 if run.read else 0
        if wanted <= 0:
            return []
        jobs = self._counter.companions(run.job, wanted)
        found = [self._ahead.get(job.id) or self._reserve(job, wanted + _MOST_AHEAD) for job in jobs]
        return [other for other in found if other is not None]

    def _companions_of(self, run: Run) -> list[Run]:
        """Begin prepared jobs that share the inference of the claimed run."""
        most = self._models.across_jobs(run.read.choice) - 1 if run.read else 0
        if most <= 0 or self._models.alone:
            return []
        fit = [o for o in self._ahead.values() if o.phase is Phase.PREPARED and o.read and run.read and o.read.choice == run.read.choice]
        return [other for other in fit[:most] if self._begin(other)]

    def _begin(self, run: Run) -> bool:
        run.begun = self._counter.begin(run.job)
        return run.begun

    def _others_inside(self, run: Run) -> bool:
        return any(other.in_host for other in self._ahead.values() if other is not run)

    def _read(self, run: Run) -> None:
        run.phase = Phase.READING
        run.reading = self._readers.submit(self._reading.read, run.job, on_cpu=self._models.on_cpu(run.job.key.model_digest))
        run.reading.add_done_callback(self._wake)

    def _collect_reading(self, run: Run | None) -> None:
        if run is None or run.reading is None or not run.reading.done():
            return
        reading, run.reading = run.reading, None
        error = reading.exception()
        if error is not None:
            run.end(_fault_of(error))
        else:
            run.read, run.phase = reading.result(), Phase.READ
            run.timings["reading_s"] = run.read.seconds
            if run.read.images.refusals:
                run.end(not_analysed(run, run.read, run.read.images.refusals))


def _fault_of(error: BaseException) -> Fault:
    """Take whatever a thread raised; a defect of ours must not end the worker."""
    if isinstance(error, DicomNodeError):
        return Fault(error, retryable=error.retryable)
    return Fault(StorageError(f"internal error: {type(error).__name__} in {place_of(error)}"), retryable=True)


def _settings(name: str, configuration: Configuration, placement: Placement) -> HostSettings:
    logging, workers = configuration.node.logging, configuration.workers
    log, place = (logging.level, logging.format == "json"), (placement.device, placement.memory_bytes)
    return HostSettings(f"{name}-host", workers.threads, workers.model_memory, configuration.data_dir, *log, *place)


def _shut(models: ModelSide, lease: LeaseKeeper) -> None:
    models.close()
    lease.close()
