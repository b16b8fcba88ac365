"""What every archive can be asked."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from importlib import import_module
from typing import Protocol, cast

from dicom_node.config import Configuration
from dicom_node.domain.sources import WebSource
from dicom_node.errors import SourceError
from dicom_node.pipeline.sources.dimse import DimseArchive
from dicom_node.scp.query_retrieve.counts import Ask
from dicom_node.scp.query_retrieve.query import FindQuery, FindResult
from dicom_node.scp.query_retrieve.retrieval import RetrieveRequest, RetrieveResult, Watcher
from dicom_node.scp.query_retrieve.sub_operations import Entrance


class Archive(Protocol):
    """A query source. Every method may raise SourceError."""

    @property
    def name(self) -> str:
        """Name in node.yaml."""

    @property
    def place(self) -> str:
        """Where it is, for people."""

    @property
    def service(self) -> str:
        """What instances are fetched by: `C-GET`, `C-MOVE` or `WADO-RS`."""

    @property
    def moves_from(self) -> str:
        """AE title that sends to the receiver when it is fetched from; empty where instances come through the caller's door."""

    def check(self) -> str:
        """Say that it answers."""

    def find(self, query: FindQuery) -> FindResult:
        """Ask for the first matches."""

    def asking(self) -> AbstractContextManager[Ask]:
        """Ask several questions at one go, each for every match."""

    def retrieve(self, request: RetrieveRequest, door: Entrance, watcher: Watcher) -> RetrieveResult:
        """Fetch; what is counted as completed is durable on this node, or was sent to its receiver (C-MOVE)."""


def opened(configuration: Configuration, name: str, cancelled: Callable[[], bool] = lambda: False) -> Archive:
    """Return a query source of node.yaml; nothing is connected yet.

    Args:
        configuration: Names and places.
        name: Query source.
        cancelled: Asked while it is silent; once True, a question ends with SourceCancelledError.

    Raises:
        SourceError: there is none of that name.
    """
    source = configuration.query_sources.get(name)
    if source is None:
        known = ", ".join(configuration.query_sources) or "none; add query_sources to node.yaml"
        raise SourceError(f"no query source is named {name!r}", hint=f"known: {known}")
    if isinstance(source, WebSource):  # the HTTP library is loaded where it is used only
        module = import_module("dicom_node.pipeline.sources.dicomweb")
        return cast(Archive, module.WebArchive(configuration.ae_title, source, cancelled))
    return DimseArchive(configuration.ae_title, source, cancelled)
