"""An archive behind C-FIND, and C-GET or C-MOVE."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from dicom_node.domain.sources import QuerySource, Retrieval
from dicom_node.errors import SourceCancelledError
from dicom_node.scp.query_retrieve import sources
from dicom_node.scp.query_retrieve.attention import Attention
from dicom_node.scp.query_retrieve.counts import Ask
from dicom_node.scp.query_retrieve.query import FindQuery, FindResult, QueryModel, find_on, list_on
from dicom_node.scp.query_retrieve.retrieval import RetrieveRequest, RetrieveResult, Watcher
from dicom_node.scp.query_retrieve.retrieve import retrieve
from dicom_node.scp.query_retrieve.sources import Proposal, associated
from dicom_node.scp.query_retrieve.sub_operations import Entrance


class DimseArchive:
    """See `Archive`."""

    def __init__(self, calling_ae_title: str, source: QuerySource, cancelled: Callable[[], bool]) -> None:
        """Connect nothing yet."""
        self._calling_ae_title = calling_ae_title
        self._source = source
        self._cancelled = cancelled

    @property
    def name(self) -> str:
        """See `Archive`."""
        return self._source.name

    @property
    def place(self) -> str:
        """See `Archive`."""
        return f"{self._source.name} ({self._source.ae_title} at {self._source.host}:{self._source.port})"

    @property
    def service(self) -> str:
        """See `Archive`."""
        return f"C-{self._source.retrieve.upper()}"

    @property
    def moves_from(self) -> str:
        """See `Archive`."""
        return self._source.ae_title if self._source.retrieve is Retrieval.MOVE else ""

    def check(self) -> str:
        """See `Archive`."""
        sources.echo(self._calling_ae_title, self._source)
        return f"{self._source.ae_title} at {self._source.host}:{self._source.port} answers C-ECHO"

    def find(self, query: FindQuery) -> FindResult:
        """See `Archive`."""
        with associated(self._calling_ae_title, self._source, Proposal(query.model, attention=self._attention())) as association:
            return find_on(association, self._source, query)

    @contextmanager
    def asking(self) -> Iterator[Ask]:
        """See `Archive`; over one association."""
        proposal = Proposal(QueryModel.STUDY_ROOT, attention=self._attention())
        with associated(self._calling_ae_title, self._source, proposal) as association:
            yield lambda query: list_on(association, self._source, query)

    def retrieve(self, request: RetrieveRequest, door: Entrance, watcher: Watcher) -> RetrieveResult:
        """See `Archive`."""
        return retrieve(self._calling_ae_title, self._source, request, door, watcher)

    def _attention(self) -> Attention:
        def look() -> None:
            if self._cancelled():
                raise SourceCancelledError(f"{self._source.name}: the question was given up")

        return Attention(tick=look)
