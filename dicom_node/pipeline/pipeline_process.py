"""The main loop that indexes, completes and routes, and the node's housekeeping."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from apscheduler.schedulers.background import BackgroundScheduler

from dicom_node.config import Configuration
from dicom_node.config.tls_files import certificates_in_use
from dicom_node.errors import DicomNodeError
from dicom_node.jobs import queue
from dicom_node.ops.expiry import ExpiryWatch
from dicom_node.ops.lifecycle import Lifecycle
from dicom_node.ops.logs import get_logger
from dicom_node.ops.wakeup import Wakeup, ring
from dicom_node.pipeline.closing import available_models
from dicom_node.pipeline.commitments import Commitments, CommitmentThread
from dicom_node.pipeline.fetching import Fetching, FetchThread
from dicom_node.pipeline.intake import Intake
from dicom_node.pipeline.process import Process, run_turns, seconds_until
from dicom_node.pipeline.results.retention import prune_results
from dicom_node.pipeline.rule_versions import keep_version
from dicom_node.pipeline.surroundings import through_the_database
from dicom_node.storage import Database, InstanceFiles
from dicom_node.storage.visits import VisitFiles


def run(process: Process) -> None:
    """Index, complete, route until told to stop."""
    files, database = process.files, Database(process.configuration.node.database)
    with Wakeup(files.run, process.name) as bell:
        lifecycle = Lifecycle(bell.ring_self)
        scheduler = _housekeeping(process.configuration, database, files)
        _watch_certificates(process, scheduler)
        _remove_old_results(process, scheduler, database)
        keep_version(database, process.configuration, datetime.now(UTC))
        fetching = FetchThread(Fetching(process.configuration, database, files, bell.ring_self))
        surroundings = through_the_database(VisitFiles(files.run), fetching.look)
        intake = Intake(process.configuration, database, files, available_models(process.configuration), surroundings)
        commitments = CommitmentThread(Commitments(database, files, lambda: ring(files.run, "sender")))

        def turn() -> float:
            commitments.look()
            if lifecycle.take_reload():
                configuration = process.reload()
                keep_version(database, configuration, datetime.now(UTC))
                intake.reconfigure(configuration, available_models(configuration))
                fetching.reconfigure(configuration)
            now = datetime.now(UTC)  # before looking for files: what was acknowledged until now is indexed before a study is closed
            indexed = intake.index_pending(lifecycle.keep_going)
            if lifecycle.keep_going() and intake.close_due(now):
                ring(files.run, "worker")
                ring(files.run, "sender")  # images that are forwarded
            return 0.0 if indexed else seconds_until(intake.next_deadline())

        run_turns(lifecycle, bell, turn)
        fetching.stop()
        commitments.stop()
        scheduler.shutdown(wait=False)
    database.close()


def _watch_certificates(process: Process, scheduler: BackgroundScheduler) -> None:
    watch, log = ExpiryWatch(), get_logger()

    def look() -> None:
        try:
            node = process.reload().node  # as of now: a reload may have named other files
        except DicomNodeError as error:
            log.warning("housekeeping_failed", reason=str(error))
            return
        watch.look(certificates_in_use(node), datetime.now(UTC))

    scheduler.add_job(look, "interval", days=1, next_run_time=datetime.now(UTC) + timedelta(seconds=5))


def _remove_old_results(process: Process, scheduler: BackgroundScheduler, database: Database) -> None:
    log, files = get_logger(), process.files

    def look() -> None:
        try:
            keep = process.reload().node.results.keep  # as of now
            if keep is not None:
                prune_results(database, files, keep, datetime.now(UTC))
        except DicomNodeError as error:
            log.warning("housekeeping_failed", reason=str(error))

    soon = datetime.now(UTC) + timedelta(minutes=1)
    scheduler.add_job(look, "interval", hours=1, next_run_time=soon, coalesce=True, max_instances=1)


def _housekeeping(configuration: Configuration, database: Database, files: InstanceFiles) -> BackgroundScheduler:
    log = get_logger()

    def take_back_leases() -> None:
        try:
            with database.transaction() as session:
                recovered = queue.recover(session, datetime.now(UTC))
        except DicomNodeError as error:
            log.warning("housekeeping_failed", reason=str(error))
            return
        for job_id in recovered:
            log.warning("job_recovered", job=job_id, reason="lease ran out")
        if recovered:
            ring(files.run, "worker")

    filling = False

    def watch_disk() -> None:
        """Warn before the receivers refuse, once."""
        nonlocal filling
        try:
            was, free = filling, files.free_bytes()
        except DicomNodeError as error:
            log.warning("housekeeping_failed", reason=str(error))
            return
        filling = free < 2 * configuration.node.dicom.min_free
        if filling and not was:
            log.warning("disk_filling", free_bytes=free, refused_below_bytes=configuration.node.dicom.min_free)

    scheduler = BackgroundScheduler(timezone=UTC, daemon=True)
    lease_s = max(1.0, configuration.workers.lease.total_seconds() / 2)
    scheduler.add_job(take_back_leases, "interval", seconds=lease_s, coalesce=True, max_instances=1)
    scheduler.add_job(watch_disk, "interval", seconds=60, next_run_time=datetime.now(UTC) + timedelta(seconds=5))
    scheduler.start()
    return scheduler
