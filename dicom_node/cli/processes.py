"""The processes that `serve` supervises; each also runs alone."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, ConfigPath
from dicom_node.config import Configuration, load_configuration, load_snapshot
from dicom_node.pipeline.starting import run_process

_WITH_DATABASE = ("pipeline.pipeline_process", "pipeline.worker_process", "pipeline.sender_process")
"""Started alone they bring the database up to date; the others write files only."""
Snapshot = Annotated[Path | None, typer.Option("--snapshot", help="Checked configuration, written by serve.")]
ProcessName = Annotated[str, typer.Option("--name", help="Unique name of this process on the node.")]
Listener = Annotated[int | None, typer.Option("--listener", help="Descriptor of a listening socket, inherited from serve.", hidden=True)]
TlsListener = Annotated[int | None, typer.Option("--tls-listener", help="The same for the TLS port.", hidden=True)]

Listeners = tuple[int | None, int | None]
"""Descriptors of the plain and of the TLS port."""


def receive(
    config: ConfigPath = DEFAULT_CONFIG,
    snapshot: Snapshot = None,
    name: ProcessName = "receiver-0",
    listener: Listener = None,
    tls_listener: TlsListener = None,
) -> None:
    """Receive only."""
    _run("pipeline.receiver_process", config, snapshot, name, (listener, tls_listener))


def pipeline(config: ConfigPath = DEFAULT_CONFIG, snapshot: Snapshot = None, name: ProcessName = "pipeline-0") -> None:
    """Index, complete and route only."""
    _run("pipeline.pipeline_process", config, snapshot, name)


def work(config: ConfigPath = DEFAULT_CONFIG, snapshot: Snapshot = None, name: ProcessName = "worker-0") -> None:
    """Run models only."""
    _run("pipeline.worker_process", config, snapshot, name)


def deliver(config: ConfigPath = DEFAULT_CONFIG, snapshot: Snapshot = None, name: ProcessName = "sender-0") -> None:
    """Deliver only."""
    _run("pipeline.sender_process", config, snapshot, name)


def web(config: ConfigPath = DEFAULT_CONFIG, snapshot: Snapshot = None, name: ProcessName = "web-0") -> None:
    """Serve HTTP only: STOW-RS and /healthz."""
    _run("web.process", config, snapshot, name)


def watch(config: ConfigPath = DEFAULT_CONFIG, snapshot: Snapshot = None, name: ProcessName = "importer-0") -> None:
    """Watch folders only."""
    _run("pipeline.importer_process", config, snapshot, name)


def _run(module: str, config: Path, snapshot: Path | None, name: str, listeners: Listeners = (None, None)) -> None:
    def read() -> Configuration:
        return load_snapshot(snapshot.read_text("utf-8")) if snapshot else load_configuration(config)

    if snapshot is None and module in _WITH_DATABASE:
        import_module("dicom_node.app").prepare(read())
    run_process(module, name, read, listeners)
