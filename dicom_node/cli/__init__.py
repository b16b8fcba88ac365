"""The command line, one module per command."""

from __future__ import annotations

import sys
from importlib import import_module

import typer

from dicom_node.errors import DicomNodeError

_PROCESSES = ("receive", "pipeline", "work", "deliver", "web", "watch")
_NO_PIXELS = ("receive", "web", "watch")


def main() -> None:
    """Run a command; our errors become a message and an exit status: 2 for the configuration, 1 for the rest.

    No command pays for the other commands' imports, and those of the node's processes that never decode a pixel not for the decoders that
    pydicom would load: they restart faster, and a receiver is half as large.
    """
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command in _NO_PIXELS:
        sys.modules["gdcm"] = None  # type: ignore[assignment]  # how an import is made to fail; 18 MB
    try:
        if command in _PROCESSES:
            import_module("dicom_node.cli.processes").app()
        else:
            import_module("dicom_node.cli.commands").command_line(command)()
    except DicomNodeError as error:
        if isinstance(error, import_module("dicom_node.config").ConfigurationFaults):
            for fault in error.faults:
                typer.echo(str(fault), err=True)
            typer.echo(f"{len(error.faults)} fault(s); nothing was started or changed.", err=True)
            sys.exit(2)
        typer.echo(f"error: {error}" + (f"\n  {error.hint}" if error.hint else ""), err=True)
        sys.exit(1)
