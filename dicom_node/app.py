"""The composition root of `dicom-node serve`: checks, then supervises the node's processes."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import TextIO

import sdnotify

from dicom_node.config import (
    Configuration,
    ConfigurationFaults,
    Fault,
    RulesText,
    dump_snapshot,
    load_configuration,
    load_snapshot,
    restart_only_changes,
)
from dicom_node.config.rules_diff import RulesDiff, compare_rules
from dicom_node.errors import ConfigError, ModelError, PeerError, StorageError
from dicom_node.inference import BundleFaults, find_bundles
from dicom_node.inference.engines.probe import cuda_devices_apart
from dicom_node.ops.counters import forget_process
from dicom_node.ops.forked import ForkedProcess
from dicom_node.ops.lifecycle import Lifecycle
from dicom_node.ops.logs import get_logger
from dicom_node.pipeline.input_fit import input_faults
from dicom_node.pipeline.running_node import LOCK, SNAPSHOT, SUPERVISOR
from dicom_node.pipeline.starting import SUPERVISOR_VARIABLE, run_process
from dicom_node.pipeline.working.placement import worker_count
from dicom_node.scp.listener import listening_socket
from dicom_node.storage import Database, InstanceFiles

_LOOK_EVERY_S = 0.2
_FIRST_RESTART_S = 0.1
_LONGEST_RESTART_S = 2.0  # a sender waits outside meanwhile, and its study must not look complete
_STABLE_AFTER_S = 30.0
_MOST_RECEIVERS = 4
_FORKED = {"pipeline": "pipeline.pipeline_process", "work": "pipeline.worker_process", "deliver": "pipeline.sender_process"}
"""Commands of the processes that are forked from this one with all they need loaded: they start and restart in a tenth of a second."""


@dataclass(slots=True)
class _Child:
    name: str
    command: str
    process: subprocess.Popen[bytes] | ForkedProcess | None = None
    started_at: float = 0.0
    restart_at: float = 0.0
    crashes: int = 0


def prepare(configuration: Configuration) -> InstanceFiles:
    """Create folders and schema, write the snapshot that child processes read.

    Raises:
        StorageError: data_dir or database cannot be used.
    """
    files = InstanceFiles(configuration.data_dir)
    files.prepare()
    files.clear_metrics()
    database = Database(configuration.node.database)
    database.migrate()
    database.close()
    write_snapshot(configuration, files)
    return files


def write_snapshot(configuration: Configuration, files: InstanceFiles) -> None:
    """Replace the snapshot in one step."""
    partial = files.run / f".{SNAPSHOT}.partial"
    partial.write_text(dump_snapshot(configuration), "utf-8")
    partial.rename(files.run / SNAPSHOT)


def open_ports(configuration: Configuration) -> dict[str, socket.socket]:
    """Listen; the receivers inherit the sockets, and whoever is idle accepts the next connection.

    Returns:
        The plain port's socket, and the TLS port's if there is one, by the receivers' option.

    Raises:
        PeerError: a port is taken, or not allowed.
    """
    dicom = configuration.node.dicom
    wanted = [("--listener", "dicom.port", dicom.port)]
    if dicom.tls is not None:
        wanted.append(("--tls-listener", "dicom.tls.port", dicom.tls.port))
    opened: dict[str, socket.socket] = {}
    for argument, option, port in wanted:
        try:
            opened[argument] = listening_socket(dicom.host, port)
        except OSError as error:
            close_ports(opened)
            hint = f"choose another {option}, or stop the program that has it"
            raise PeerError(f"cannot listen on {dicom.host}:{port}: {error.strerror}", hint=hint) from error
    if configuration.node.web.enabled:
        _check_web_port(configuration)
    return opened


def _check_web_port(configuration: Configuration) -> None:
    web = configuration.node.web
    try:
        listening_socket(web.host, web.port).close()
    except OSError as error:
        hint = "choose another web.port, or stop the program that has it"
        raise PeerError(f"cannot listen on {web.host}:{web.port}: {error.strerror}", hint=hint) from error


def close_ports(opened: Mapping[str, socket.socket]) -> None:
    """Close this process's copies."""
    for listener in opened.values():
        listener.close()


def receiver_count(configuration: Configuration) -> int:
    """Return how many receivers run: as configured, or one a core up to four."""
    return configuration.node.dicom.receivers or min(_MOST_RECEIVERS, os.cpu_count() or 1)


def _worker_count(configuration: Configuration) -> int:
    """Return how many workers run: the driver is asked apart, since this process will fork."""
    return configuration.workers.count or worker_count(0, len(cuda_devices_apart().devices))


def load_checked(path: Path, rules: Path | RulesText | None = None) -> Configuration:
    """Read the configuration, every model bundle it names, and the site's templates of e-mails.

    Args:
        path: node.yaml.
        rules: In place of the rules file that it names.

    Raises:
        ConfigurationFaults: every fault of the files, of the bundles and of the templates.
    """
    configuration = load_configuration(path, rules)
    check_bundles(configuration, path)
    check_templates(configuration)
    return configuration


def check_bundles(configuration: Configuration, path: Path) -> None:
    """Read every model bundle that a configuration names, and compare the inputs of its rules with theirs.

    Args:
        configuration: As read.
        path: node.yaml, for the message.

    Raises:
        ConfigurationFaults: the fault of a bundle, or rules whose inputs do not fit their models.
    """
    try:
        bundles = find_bundles(configuration.node.models_dir, configuration.bundles_dir)
    except BundleFaults as error:
        raise ConfigurationFaults(error.faults) from error
    except ModelError as error:
        raise ConfigurationFaults([Fault(str(path), 1, "models_dir", str(error))]) from error
    if faults := list(input_faults(configuration, bundles)):
        raise ConfigurationFaults(faults)


def check_templates(configuration: Configuration) -> None:
    """Try a site's templates of e-mails on made-up notices of every kind, in every language.

    Raises:
        ConfigurationFaults: every template that is at fault, with its line.
    """
    folder = configuration.node.notifications.templates
    if folder is not None:
        faults = import_module("dicom_node.delivery.notices.trial").faults_of(folder)
        if faults:
            raise ConfigurationFaults([Fault(file, line, "", message, hint) for file, line, message, hint in faults])


class Supervisor:
    """Starts the processes, restarts what dies, reloads all or nothing, drains on stop."""

    def __init__(self, configuration: Configuration, path: Path) -> None:
        """Take the checked configuration.

        Args:
            configuration: As read from `path`.
            path: node.yaml, read again on SIGHUP.
        """
        self._configuration = configuration
        self._path = path
        self._log = get_logger()
        self._wake = threading.Event()
        self._systemd = sdnotify.SystemdNotifier()
        self._files = InstanceFiles(configuration.data_dir)
        self._listeners: dict[str, socket.socket] = {}
        self._lock: TextIO | None = None
        self._children = [_Child(f"receiver-{n}", "receive") for n in range(receiver_count(configuration))]
        self._children.append(_Child("pipeline-0", "pipeline"))
        self._children += [_Child(f"worker-{n}", "work") for n in range(_worker_count(configuration))]
        self._children.append(_Child("sender-0", "deliver"))
        if configuration.node.web.enabled:
            self._children.append(_Child("web-0", "web"))
        if configuration.node.watch:
            self._children.append(_Child("importer-0", "watch"))

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            StorageError: another node uses data_dir, or it is not usable.
            PeerError: the port is taken.
        """
        self._lock = self._take_lock()
        try:
            self._listeners = open_ports(self._configuration)
            (self._files.run / SUPERVISOR).write_text(str(os.getpid()))
            self._files = prepare(self._configuration)
            self._log.info("node_starting", ae_title=self._configuration.ae_title, discarded_partials=self._files.discard_partials())
            lifecycle = Lifecycle(self._wake.set)
            for child in self._children:  # programs first: they load while this process loads what the others are forked with
                if child.command not in _FORKED:
                    self._start(child)
            for module in _FORKED.values():
                import_module(f"dicom_node.{module}")
            for child in self._children:
                if child.command in _FORKED:
                    self._start(child)
            self._systemd.notify("READY=1")
            while lifecycle.keep_going():
                self._wake.wait(_LOOK_EVERY_S)
                self._wake.clear()
                if lifecycle.take_reload():
                    self._reload()
                self._restart_dead()
            self._drain()
        finally:
            close_ports(self._listeners)
            self._lock.close()

    def _take_lock(self) -> TextIO:
        self._files.prepare()
        lock = (self._files.run / LOCK).open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise StorageError(f"another node runs on {self._files.data_dir}", hint="stop it, or give this one its own data_dir") from None
        return lock

    def _start(self, child: _Child) -> None:
        module = _FORKED.get(child.command)
        child.process = self._program(child) if module is None else ForkedProcess(partial(self._become, child.name, module))
        child.started_at = monotonic()
        (self._files.run / f"{child.name}.pid").write_text(str(child.process.pid))

    def _become(self, name: str, module: str) -> None:
        """Be a child: let go of what is the supervisor's, and run."""
        close_ports(self._listeners)
        if self._lock is not None:
            self._lock.close()
        os.environ[SUPERVISOR_VARIABLE] = str(os.getppid())
        snapshot = self._files.run / SNAPSHOT
        run_process(module, name, lambda: load_snapshot(snapshot.read_text("utf-8")))

    def _program(self, child: _Child) -> subprocess.Popen[bytes]:
        """Start a child as a program of its own: it loads less than there is here, and stays smaller."""
        arguments = [sys.executable, "-m", "dicom_node", child.command, "--snapshot", str(self._files.run / SNAPSHOT), "--name", child.name]
        environment = {**os.environ, SUPERVISOR_VARIABLE: str(os.getpid())}
        descriptors: tuple[int, ...] = ()
        if child.command == "receive":
            descriptors = tuple(listener.fileno() for listener in self._listeners.values())
            for argument, listener in self._listeners.items():
                arguments += [argument, str(listener.fileno())]
        return subprocess.Popen(arguments, env=environment, pass_fds=descriptors)

    def _restart_dead(self) -> None:
        now = monotonic()
        for child in self._children:
            if child.process is not None and child.process.poll() is not None:
                self._note_death(child, now)
            if child.process is None and now >= child.restart_at:
                self._start(child)
        if all(child.process is not None for child in self._children):
            self._systemd.notify("WATCHDOG=1")

    def _note_death(self, child: _Child, now: float) -> None:
        code = child.process.returncode if child.process else 0
        child.crashes = 1 if now - child.started_at > _STABLE_AFTER_S else child.crashes + 1
        delay = min(_FIRST_RESTART_S * 2 ** (child.crashes - 1), _LONGEST_RESTART_S)
        if child.process is not None:
            forget_process(self._files.metrics, child.process.pid)
        child.process, child.restart_at = None, now + delay
        self._log.error("process_died", child=child.name, exit_code=code, restart_in_s=round(delay, 1))

    def _reload(self) -> None:
        self._systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={int(monotonic() * 1e6)}")
        try:
            fresh = load_checked(self._path)
            changed = restart_only_changes(self._configuration, fresh)
            if changed:
                raise ConfigError(f"these options need a restart: {', '.join(changed)}")
        except ConfigurationFaults as faults:
            for fault in faults.faults:
                self._log.error("reload_refused", fault=str(fault))
        except ConfigError as error:
            self._log.error("reload_refused", fault=str(error))
        else:
            difference = compare_rules(self._configuration.rules_file, fresh.rules_file)
            self._configuration = fresh
            write_snapshot(fresh, self._files)
            self._signal(signal.SIGHUP)
            self._log.info("configuration_reloaded", rules=len(fresh.rules), destinations=len(fresh.destinations))
            self._log_rules(difference)
        self._systemd.notify("READY=1")

    def _log_rules(self, difference: RulesDiff) -> None:
        if not difference:
            return
        self._log.info(
            "rules_changed",
            added=",".join(difference.added),
            removed=",".join(difference.removed),
            changed=",".join(change.rule for change in difference.changed),
            digest=self._configuration.rules_digest[:12],
        )

    def _signal(self, number: signal.Signals) -> None:
        for child in self._children:
            if child.process is not None and child.process.poll() is None:
                child.process.send_signal(number)

    def _drain(self) -> None:
        """Stop receivers first: what they acknowledge while draining is still indexed. Nothing is lost if the time runs out."""
        self._systemd.notify("STOPPING=1")
        limit_s = self._configuration.node.drain_timeout.total_seconds()
        self._log.info("node_draining", limit_s=limit_s)
        deadline = monotonic() + limit_s
        close_ports(self._listeners)  # with the receivers' own copies, nobody listens any more
        self._signal(signal.SIGTERM)
        for child in self._children:
            if child.process is None:
                continue
            try:
                child.process.wait(max(0.0, deadline - monotonic()) + 1.0)
            except subprocess.TimeoutExpired:
                self._log.warning("process_killed", child=child.name, reason=f"still busy after {limit_s:g} s; resumes at next start")
                child.process.kill()
                child.process.wait()
        self._log.info("node_stopped")
