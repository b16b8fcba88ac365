"""The receiver's main loop; imports nothing but what receiving needs, so that it starts fast and stays small."""

from __future__ import annotations

import gc
import resource
import threading
from dataclasses import replace

from pydicom import config as pydicom_config

from dicom_node.config import Configuration
from dicom_node.ops.lifecycle import Lifecycle
from dicom_node.ops.logs import get_logger
from dicom_node.ops.tls import ServerTls
from dicom_node.ops.wakeup import ring
from dicom_node.pipeline.process import Process
from dicom_node.scp.accelerator import accelerator
from dicom_node.scp.door import Door, DoorSettings
from dicom_node.scp.listener import ListenOn
from dicom_node.scp.notices.commitment import commitment_contexts, commitment_handlers
from dicom_node.scp.notices.requests import RequestDesk, RequestSettings
from dicom_node.scp.places import Places
from dicom_node.scp.policy import AccessPolicy
from dicom_node.scp.server import Receiver, Services
from dicom_node.scp.visits import VisitBook
from dicom_node.storage.request_files import RequestFolders

_GATHER_S = 0.02
_COLLECT_RARELY = (20_000, 20, 100)
"""Objects of one association request are some ten thousand, and none of them is garbage before the association ends."""


def run(process: Process) -> None:
    """Receive until told to stop, then drain."""
    configuration, files = process.configuration, process.files
    arrived = threading.Event()
    lifecycle = Lifecycle(arrived.set)
    dicom = configuration.node.dicom
    files.discard_partials(process.name)
    _allow_open_files()
    settings = DoorSettings(process.name, dicom.durability, dicom.min_free, dicom.max_instance)
    visits = VisitBook(files.run, process.name, wanted=configuration.asks_for_release, ended=arrived.set)
    receiver = Receiver(Door(files, settings, arrived.set), _policy(configuration), Places(files.run), visits)
    tls = ServerTls(dicom.tls.to_server()) if dicom.tls else None
    _listen(process, receiver, tls)
    _check_once()
    _leave_startup_alone()
    while lifecycle.keep_going():
        arrived.wait()
        arrived.clear()
        ring(files.run, "pipeline")
        lifecycle.stopping.wait(_GATHER_S)
        if lifecycle.take_reload():
            configuration = process.reload()
            receiver.policy = _policy(configuration)
            visits.wanted = configuration.asks_for_release
            if tls is not None and configuration.node.dicom.tls is not None:
                tls.replace(configuration.node.dicom.tls.to_server())
    aborted = receiver.drain(configuration.node.drain_timeout.total_seconds())
    ring(files.run, "pipeline")
    get_logger().info("receiver_stopped", aborted_associations=aborted)


def _listen(process: Process, receiver: Receiver, tls: ServerTls | None) -> None:
    """Open the plain port and, where configured, the TLS one."""
    configuration, dicom = process.configuration, process.configuration.node.dicom
    timeouts_s = dicom.acse_timeout.total_seconds(), dicom.network_timeout.total_seconds()
    plain = ListenOn(dicom.host, dicom.port, dicom.max_pdu_bytes, *timeouts_s, process.listener)
    services = _services(process)
    port, tls_port = receiver.start(plain, services), None
    if dicom.tls is not None:
        tls_port = receiver.start(replace(plain, port=dicom.tls.port, descriptor=process.tls_listener), services, tls=tls)
    log, peers = get_logger(), len(configuration.node.peers)
    where = {"host": dicom.host, "port": port, "tls_port": tls_port}
    log.info("receiver_listening", **where, ae_title=configuration.ae_title, peers=peers, accelerator=accelerator().words)


def _services(process: Process) -> Services:
    configuration, files = process.configuration, process.files
    settings = RequestSettings(
        process.name, configuration.node.dicom.min_free, configuration.node.commitment.max_references, lambda name: ring(files.run, name)
    )
    desk = RequestDesk(files, RequestFolders(files.data_dir), settings)
    return Services(commitment_contexts(), commitment_handlers(desk))


def _check_once() -> None:
    """Leave out pydicom's check of every UID that a request proposes, which only warns: a third of what an association costs."""
    pydicom_config.settings.reading_validation_mode = pydicom_config.IGNORE


def _leave_startup_alone() -> None:
    """Keep what is there now out of garbage collections, of which associations need many: looking at all that is loaded takes 0.1 s."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_RARELY)


def _allow_open_files() -> None:
    """Take as many descriptors as the system allows: an association has up to five, and many systems begin with 1,024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _policy(configuration: Configuration) -> AccessPolicy:
    node = configuration.node
    return AccessPolicy(configuration.ae_title, node.peers, node.dicom.max_associations, node.called_ae_titles)
