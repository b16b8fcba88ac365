"""An archive behind QIDO-RS and WADO-RS.

What identifies a patient stands in the query of a QIDO-RS request, as PS3.18 8.3 has it; nothing of it goes into messages and logs here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from functools import partial
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

import requests
from dicomweb_client import DICOMwebClient
from pydicom.datadict import keyword_for_tag

from dicom_node.delivery.web_client import open_session
from dicom_node.domain.destinations import Origin
from dicom_node.domain.instances import AssociationPeer, Attributes
from dicom_node.domain.sources import WebSource
from dicom_node.errors import (
    DicomNodeError,
    SourceCancelledError,
    SourceError,
    SourceRefusedError,
    SourceSilentError,
    SourceUnreachableError,
)
from dicom_node.scp.instance_parts import InstanceParts, PartResult
from dicom_node.scp.multipart import MalformedRequestError, MediaTypeError, boundary_of
from dicom_node.scp.query_retrieve.counts import Ask
from dicom_node.scp.query_retrieve.query import MOST_MATCHES, RETURN_KEYS, FindQuery, FindResult, QueryLevel
from dicom_node.scp.query_retrieve.retrieval import Progress, RefusedInstance, RetrieveRequest, RetrieveResult, Watcher
from dicom_node.scp.query_retrieve.statuses import CANCELLED, SOME_FAILED
from dicom_node.scp.query_retrieve.sub_operations import Entrance

_PAGE = 200
_CHUNK_BYTES = 64 << 10
_MOST_REFUSALS = 100
_LONGEST_AE_TITLE = 16
_NO_STUDY = "2.25.0"
_UNIQUE = {QueryLevel.STUDY: "StudyInstanceUID", QueryLevel.SERIES: "SeriesInstanceUID", QueryLevel.IMAGE: "SOPInstanceUID"}
_NOT_TEXT = frozenset({"SQ", "OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_HINTS = {
    HTTPStatus.UNAUTHORIZED: "check token_file of the query source",
    HTTPStatus.FORBIDDEN: "check token_file of the query source, and what it may do",
    HTTPStatus.NOT_FOUND: "check url of the query source: it is what /studies is put behind",
}


class WebArchive:
    """See `Archive`."""

    def __init__(self, called_ae_title: str, source: WebSource, cancelled: Callable[[], bool]) -> None:
        """Connect nothing yet.

        Args:
            called_ae_title: This node's, on record with what arrives.
            source: Where from.
            cancelled: See `opened`.
        """
        self._source = source
        self._cancelled = cancelled
        name = source.name if len(source.name) <= _LONGEST_AE_TITLE else "WADO"
        self._origin = AssociationPeer(name, called_ae_title, urlsplit(source.url).hostname or "")

    @property
    def name(self) -> str:
        """See `Archive`."""
        return self._source.name

    @property
    def place(self) -> str:
        """See `Archive`."""
        return f"{self._source.name} ({self._source.url})"

    @property
    def service(self) -> str:
        """See `Archive`."""
        return "WADO-RS"

    @property
    def moves_from(self) -> str:
        """See `Archive`."""
        return ""

    def check(self) -> str:
        """See `Archive`; asks for a study that nobody has."""
        self.find(FindQuery(QueryLevel.STUDY, {"StudyInstanceUID": _NO_STUDY}, limit=1))
        return f"{self._source.url} answers QIDO-RS"

    def find(self, query: FindQuery) -> FindResult:
        """See `Archive`."""
        with self._session() as session:
            return _found(partial(self._page, session), query)

    @contextmanager
    def asking(self) -> Iterator[Ask]:
        """See `Archive`; over connections that stay open."""
        with self._session() as session:

            def ask(query: FindQuery) -> tuple[Attributes, ...]:
                result = _found(partial(self._page, session), replace(query, limit=MOST_MATCHES))
                if result.truncated:
                    raise SourceError(f"{self._source.name}: more than {MOST_MATCHES} matches at {query.level} level")
                return result.matches

            yield ask

    def retrieve(self, request: RetrieveRequest, door: Entrance, watcher: Watcher) -> RetrieveResult:
        """See `Archive`; each instance is durable when it is counted, kept bit for bit, and not held in memory.

        Raises:
            SourceError: no connection, no data in time, an error status, or an answer that is no multipart body. What was kept stays.
        Source: PS3.18 10.4.
        """
        request.identifier()  # raises where a request makes no sense, as for C-GET
        results: list[PartResult] = []
        with self._session() as session:
            for path in _paths(request):
                for part in self._streamed(session, path, door, request.study_instance_uid):
                    if part is not None:
                        results.append(part)
                        watcher.progress(_progress(results))
                    elif watcher.cancelled():
                        return _result(results, CANCELLED)
        return _result(results, 0)

    def _streamed(self, session: requests.Session, path: str, door: Entrance, study_instance_uid: str) -> Iterator[PartResult | None]:
        """Feed one resource to the door; yields each part as it ends, and None after every piece so that the caller may leave."""
        with self._as_ours(), closing(session.get(self._source.url + path, headers={"Accept": _ACCEPT}, stream=True)) as response:
            response.raise_for_status()
            boundary = boundary_of(response.headers.get("Content-Type", ""))
            parts = InstanceParts(boundary, partial(door.begin, self._origin), study_instance_uid)
            told = 0
            try:
                for piece in response.iter_content(_CHUNK_BYTES):
                    parts.feed(piece)
                    yield from parts.results[told:]
                    told = len(parts.results)
                    yield None
                parts.finish()
            finally:
                parts.discard()

    def _page(self, session: requests.Session, query: FindQuery, offset: int, limit: int) -> list[Attributes]:
        """Ask for some matches."""
        if self._cancelled():
            raise SourceCancelledError(f"{self._source.name}: the question was given up")
        client = DICOMwebClient(self._source.url, session, permissive_uid=True, timeout=self._source.timeout_s)
        client.set_http_retry_params(retry=False)
        match = dict(query.match)
        options: dict[str, Any] = {"fields": list(query.returned or RETURN_KEYS[query.level]), "limit": limit, "offset": offset}
        with self._as_ours():
            if query.level is QueryLevel.STUDY:
                found = client.search_for_studies(search_filters=match, **options)
            elif query.level is QueryLevel.SERIES:
                found = client.search_for_series(match.pop("StudyInstanceUID"), search_filters=match, **options)
            else:
                study, series = match.pop("StudyInstanceUID"), match.pop("SeriesInstanceUID")
                found = client.search_for_instances(study, series, search_filters=match, **options)
            return [_attributes(item) for item in found]

    @contextmanager
    def _session(self) -> Iterator[requests.Session]:
        source = self._source
        origin = Origin(source.url, source.timeout_s, token_file=source.token_file, ca=source.ca)
        with open_session(origin, lambda message, hint: SourceError(f"{source.name}: {message}", hint=hint)) as session:
            yield session

    @contextmanager
    def _as_ours(self) -> Iterator[None]:
        """Word what the libraries raise without quoting it: their messages hold the URL with what was asked for."""
        name, timeout_s = self._source.name, self._source.timeout_s
        try:
            yield
        except DicomNodeError as error:
            if isinstance(error, MalformedRequestError | MediaTypeError):
                raise SourceError(f"{name}: the answer is no multipart body of DICOM files ({error})") from error
            raise
        except requests.exceptions.SSLError as error:
            raise SourceUnreachableError(f"{name}: TLS failed", hint="check ca of the query source, and its certificate") from error
        except (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError) as error:
            raise SourceUnreachableError(f"{name}: no connection within {timeout_s:g} s", hint="check url and firewall") from error
        except (requests.exceptions.Timeout, requests.exceptions.ChunkedEncodingError) as error:
            raise SourceSilentError(f"{name}: nothing came for {timeout_s:g} s, or the connection broke") from error
        except requests.exceptions.ConnectionError as error:
            raise SourceUnreachableError(f"{name}: nobody listens there, or the connection broke", hint="check url and firewall") from error
        except requests.exceptions.HTTPError as error:
            status = error.response.status_code if error.response is not None else 0
            raise SourceRefusedError(f"{name}: answered HTTP {status}", status=status, hint=_hint(status)) from error
        except (requests.exceptions.RequestException, ValueError, TypeError, LookupError, AttributeError) as error:
            raise SourceError(f"{name}: the answer cannot be read ({type(error).__name__})", hint="is that a DICOMweb server?") from error


def _hint(status: int) -> str:
    return next((hint for code, hint in _HINTS.items() if code == status), "look into the source's log")


def _progress(results: Sequence[PartResult]) -> Progress:
    refused = sum(r.error is not None for r in results)
    return Progress(None, len(results) - refused, refused, 0)


def _result(results: Sequence[PartResult], status: int) -> RetrieveResult:
    refused = tuple(
        RefusedInstance(r.kind.sop_instance_uid if r.kind else "", r.error.dimse_status, str(r.error))
        for r in results
        if r.error is not None
    )
    status = status or (SOME_FAILED if refused else 0)
    return RetrieveResult(status, len(results) - len(refused), len(refused), 0, 0, (), refused[:_MOST_REFUSALS])


def _paths(request: RetrieveRequest) -> list[str]:
    """Name the resources of a request: the study, its series, or single instances."""
    study = f"/studies/{request.study_instance_uid}"
    if request.sop_instance_uids:
        return [f"{study}/series/{request.series_instance_uids[0]}/instances/{uid}" for uid in request.sop_instance_uids]
    return [f"{study}/series/{uid}" for uid in request.series_instance_uids] or [study]


def _found(page: Callable[[FindQuery, int, int], list[Attributes]], query: FindQuery) -> FindResult:
    """Collect matches page by page, until a page brings nothing new: a server may answer with fewer than were asked for."""
    if query.level is QueryLevel.PATIENT:
        raise SourceError("DICOMweb knows no PATIENT level", hint="ask at level study")
    query.identifier()  # raises for unknown keywords and missing unique keys, as for C-FIND
    unique = _UNIQUE[query.level]
    matches: dict[str, Attributes] = {}
    while len(matches) <= query.limit:
        before = len(matches)
        for match in page(query, before, min(_PAGE, query.limit + 1 - before)):
            matches.setdefault(next(iter(match.get(unique, ())), ""), match)
        if len(matches) == before or unique in query.match:
            break
    kept = tuple(matches.values())
    return FindResult(kept[: query.limit], truncated=len(kept) > query.limit, keys_ignored=False)


def _attributes(item: Mapping[str, Any]) -> Attributes:
    """Read one data set of the DICOM JSON model. Source: PS3.18 F.2."""
    found = {}
    for tag, element in item.items():
        keyword = keyword_for_tag(int(tag, 16))
        if keyword and element["vr"] not in _NOT_TEXT:
            found[keyword] = tuple(_text(value) for value in element.get("Value", ()) if value is not None)
    return found


def _text(value: object) -> str:
    if isinstance(value, Mapping):  # a person name with its representations
        return "=".join(str(value.get(part, "")) for part in ("Alphabetic", "Ideographic", "Phonetic")).rstrip("=")
    return str(value)
