"""`serve`: the whole node."""

from __future__ import annotations

import os
from importlib import import_module

from dicom_node.cli.options import DEFAULT_CONFIG, ConfigPath
from dicom_node.config import load_configuration
from dicom_node.pipeline.starting import configure_process_logs
from dicom_node.storage import InstanceFiles


def serve(config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Run the node: receive, route, infer, deliver. SIGTERM drains, SIGHUP reloads."""
    configuration = load_configuration(config)
    for variable, value in _ENVIRONMENT.items():
        os.environ.setdefault(variable, value)
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(InstanceFiles(configuration.data_dir).metrics)  # read when the library is loaded
    app = import_module("dicom_node.app")
    app.check_bundles(configuration, config)
    configure_process_logs("supervisor", configuration)
    app.Supervisor(configuration, config).run()


_ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1"}
"""Until it has started the node's processes, this one must have a single thread."""
