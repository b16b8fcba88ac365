"""`fetches list` and `fetches show`."""

from __future__ import annotations

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, Limit, opened
from dicom_node.cli.output import print_json, print_table, text
from dicom_node.domain.fetches import Fetch, FetchKind
from dicom_node.errors import StorageError
from dicom_node.storage import fetched_studies
from dicom_node.storage import fetches as stored

app = typer.Typer(no_args_is_help=True, help="What the node asks of archives by itself: counts, missing instances, priors.")


@app.command("list")
def list_fetches(
    config: ConfigPath = DEFAULT_CONFIG,
    limit: Limit = 50,
    study: str = typer.Option("", help="Of this study only."),
    as_json: AsJson = False,
) -> None:
    """List requests, newest first: what is asked, why, and how it went."""
    _, database = opened(config)
    with database.transaction() as session:
        found = stored.recent(session, limit, study)
    if as_json:
        print_json(found)
        return
    columns = ("id", "asked for", "study", "source", "state", "attempts", "asked", "deadline", "reason")
    rows = [
        (f.id, wanted(f), f.study_instance_uid, f.source or "the node", f.state, f.attempt, f.asked_at, f.deadline, f.reason) for f in found
    ]
    print_table(columns, rows, nothing="Nothing was asked of an archive yet.")


@app.command("show")
def show_fetch(fetch_id: int, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Show a request: its history, and the earlier studies that it looked at."""
    _, database = opened(config)
    with database.transaction() as session:
        found = stored.find(session, fetch_id)
        events = stored.events(session, fetch_id)
        studies = fetched_studies.of_request(session, fetch_id)
    if found is None:
        raise StorageError(f"there is no request {fetch_id}", hint="see `dicom-node fetches list`")
    if as_json:
        print_json({"fetch": found, "events": events, "studies": studies})
        return
    typer.echo(f"Request {found.id} for {wanted(found)} of study {found.study_instance_uid}: {found.state}, {found.reason}")
    for event in events:
        typer.echo(f"  {text(event.at)}  {event.to_state}: {event.reason}")
    for study in studies:
        outcome = {True: "taken", False: f"not taken: {study.reason}", None: "under way"}[study.taken]
        typer.echo(f"  earlier study {study.study_instance_uid}: {outcome}")


def wanted(fetch: Fetch) -> str:
    """Say what is asked for, and for whom."""
    if fetch.kind is FetchKind.PRIOR:
        return f"prior for input {fetch.input} of rule {fetch.rule}"
    return {FetchKind.COUNT: "number of instances", FetchKind.MISSING: "missing instances"}[fetch.kind]
