"""All commands under one name."""

from __future__ import annotations

from importlib import import_module
from typing import Final, NamedTuple

import typer

from dicom_node import __version__


class _Command(NamedTuple):
    """Where a command stands: a function of a module of this package, or with no name its whole group `app`."""

    module: str
    function: str = ""
    hidden: bool = False


_COMMANDS: Final = {
    "serve": _Command("serve", "serve"),
    "receive": _Command("processes", "receive", hidden=True),
    "pipeline": _Command("processes", "pipeline", hidden=True),
    "work": _Command("processes", "work", hidden=True),
    "deliver": _Command("processes", "deliver", hidden=True),
    "check": _Command("check", "check"),
    "doctor": _Command("doctor", "doctor"),
    "top": _Command("top", "top"),
    "echo": _Command("peers", "echo"),
    "send": _Command("peers", "send"),
    "query": _Command("query", "query"),
    "fetch": _Command("fetch", "fetch"),
    "import": _Command("imports", "import_"),
    "web": _Command("processes", "web", hidden=True),
    "watch": _Command("processes", "watch", hidden=True),
    "demo": _Command("demo", "demo"),
    "studies": _Command("studies"),
    "jobs": _Command("jobs"),
    "deliveries": _Command("deliveries"),
    "results": _Command("results"),
    "commitments": _Command("commitments"),
    "fetches": _Command("fetches"),
    "notices": _Command("notices"),
    "models": _Command("models"),
    "rules": _Command("rules"),
}


def command_line(wanted: str = "") -> typer.Typer:
    """Make the command line.

    Args:
        wanted: The only command to load, since some load much; all if there is none of that name.
    """
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="A DICOM node that runs AI models.")
    app.callback(invoke_without_command=True)(_root)
    for name in [wanted] if wanted in _COMMANDS else _COMMANDS:
        command = _COMMANDS[name]
        module = import_module(f"dicom_node.cli.{command.module}")
        if command.function:
            app.command(name, hidden=command.hidden)(getattr(module, command.function))
        else:
            app.add_typer(module.app, name=name)
    return app


def _root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    """Answer --version."""
    if version:
        typer.echo(__version__)
        raise typer.Exit
