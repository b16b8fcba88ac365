"""All commands under one name."""

from __future__ import annotations

import typer

from dicom_node import __version__
from dicom_node.cli import (
    check,
    commitments,
    deliveries,
    demo,
    doctor,
    fetch,
    fetches,
    imports,
    jobs,
    models,
    peers,
    processes,
    query,
    rules,
    serve,
    studies,
    top,
)

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="A DICOM node that runs AI models.")
app.command("serve")(serve.serve)
app.command("receive", hidden=True)(processes.receive)
app.command("pipeline", hidden=True)(processes.pipeline)
app.command("work", hidden=True)(processes.work)
app.command("deliver", hidden=True)(processes.deliver)
app.command("check")(check.check)
app.command("doctor")(doctor.doctor)
app.command("top")(top.top)
app.command("echo")(peers.echo)
app.command("send")(peers.send)
app.command("query")(query.query)
app.command("fetch")(fetch.fetch)
app.command("import")(imports.import_)
app.command("web", hidden=True)(processes.web)
app.command("watch", hidden=True)(processes.watch)
app.command("demo")(demo.demo)
app.add_typer(studies.app, name="studies")
app.add_typer(jobs.app, name="jobs")
app.add_typer(deliveries.app, name="deliveries")
app.add_typer(commitments.app, name="commitments")
app.add_typer(fetches.app, name="fetches")
app.add_typer(models.app, name="models")
app.add_typer(rules.app, name="rules")


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version and exit.")) -> None:
    """Answer --version."""
    if version:
        typer.echo(__version__)
        raise typer.Exit
