"""`rules`: try, explain, compare and change the routing rules."""

from __future__ import annotations

import typer

from dicom_node.cli.rules import apply, cases, explain, replay, versions

app = typer.Typer(no_args_is_help=True, help="Routing rules: test, explain, replay, diff, apply, history, rollback.")
app.command("test")(cases.run_cases)
app.command("explain")(explain.explain)
app.command("replay")(replay.replay)
app.command("diff")(versions.diff)
app.command("apply")(apply.apply)
app.command("history")(versions.history)
app.command("rollback")(apply.rollback)
