"""`serve`: the whole node."""

from __future__ import annotations

from dicom_node.app import Supervisor, load_checked
from dicom_node.cli.options import DEFAULT_CONFIG, ConfigPath
from dicom_node.cli.processes import configure_process_logs


def serve(config: ConfigPath = DEFAULT_CONFIG) -> None:
    """Run the node: receive, route, infer, deliver. SIGTERM drains, SIGHUP reloads."""
    configuration = load_checked(config)
    configure_process_logs("supervisor", configuration)
    Supervisor(configuration, config).run()
