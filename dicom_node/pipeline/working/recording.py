"""From what a model found to result objects on disk, and to the rows that end the job or its attempt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from time import perf_counter

from dicom_node import __version__
from dicom_node.config import Configuration
from dicom_node.domain.findings import findings_from_result
from dicom_node.domain.inference_trace import InferenceTrace
from dicom_node.domain.jobs import NOT_ANALYSED, Job, JobState
from dicom_node.domain.profiles import DEFAULT_PROFILE, PRESETS, ResultProfile
from dicom_node.domain.results import InferenceResult, Predecessor
from dicom_node.domain.volume import Volume
from dicom_node.errors import StorageError
from dicom_node.jobs import queue
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.pipeline.closing import AvailableModel
from dicom_node.pipeline.following import EndedRun, follow_up
from dicom_node.pipeline.message_files import write_messages
from dicom_node.pipeline.model_host.messages import Concluded
from dicom_node.pipeline.result_files import write_results
from dicom_node.pipeline.results import KeptResult, keep_result
from dicom_node.pipeline.results.report import Ran, write_report
from dicom_node.pipeline.wanted import wanted_by
from dicom_node.pipeline.working.bundle_shelf import BundleShelf
from dicom_node.pipeline.working.job_images import JobImages
from dicom_node.pipeline.working.keeping import keeping
from dicom_node.pipeline.working.run import Fault
from dicom_node.routing.follow import followers
from dicom_node.sr_writer import BuildRequest, build_all, wanted_variants
from dicom_node.sr_writer.content import Outcome
from dicom_node.sr_writer.messages import MessageForm, build_messages, form_for
from dicom_node.sr_writer.variants import form_of_profile
from dicom_node.storage import Database, InstanceFiles, deliveries

_BY_DEFAULT = wanted_variants(PRESETS[DEFAULT_PROFILE])


class Recording:
    """Writes results and ends of attempts, for one configuration."""

    def __init__(self, configuration: Configuration, database: Database, files: InstanceFiles, shelf: BundleShelf) -> None:
        """Take where it writes."""
        self._configuration = configuration
        self._database = database
        self._files = files
        self._shelf = shelf
        self._log: Logger = get_logger()

    def write(self, job: Job, images: JobImages, concluded: Concluded, timings: Mapping[str, float]) -> None:
        """Build and write the result objects, and end the job in one transaction with what it owes and what follows.

        Raises:
            TransitionError: the lease was lost, or the job was cancelled; nothing is recorded.
            ResultError: an object cannot be built.
            PatientMismatchError: results would name another patient.
            StorageError: disk or database failed.
        """
        profiles = self._profiles(job)
        begin, result = perf_counter(), concluded.result
        result = replace(result, warnings=(*images.warnings, *result.warnings))
        grid = images.images
        request = BuildRequest(job.key, images.source, grid, result, __version__, self._configuration.ae_title, self._predecessors(job))
        built = build_all(request, list(profiles.values()))
        spoken_of = form_of_profile(next(iter(profiles.values())))
        messages = build_messages(replace(request, form=spoken_of), built.objects, self._forms(job))
        objects = write_results(self._files, job.id, built.objects)
        stored = [*objects, *write_messages(self._files, job.id, messages)]
        trace = _trace(images, concluded)
        self._keep(job, KeptResult(result, images.read_as, __version__, _now()))
        took = {**timings, "writing_s": perf_counter() - begin}
        write_report(self._files.results_of(job.id), built.first, objects, Ran(job, trace, took))
        finished = queue.Finished(
            delivering=False,
            timings=took,
            findings=findings_from_result(result, grid.voxel_ml if isinstance(grid, Volume) else None),
            trace=trace.as_json(),
        )
        now, run = _now(), EndedRun(job, finished.findings, self._models_that_follow(job))
        keeps = keeping(self._configuration.rules, built.first.content.outcome)
        with self._database.transaction() as session:
            followed = follow_up(session, self._configuration, run, now)
            destinations = followed.destinations(job, keeps)
            wanted = {name: wanted_by(self._configuration, name) or _BY_DEFAULT for name in destinations}
            deliveries.record_results(session, job.id, stored, wanted, now)
            reason = _reason(built.first.content.outcome, result, followed.reason(job, keeps))
            queue.finish(session, job, replace(finished, delivering=bool(destinations), reason=reason), now)
        for new in followed.jobs:
            self._log.info("job_followed", job=new.id, after=job.id, rule=new.key.rule, study_uid=new.key.study_instance_uid)
        self._log.info("job_results_written", job=job.id, objects=len(stored), **{k: round(v, 3) for k, v in took.items()})

    def fail(self, job: Job, fault: Fault) -> None:
        """End an attempt that came to nothing; the job is tried again, or fails."""
        error, limit = fault.error, self._configuration.workers.model_attempts
        retryable = fault.retryable and not (fault.by_model and job.attempt >= limit)
        reason = f"{error.code}: {error}" + (f" ({error.hint})" if error.hint else "")
        try:
            with self._database.transaction() as session:
                if not queue.holds(session, job):
                    return
                state = queue.fail_attempt(session, job.id, reason, retryable=retryable, now=_now())
        except StorageError as again:
            self._log.error("job_unrecorded", job=job.id, reason=str(again))
            return
        self._log.error("job_attempt_failed", job=job.id, attempt=job.attempt, state=str(state), reason=reason)

    def state_of(self, job: Job) -> JobState | None:
        """Say what has become of a job that this worker no longer holds."""
        with self._database.reading() as session:
            found = queue.get(session, job.id)
        return found.state if found else None

    def _keep(self, job: Job, kept: KeptResult) -> None:
        """Keep what further forms of the objects can be made from."""
        limit = self._configuration.node.results.data_limit
        if not keep_result(self._files.results_of(job.id), kept, limit):
            self._log.warning(
                "result_data_not_kept", job=job.id, reason=f"masks and maps take more than results.data_limit, {limit >> 20} MiB"
            )

    def _predecessors(self, job: Job) -> tuple[Predecessor, ...]:
        if not job.replaces:
            return ()
        with self._database.reading() as session:  # no earlier run is under way: the queue gave this job out after they ended
            return deliveries.earlier_reports(session, job)

    def _profiles(self, job: Job) -> dict[str, ResultProfile]:
        """Return the profiles of all destinations that may get the results: the job's, and those of rules that send them elsewhere.

        A destination that is not configured any more gets what the default profile says, once it is back. Where only messages are wanted,
        objects are built all the same: messages refer to them.
        """
        names = [name for name in self._destinations(job) if form_for(self._configuration.destinations.get(name)) is None]
        found = {name: self._configuration.profile_of(name) or PRESETS[DEFAULT_PROFILE] for name in names}
        return found or {"": PRESETS[DEFAULT_PROFILE]}

    def _forms(self, job: Job) -> list[MessageForm]:
        """Return the forms of the messages that any of these destinations gets."""
        found = [form_for(self._configuration.destinations.get(name)) for name in self._destinations(job)]
        return [form for form in found if form is not None]

    def _destinations(self, job: Job) -> tuple[str, ...]:
        elsewhere = [r.send_to for r in followers(self._configuration.rules, job.model) if not r.model]
        return tuple(dict.fromkeys((*job.send_to, *(name for send_to in elsewhere for name in send_to))))

    def _models_that_follow(self, job: Job) -> dict[str, AvailableModel]:
        if not any(rule.model for rule in followers(self._configuration.rules, job.model)):
            return {}
        return self._shelf.available()


def _reason(outcome: Outcome, result: InferenceResult, kept: str) -> str:
    if outcome is Outcome.NO_FINDING:
        return f"no finding; {kept}"
    return f"{NOT_ANALYSED}{'; '.join(result.not_analysed)}; {kept}" if result.not_analysed else kept


def _trace(images: JobImages, concluded: Concluded) -> InferenceTrace:
    opened = concluded.opened
    return InferenceTrace(
        inputs=images.traced,
        steps=concluded.steps,
        backend=opened.backend,
        precision=opened.precision,
        device=opened.device,
        fallback="; ".join(text for text in (opened.fallback, *concluded.remarks) if text),
        verified=opened.verified,
        versions=opened.versions,
        started_at=concluded.result.started_at,
    )


def _now() -> datetime:
    return datetime.now(UTC)
