"""One attempt at a request: what it needs, and when it has to end."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from dicom_node.config import Configuration
from dicom_node.domain.fetches import Fetch
from dicom_node.errors import SourceCancelledError
from dicom_node.pipeline.sources import Archive, opened
from dicom_node.scp.door import Door
from dicom_node.scp.query_retrieve.retrieval import RetrieveRequest, Watcher
from dicom_node.scp.query_retrieve.sub_operations import Entrance
from dicom_node.storage import Database, InstanceFiles

_PATIENCE_S = 2.0
MOST_UIDS = 500


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What every attempt works with.

    Attributes:
        door: Where fetched instances come in.
        stopped: Waits so many seconds, and says whether the process ends.
        stops: Says at once whether it ends.
    """

    configuration: Configuration
    database: Database
    files: InstanceFiles
    door: Door
    stopped: Callable[[float], bool]
    stops: Callable[[], bool]


class Attempt:
    """An attempt under way; raises SourceCancelledError where it has to end."""

    def __init__(self, around: Surroundings, fetch: Fetch) -> None:
        """Begin."""
        self.around = around
        self.fetch = fetch

    @property
    def database(self) -> Database:
        """The node's."""
        return self.around.database

    def cancelled(self) -> bool:
        """Say whether the process ends or the time is over."""
        return self.around.stops() or datetime.now(UTC) >= self.fetch.deadline

    def archive(self) -> Archive:
        """Return the source that is asked."""
        return opened(self.around.configuration, self.fetch.source, self.cancelled)

    def retrieve(self, archive: Archive, request: RetrieveRequest, entrance: Entrance | None = None) -> None:
        """Fetch all of it, in as many requests as its UIDs need.

        Raises:
            SourceError: some did not come; what came stays.
        """
        watcher = Watcher(cancelled=self.cancelled, patience_s=_PATIENCE_S)
        for part in _parts(request):
            result = archive.retrieve(part, entrance or self.around.door, watcher)
            if result.is_cancelled and self.cancelled():
                raise SourceCancelledError(f"{archive.name}: fetching was given up")
            result.require_complete(archive.name)

    def wait_until_indexed(self) -> None:
        """Wait until what is acknowledged by now stands in the index, fetched instances among it."""
        waiting = {path.name for path in self.around.files.pending()}
        while waiting:
            if self.cancelled() or self.around.stopped(0.05):
                raise SourceCancelledError("waiting for the index was given up")
            waiting &= {path.name for path in self.around.files.pending()}


def _parts(request: RetrieveRequest) -> list[RetrieveRequest]:
    study, series, uids, classes = (
        request.study_instance_uid,
        request.series_instance_uids,
        request.sop_instance_uids,
        request.sop_classes,
    )
    if uids:
        return [RetrieveRequest(study, series, uids[at : at + MOST_UIDS], classes) for at in range(0, len(uids), MOST_UIDS)]
    return [RetrieveRequest(study, series[at : at + MOST_UIDS], (), classes) for at in range(0, max(len(series), 1), MOST_UIDS)]
