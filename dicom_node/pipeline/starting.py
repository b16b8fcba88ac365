"""How each process of the node begins, whether forked by `serve` or started as a program."""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib import import_module

from setproctitle import setproctitle

from dicom_node.config import Configuration
from dicom_node.ops.lifecycle import die_with_parent
from dicom_node.ops.logs import configure_logs, log_crashes
from dicom_node.pipeline.process import Process

SUPERVISOR_VARIABLE = "DICOM_NODE_SUPERVISOR"
"""Environment variable with the process id of `serve`; a process that finds it ends with that one."""


def run_process(module: str, name: str, read: Callable[[], Configuration], listeners: tuple[int | None, int | None] = (None, None)) -> None:
    """Run a process's main loop until it is told to stop.

    Args:
        module: Below `dicom_node`, with a function `run(process)`.
        name: Unique on this node, for example `worker-0`; also what `ps` shows.
        read: Gives the configuration, now and at each reload.
        listeners: Descriptors of the plain and of the TLS port, inherited.
    """
    if supervisor := os.environ.get(SUPERVISOR_VARIABLE):
        die_with_parent(int(supervisor))
    setproctitle(f"dicom-node {name}")
    configuration = read()
    configure_process_logs(name, configuration)
    import_module(f"dicom_node.{module}").run(Process(name, configuration, read, *listeners))


def configure_process_logs(process: str, configuration: Configuration) -> None:
    """Set up the log as configured."""
    section = configuration.node.logging
    log_crashes()
    configure_logs(process, level=section.level, json=section.format == "json")
