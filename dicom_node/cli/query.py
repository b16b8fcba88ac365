"""`query`: what does a query source have?"""

from __future__ import annotations

from typing import Annotated

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from dicom_node.cli.output import print_json, print_table
from dicom_node.config import load_configuration
from dicom_node.domain.instances import Attributes
from dicom_node.errors import SourceError
from dicom_node.pipeline.sources import opened
from dicom_node.scp.query_retrieve.query import RETURN_KEYS, FindQuery, FindResult, QueryLevel, QueryModel

MatchOption = Annotated[list[str] | None, typer.Option("--match", "-m", metavar="KEYWORD=VALUE", help="Further keys; may be repeated.")]


def query(  # noqa: PLR0913, PLR0917 - one parameter an option
    source: str,
    study: str = typer.Option("", help="Study Instance UID."),
    series: str = typer.Option("", help="Series Instance UID."),
    patient_id: str = typer.Option("", help="Patient ID; * and ? match any characters or one."),
    accession: str = typer.Option("", help="Accession Number."),
    match: MatchOption = None,
    level: QueryLevel = typer.Option(QueryLevel.STUDY, case_sensitive=False, help="What to list."),
    limit: int = typer.Option(200, "--limit", "-n", min=1, help="At most this many; the query is then cancelled."),
    config: ConfigPath = DEFAULT_CONFIG,
    as_json: AsJson = False,
) -> None:
    """List what a query source of node.yaml has (C-FIND or QIDO-RS). Prints patient data."""
    configuration = load_configuration(config)
    named = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "PatientID": patient_id, "AccessionNumber": accession}
    keys = {keyword: value for keyword, value in named.items() if value} | dict(_pair(text) for text in match or ())
    if not keys:
        raise SourceError("nothing to look for", hint="name --study, --patient-id, --accession or --match KEYWORD=VALUE")
    model = QueryModel.PATIENT_ROOT if level is QueryLevel.PATIENT else QueryModel.STUDY_ROOT
    result = opened(configuration, source).find(FindQuery(level, keys, limit=limit, model=model))
    if as_json:
        print_json(result)
    else:
        _print(result, level)
    if result.truncated:
        typer.echo(f"Only the first {limit} matches; ask for more with --limit, or more closely.", err=True)


def _print(result: FindResult, level: QueryLevel) -> None:
    asked = RETURN_KEYS[level]
    shown = [keyword for keyword in asked if any(match.get(keyword) for match in result.matches)]
    print_table(shown, ([_cell(match, keyword) for keyword in shown] for match in result.matches), nothing="The source has no match.")


def _cell(match: Attributes, keyword: str) -> str:
    return "\\".join(match.get(keyword, ()))


def _pair(text: str) -> tuple[str, str]:
    keyword, equals, value = text.partition("=")
    if not equals:
        raise SourceError(f"--match {text!r} is not KEYWORD=VALUE")
    return keyword, value
