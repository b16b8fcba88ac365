"""The command line, one module per command."""

from __future__ import annotations

import sys
from importlib import import_module

import typer

from dicom_node.errors import DicomNodeError

_NO_PIXELS = ("receive", "web", "watch")
_FOR_PIXELS = ("gdcm", "numpy", "PIL", "pylibjpeg", "openjpeg", "libjpeg", "rle", "jpeg_ls", "requests")
"""What pydicom loads where it is there: decoders, and a client that fetches its own test files."""


def main() -> None:
    """Run a command; our errors become a message and an exit status: 2 for the configuration, 1 for the rest.

    No command pays for the other commands' imports, and those of the node's processes that never decode a pixel not for what pydicom
    would load for it: they restart in half the time, and a receiver takes 67 MB where it took 103.
    """
    command = sys.argv[1] if len(sys.argv) > 1 else ""
    if command in _NO_PIXELS:
        sys.modules.update(dict.fromkeys(_FOR_PIXELS))  # type: ignore[arg-type]  # None makes an import fail
    try:
        import_module("dicom_node.cli.commands").command_line(command)()
    except DicomNodeError as error:
        if isinstance(error, import_module("dicom_node.config").ConfigurationFaults):
            for fault in error.faults:
                typer.echo(str(fault), err=True)
            typer.echo(f"{len(error.faults)} fault(s); nothing was started or changed.", err=True)
            sys.exit(2)
        typer.echo(f"error: {error}" + (f"\n  {error.hint}" if error.hint else ""), err=True)
        sys.exit(1)
