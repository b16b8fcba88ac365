"""Runs jobs: read, infer, write results, owe deliveries."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from time import perf_counter
from typing import Any

import pydicom

from dicom_node import __version__
from dicom_node.config import Configuration
from dicom_node.domain.findings import findings_from_result
from dicom_node.domain.jobs import Job, JobStage, StoredResult
from dicom_node.domain.results import Predecessor
from dicom_node.errors import DicomNodeError, ModelError, StorageError, TransitionError, place_of
from dicom_node.inference import Model, ModelBundle, ModelInput, find_bundles, open_model, read_instances, volume_from_instances
from dicom_node.jobs import queue
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.pipeline.closing import AvailableModel, available_models
from dicom_node.pipeline.following import EndedRun, follow_up
from dicom_node.pipeline.headers import header_attributes
from dicom_node.pipeline.result_files import write_results
from dicom_node.routing.follow import followers
from dicom_node.sr_writer import BuildRequest, build_results, build_self_test, check_one_patient, check_other_input
from dicom_node.storage import Database, InstanceFiles, deliveries, index


@dataclass(slots=True)
class _Loaded:
    digest: str
    model: Model


class Worker:
    """One process's worth of model runs. Holds one job at a time, by lease."""

    def __init__(self, name: str, configuration: Configuration, database: Database, files: InstanceFiles) -> None:
        """Take back what a dead worker of the same name held."""
        self.name = name
        self._configuration = configuration
        self._order = configuration.workers.to_queue_order()
        self._database = database
        self._files = files
        self._loaded: dict[str, _Loaded] = {}
        self._log: Logger = get_logger()
        with database.transaction() as session:
            recovered = queue.recover(session, _now(), owner=name)
        for job_id in recovered:
            self._log.warning("job_recovered", job=job_id, reason="worker died, attempt lost")

    def preload(self) -> None:
        """Load the models that rules name and build results once, so that the first study waits for neither."""
        build_self_test(_now())
        for rule in self._configuration.rules:
            if rule.model:
                self._model(rule.model)

    def reconfigure(self, configuration: Configuration) -> None:
        """Use a new configuration from the next job on."""
        self._configuration = configuration
        self._order = configuration.workers.to_queue_order()

    def run_one(self) -> bool:
        """Claim and run one job; False if none is due."""
        with self._database.transaction() as session:
            job = queue.claim(session, self.name, _now(), self._configuration.workers.lease, self._order)
        if job is None:
            return False
        self._log.info("job_started", job=job.id, model=job.model, attempt=job.attempt, study_uid=job.key.study_instance_uid)
        with _Heartbeat(self._database, job, self._configuration):
            try:
                self._run(job)
            except TransitionError as error:
                self._log.warning("job_lost", job=job.id, reason=str(error))
            except DicomNodeError as error:
                self._fail(job, error, retryable=error.retryable)
            except Exception as error:  # noqa: BLE001 - main loop: a defect in one model must not end the others
                self._fail(job, StorageError(f"internal error: {type(error).__name__} in {place_of(error)}"), retryable=True)
        return True

    def _run(self, job: Job) -> None:
        timings = {"waited_s": (_now() - job.created_at).total_seconds()}
        loaded = self._model(job.model)
        if loaded.digest != job.key.model_digest:
            raise ModelError(f"bundle {job.model} changed since the job was made", hint="send the study again to run the new bundle")
        begin = perf_counter()
        source = self._read(job)
        volume, ordered = volume_from_instances(source)
        timings["reading_s"] = perf_counter() - begin
        self._stage(job, JobStage.INFERRING)
        result = loaded.model.run({"images": ModelInput(volume, header_attributes(ordered[0]))}, _now())
        timings["model_s"] = result.compute_s
        self._stage(job, JobStage.WRITING)
        begin = perf_counter()
        predecessors = self._predecessors(job)
        request = BuildRequest(job.key, ordered, volume, result, __version__, self._configuration.ae_title, predecessors)
        stored = write_results(self._files, job.id, build_results(request))
        timings["writing_s"] = perf_counter() - begin
        self._finish(job, stored, timings, findings_from_result(result, volume.voxel_ml))
        self._log.info("job_results_written", job=job.id, objects=len(stored), **{k: round(v, 3) for k, v in timings.items()})

    def _read(self, job: Job) -> Sequence[pydicom.Dataset]:
        """Read all inputs through the patient gate; the model gets the first, so that the others are read without pixel data."""
        with self._database.transaction() as session:
            paths: list[list[Path]] = [index.instance_paths(session, wanted) for wanted in job.inputs]
        source = read_instances(paths[0])
        check_one_patient(source)
        for wanted, others in zip(job.inputs[1:], paths[1:], strict=True):
            prior = wanted.study_instance_uid != job.inputs[0].study_instance_uid
            check_other_input(wanted.name, source[0], read_instances(others, pixels=False), prior=prior)
        return source

    def _stage(self, job: Job, stage: JobStage) -> None:
        with self._database.transaction() as session:
            if not queue.set_stage(session, job.id, self.name, stage):
                raise TransitionError("lease lost")

    def _predecessors(self, job: Job) -> tuple[Predecessor, ...]:
        if not job.replaces:
            return ()
        with self._database.transaction() as session:  # no earlier run is under way: the queue gave this job out after they ended
            return deliveries.earlier_reports(session, job)

    def _finish(self, job: Job, stored: Sequence[StoredResult], timings: Mapping[str, float], findings: Mapping[str, Any]) -> None:
        now, run = _now(), EndedRun(job, findings, self._models_that_follow(job))
        with self._database.transaction() as session:
            followed = follow_up(session, self._configuration, run, now)
            destinations = followed.destinations(job)
            deliveries.record_results(session, job.id, stored, destinations, now)
            finished = queue.Finished(delivering=bool(destinations), timings=timings, findings=findings, reason=followed.reason(job))
            queue.finish(session, job, finished, now)
        for new in followed.jobs:
            self._log.info("job_followed", job=new.id, after=job.id, rule=new.key.rule, study_uid=new.key.study_instance_uid)

    def _models_that_follow(self, job: Job) -> dict[str, AvailableModel]:
        if not any(rule.model for rule in followers(self._configuration.rules, job.model)):
            return {}
        return available_models(self._configuration)

    def _fail(self, job: Job, error: DicomNodeError, *, retryable: bool) -> None:
        reason = f"{error.code}: {error}" + (f" ({error.hint})" if error.hint else "")
        try:
            with self._database.transaction() as session:
                held = queue.get(session, job.id)
                if held is None or held.lease_owner != self.name or held.attempt != job.attempt:
                    return
                state = queue.fail_attempt(session, job.id, reason, retryable=retryable, now=_now())
        except StorageError as again:
            self._log.error("job_unrecorded", job=job.id, reason=str(again))
            return
        self._log.error("job_attempt_failed", job=job.id, attempt=job.attempt, state=str(state), reason=reason)

    def _model(self, name: str) -> _Loaded:
        bundle: ModelBundle | None = find_bundles(self._configuration.node.models_dir, self._configuration.bundles_dir).get(name)
        if bundle is None:
            raise ModelError(f"no model bundle is named {name!r}", hint="see `dicom-node models list`")
        loaded = self._loaded.get(name)
        if loaded is None or loaded.digest != bundle.digest:
            if loaded is not None:
                loaded.model.close()
            self._loaded[name] = loaded = _Loaded(bundle.digest, open_model(bundle, threads=self._configuration.workers.threads))
        return loaded


class _Heartbeat:
    """Extends the lease of a job in a thread while it runs."""

    def __init__(self, database: Database, job: Job, configuration: Configuration) -> None:
        self._database = database
        self._job = job
        self._lease = configuration.workers.lease
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="heartbeat", daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_exception: object) -> None:
        self._done.set()
        self._thread.join()

    def _beat(self) -> None:
        while not self._done.wait(self._lease.total_seconds() / 3):
            try:
                with self._database.transaction() as session:
                    if not queue.heartbeat(session, self._job.id, self._job.lease_owner or "", _now() + self._lease):
                        return
            except StorageError as error:
                get_logger().warning("heartbeat_failed", job=self._job.id, reason=str(error))


def _now() -> datetime:
    return datetime.now(UTC)
