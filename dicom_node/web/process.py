"""The main loop of the HTTP process: uvicorn in a thread, signals and reload here."""

from __future__ import annotations

import ipaddress
import socket
import threading

import uvicorn

from dicom_node.config import Configuration
from dicom_node.errors import ConfigError, DicomNodeError, PeerError
from dicom_node.ops.lifecycle import Lifecycle
from dicom_node.ops.logs import get_logger
from dicom_node.ops.wakeup import ring
from dicom_node.pipeline.process import Process
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.scp.visits import VisitBook
from dicom_node.web.access import Access
from dicom_node.web.routes import StowService, build_application

_GATHER_S = 0.02
_MOST_CONNECTIONS = 500


def run(process: Process) -> None:
    """Serve HTTP until told to stop; requests under way are finished first.

    Raises:
        PeerError: the port is taken.
        ConfigError: a token file cannot be used.
    """
    configuration, files = process.configuration, process.files
    arrived = threading.Event()
    lifecycle = Lifecycle(arrived.set)
    files.discard_partials(process.name)
    dicom = configuration.node.dicom
    door = Door(files, DoorSettings(process.name, dicom.durability, dicom.min_free, dicom.max_instance), arrived.set)
    visits = VisitBook(files.run, process.name, wanted=configuration.asks_for_release, ended=arrived.set)
    service = StowService(configuration, Access(configuration.node.stow.senders), door, visits)
    listening = _listen(configuration)
    server = _server(service)
    log = get_logger()
    host, port = listening.getsockname()[:2]
    log.info("web_listening", host=host, port=port, senders=len(configuration.node.stow.senders))
    if configuration.node.stow.senders and not ipaddress.ip_address(host).is_loopback:
        log.warning("web_unencrypted", host=host, hint="tokens and images cross the network in clear; put a TLS proxy before it")
    thread = threading.Thread(target=_serve, args=(server, listening, arrived), name="http", daemon=True)
    thread.start()
    while lifecycle.keep_going():
        arrived.wait()
        arrived.clear()
        if not thread.is_alive():
            raise DicomNodeError("HTTP server ended by itself")
        ring(files.run, "pipeline")
        lifecycle.stopping.wait(_GATHER_S)
        if lifecycle.take_reload():
            _reload(service, process)
    server.should_exit = True
    thread.join()
    ring(files.run, "pipeline")
    log.info("web_stopped")


def _listen(configuration: Configuration) -> socket.socket:
    """Listen; connections inherit TCP_NODELAY, which asyncio leaves out here, and without which each answer waits 40 ms for an ACK."""
    web = configuration.node.web
    try:
        listening = socket.create_server((web.host, web.port), family=socket.AF_INET6 if ":" in web.host else socket.AF_INET, backlog=128)
    except OSError as error:
        hint = "choose another web.port, or stop the program that has it"
        raise PeerError(f"cannot listen on {web.host}:{web.port}: {error.strerror}", hint=hint) from error
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listening


def _server(service: StowService) -> uvicorn.Server:
    """Set uvicorn up: no access log, no trust in forwarded addresses, no words about versions."""
    return uvicorn.Server(
        uvicorn.Config(
            build_application(service),
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            lifespan="off",
            http="h11",
            ws="none",
            limit_concurrency=_MOST_CONNECTIONS,
            timeout_graceful_shutdown=int(service.configuration.node.drain_timeout.total_seconds()),
        )
    )


def _serve(server: uvicorn.Server, listening: socket.socket, ended: threading.Event) -> None:
    try:
        server.run(sockets=[listening])
    finally:
        ended.set()


def _reload(service: StowService, process: Process) -> None:
    """Take over senders and limits; a token file that has become unusable keeps the old ones."""
    try:
        configuration = process.reload()
        service.access = Access(configuration.node.stow.senders)
        service.configuration = configuration
        service.visits.wanted = configuration.asks_for_release
    except ConfigError as error:
        get_logger().error("reload_refused", fault=str(error))
