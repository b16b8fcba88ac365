"""Objects of a run in a form that was not built with it, from its inputs and what was kept of its result."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pydicom
from sqlmodel import Session

from dicom_node import __version__
from dicom_node.domain.frames import Images
from dicom_node.domain.jobs import Job, StoredResult
from dicom_node.domain.profiles import ResultProfile
from dicom_node.errors import ResultError, StorageError
from dicom_node.inference import read_instances
from dicom_node.pipeline.result_files import write_results
from dicom_node.pipeline.results.folder_lock import held_alone
from dicom_node.pipeline.results.kept import KeptResult, kept_result
from dicom_node.pipeline.results.report import name_further
from dicom_node.pipeline.working.job_images import read_images
from dicom_node.sr_writer import BuildRequest, build_for_profiles, wanted_variants
from dicom_node.storage import Database, InstanceFiles, deliveries, queries
from dicom_node.storage.input_instances import InputInstance, input_instances


@dataclass(frozen=True, slots=True)
class Rebuilder:
    """Builds further forms of the objects of ended runs.

    Attributes:
        ae_title: Of the node.
    """

    ae_title: str
    database: Database
    files: InstanceFiles

    def rebuild(self, job: Job, profile: ResultProfile) -> list[StoredResult]:
        """Build, write and record what a profile wants of a run and the run has not; nothing is owed to anybody.

        The objects have the UIDs, and but for the version of the node the content, that they would have had if they had been built with
        the run. Two at once for one job wait for each other.

        Returns:
            The new objects; none if the run has all that can be made.

        Raises:
            ResultError: what was found was not kept, the inputs are not what the model saw, or an object cannot be built.
            StudyError: the inputs cannot be read any more.
            StorageError: disk or database failed; may succeed later.
        """
        with _alone(self.files.results_of(job.id)):
            with self.database.reading() as session:
                has = {(r.kind, r.variant) for r in deliveries.results_of(session, job.id)}
            wanted = {(kind, variant) for kind, variant in wanted_variants(profile).items()} - has
            if not has or not wanted:
                return []
            kept = kept_result(self.files.results_of(job.id))
            objects = build_for_profiles(self._request(job, kept), [profile])
            further = write_results(self.files, job.id, [o for o in objects if (o.kind, o.variant) in wanted])
            with self.database.transaction() as session:
                deliveries.record_results(session, job.id, further, {}, datetime.now(UTC))
            name_further(self.files.results_of(job.id), further)
        return further

    def _request(self, job: Job, kept: KeptResult) -> BuildRequest:
        with self.database.reading() as session:
            indexed = _as_seen(session, job)
            predecessors = deliveries.earlier_reports(session, job) if job.replaces else ()
        instances: Sequence[pydicom.Dataset] = read_instances([one.path for one in indexed])
        images: Images | None = None
        if kept.read_as is not None:
            read = read_images(kept.read_as, instances)
            images, instances = read.images, read.instances
        return BuildRequest(job.key, instances, images, kept.result, __version__, self.ae_title, predecessors)


def _as_seen(session: Session, job: Job) -> list[InputInstance]:
    """List the instances of the model's first input, if those that it saw are still the same."""
    digests = _digests(queries.job_trace(session, job.id))
    shown = next((one for one in job.inputs if digests.keys() <= set(one.sop_instance_uids)), job.inputs[0])
    try:
        found = input_instances(session, shown)
    except StorageError as error:
        raise ResultError(f"the images of the run are gone: {error}", hint="run the study again") from error
    changed = [one for one in found if digests.get(one.sop_instance_uid, one.sha256) != one.sha256]
    lost = [one for one in found if not one.path.is_file()]
    if changed or lost:
        raise ResultError(
            f"of {len(found)} images of the run {len(changed)} are not those that the model saw and {len(lost)} are gone",
            hint="run the study again",
        )
    return found


def _digests(trace: Mapping[str, object] | None) -> Mapping[str, str]:
    inputs = (trace or {}).get("inputs")
    return inputs[0]["instances"] if isinstance(inputs, list) and inputs else {}


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    try:
        with held_alone(folder):
            yield
    except FileNotFoundError as error:
        raise ResultError("the results of the run are no longer on disk", hint="run the study again") from error
    except OSError as error:
        raise StorageError(f"cannot write to {folder}: {error.strerror}", hint="check permissions of data_dir") from error
