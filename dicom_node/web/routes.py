"""The HTTP resources: store, and health for load balancers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import partial
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from dicom_node.config import Configuration, StowSender
from dicom_node.domain.instances import AssociationPeer
from dicom_node.domain.uids import is_safe_uid
from dicom_node.errors import DicomNodeError, InstanceTooLargeError, OutOfResourcesError
from dicom_node.ops.logs import Logger, get_logger
from dicom_node.scp.door import Door
from dicom_node.scp.metrics import of_peer
from dicom_node.scp.visits import OpenVisit, VisitBook
from dicom_node.web import answers
from dicom_node.web.access import Access, NotAdmittedError, calling_ae_title
from dicom_node.web.multipart import MalformedRequestError, MediaTypeError, boundary_of
from dicom_node.web.store_request import StoreRequest

_GATHER_BYTES = 512 << 10
_RETRY_AFTER = {"Retry-After": "30"}
_STATUS: tuple[tuple[type[DicomNodeError], HTTPStatus], ...] = (
    (InstanceTooLargeError, HTTPStatus.REQUEST_ENTITY_TOO_LARGE),
    (OutOfResourcesError, HTTPStatus.SERVICE_UNAVAILABLE),
    (MediaTypeError, HTTPStatus.UNSUPPORTED_MEDIA_TYPE),
    (MalformedRequestError, HTTPStatus.BAD_REQUEST),
)


@dataclass(slots=True)
class StowService:
    """What the store resource works with; configuration and access may be replaced while running.

    Attributes:
        visits: Where it is noted which request brings which study.
        running: Requests being stored now; touched by the event loop only.
    """

    configuration: Configuration
    access: Access
    door: Door
    visits: VisitBook
    running: int = 0
    log: Logger = field(default_factory=get_logger)

    async def store(self, request: Request, study_instance_uid: str = "") -> Response:
        """Answer one request; every instance reported as stored is durable."""
        address = request.client.host if request.client else ""
        try:
            sender = self.access.admit(request.headers.get("authorization", ""), address)
        except NotAdmittedError as error:
            self.log.warning("request_rejected", reason=str(error), address=address)
            challenge = {"WWW-Authenticate": 'Bearer realm="dicom-node"'} if error.http_status == HTTPStatus.UNAUTHORIZED else {}
            return Response(status_code=error.http_status, headers=challenge)
        if not answers.is_acceptable(request.headers.get("accept", "")):
            return Response(f"only {answers.MEDIA_TYPE} is answered\n", HTTPStatus.NOT_ACCEPTABLE, media_type="text/plain")
        visit = self.visits.open()
        try:
            store = self._checked(request, sender, address, study_instance_uid, visit)
        except DicomNodeError as error:
            return self._refused(sender, error)
        self.running += 1
        try:
            return await self._read(request, sender, store, visit)
        finally:
            self.running -= 1
            store.discard()
            visit.end(released=False)

    def _checked(self, request: Request, sender: StowSender, address: str, study_instance_uid: str, visit: OpenVisit) -> StoreRequest:
        """Refuse what can be refused before the body is read."""
        stow = self.configuration.node.stow
        boundary = boundary_of(request.headers.get("content-type", ""))
        if request.headers.get("content-encoding", "identity").lower() != "identity":
            raise MediaTypeError("Content-Encoding is not taken")
        if study_instance_uid and not is_safe_uid(study_instance_uid):
            raise MalformedRequestError("the URL names no Study Instance UID")
        length = request.headers.get("content-length", "")
        if stow.max_request and length.isdecimal() and int(length) > stow.max_request:
            raise InstanceTooLargeError(f"request larger than {stow.max_request} bytes")
        if self.running >= stow.max_requests:
            raise OutOfResourcesError("too many requests at once")
        self.door.space.check()
        origin = AssociationPeer(calling_ae_title(sender), self.configuration.ae_title, address)
        return StoreRequest(boundary, partial(self.door.begin, origin, visit=visit), study_instance_uid)

    async def _read(self, request: Request, sender: StowSender, store: StoreRequest, visit: OpenVisit) -> Response:
        stow = self.configuration.node.stow
        size_bytes = 0
        try:
            async for data in _gathered(request, stow.timeout.total_seconds()):
                size_bytes += len(data)
                if stow.max_request and size_bytes > stow.max_request:
                    raise InstanceTooLargeError(f"request larger than {stow.max_request} bytes")
                await run_in_threadpool(store.feed, data)
            store.finish()
            visit.end(released=True)
        except ClientDisconnect:
            self._note(sender, store, "connection lost")
            return Response(status_code=HTTPStatus.BAD_REQUEST)
        except TimeoutError:
            error = MalformedRequestError(f"nothing came for {stow.timeout.total_seconds():g} s")
            self._note(sender, store, str(error))
            return _answer(HTTPStatus.REQUEST_TIMEOUT, answers.body_of(store.results, error))
        except DicomNodeError as error:
            self._note(sender, store, str(error))
            return _answer(_status(error), answers.body_of(store.results, error))
        self._note(sender, store, "")
        return _answer(answers.status_of(store.results), answers.body_of(store.results))

    def _refused(self, sender: StowSender, error: DicomNodeError) -> Response:
        self.log.warning("request_refused", sender=sender.name, reason=str(error))
        return _answer(_status(error), answers.body_of([], error))

    def _note(self, sender: StowSender, store: StoreRequest, problem: str) -> None:
        for result in store.results:
            if result.error is not None:
                of_peer(calling_ae_title(sender)).refused(result.error.dimse_status)
                self.log.warning(
                    "instance_refused", status=f"{result.error.dimse_status:04X}", reason=str(result.error), calling_ae=sender.name
                )
        stored = sum(result.error is None for result in store.results)
        if problem:
            self.log.warning("request_failed", sender=sender.name, reason=problem, stored=stored)
        else:
            self.log.info("request_stored", sender=sender.name, stored=stored, refused=len(store.results) - stored)


def build_application(service: StowService) -> FastAPI:
    """Lay out the resources; the framework's own pages are off."""
    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    async def store(request: Request) -> Response:
        return await service.store(request)

    async def store_in_study(request: Request, study: str) -> Response:
        return await service.store(request, study)

    async def health() -> Response:
        return Response("ok\n", media_type="text/plain")

    application.add_api_route("/dicom-web/studies", store, methods=["POST"])
    application.add_api_route("/dicom-web/studies/{study}", store_in_study, methods=["POST"])
    application.add_api_route("/healthz", health, methods=["GET", "HEAD"])
    return application


async def _gathered(request: Request, silence_s: float) -> AsyncIterator[bytes]:
    """Join the small pieces of a body, so that few of them change threads; all that came is given out, also before it raises.

    Raises:
        TimeoutError: nothing came for too long.
        ClientDisconnect: the connection broke.
    """
    pieces: list[bytes] = []
    size_bytes = 0
    stream = aiter(request.stream())
    try:
        while True:
            async with asyncio.timeout(silence_s):
                piece = await anext(stream)
            pieces.append(piece)
            size_bytes += len(piece)
            if size_bytes >= _GATHER_BYTES:
                yield b"".join(pieces)
                pieces, size_bytes = [], 0
    except StopAsyncIteration:
        yield b"".join(pieces)
    except (TimeoutError, ClientDisconnect):
        yield b"".join(pieces)  # may end a part
        raise


def _status(error: DicomNodeError) -> HTTPStatus:
    return next((status for kind, status in _STATUS if isinstance(error, kind)), HTTPStatus.CONFLICT)


def _answer(status: HTTPStatus, body: bytes) -> Response:
    headers = _RETRY_AFTER if status == HTTPStatus.SERVICE_UNAVAILABLE else None
    return Response(body, status, headers, answers.MEDIA_TYPE)
