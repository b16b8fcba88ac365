"""`rules explain`: per rule and per condition, the value seen, and why or why not."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, open_database
from dicom_node.cli.output import print_json, text
from dicom_node.config import Configuration, load_configuration, load_draft
from dicom_node.domain.routing import Routing
from dicom_node.domain.rules import Rule
from dicom_node.domain.studies import Study
from dicom_node.domain.uids import is_safe_uid
from dicom_node.errors import ConfigError, StudyError
from dicom_node.pipeline.explanations import (
    FilesRead,
    Titles,
    no_priors,
    revision_of,
    routing_of_revision,
    studies_of_files,
    study_of_revision,
)
from dicom_node.pipeline.imports.importer import find
from dicom_node.routing import decide, kept_results, render
from dicom_node.routing.wording import counted
from dicom_node.storage import rule_versions

_PRIORS = "`rules explain` looks for no priors"

What = Annotated[str, typer.Argument(metavar="FILE|FOLDER|STUDY_UID", help="DICOM files, or a study that arrived.")]
Draft = Annotated[Path | None, typer.Option("--rules", help="A draft in place of the rules that node.yaml names.")]
Revision = Annotated[int | None, typer.Option("--revision", min=1, help="Of a study that arrived; default: the last one.")]
AsDecided = Annotated[bool, typer.Option("--as-decided", help="What was decided then, instead of deciding again.")]
Calling = Annotated[str, typer.Option("--calling-aet", help="Who would send the files.")]
Called = Annotated[str, typer.Option("--called-aet", help="To which title of the node.")]


def explain(  # noqa: PLR0913, PLR0917 - an option each
    what: What,
    config: ConfigPath = DEFAULT_CONFIG,
    rules: Draft = None,
    revision: Revision = None,
    as_decided: AsDecided = False,
    calling_aet: Calling = "",
    called_aet: Called = "",
    as_json: AsJson = False,
) -> None:
    """Print what every rule makes of a study: for each condition the values wanted and seen. Nothing is stored, run or sent.

    The values seen may be patient data.
    """
    configuration = load_configuration(config)
    if rules is not None:
        configuration = load_draft(configuration, rules)
    if Path(what).exists():
        if revision is not None or as_decided:
            raise ConfigError("--revision and --as-decided are for studies that arrived, not for files")
        read = studies_of_files((item.path for item in find([Path(what)])), Titles(calling_aet, called_aet), datetime.now(UTC))
        answers = list(_of_files(configuration, read))
        _say_unread(read)
    elif is_safe_uid(what):
        if as_decided and rules is not None:
            raise ConfigError("--as-decided shows what the rules of that time decided; leave --rules out")
        answers = [_of_index(configuration, what, revision, as_decided=as_decided)]
    else:
        raise StudyError(f"{what} is neither a file or folder nor a Study Instance UID")
    if as_json:
        print_json([_as_json(head, routing, () if as_decided else configuration.rules) for head, routing in answers])
        return
    for head, routing in answers:
        typer.echo(f"Study {head['study_instance_uid']}: {head['about']}")
        typer.echo(render(routing, () if as_decided else configuration.rules))


def _of_files(configuration: Configuration, read: FilesRead) -> Iterator[tuple[dict[str, str], Routing]]:
    if not read.studies:
        raise StudyError(
            "no file there holds a DICOM instance that counts", hint="the node's own results never do" if read.own_results else ""
        )
    for study in read.studies:
        yield _head(study, "read from files"), decide(configuration.rules, study, None, no_priors(configuration.rules, _PRIORS))


def _of_index(configuration: Configuration, uid: str, revision: int | None, *, as_decided: bool) -> tuple[dict[str, str], Routing]:
    database = open_database(configuration)
    found = revision_of(database, uid, revision)
    study = study_of_revision(database, uid, found)
    with database.reading() as session:
        version = rule_versions.in_force(session, found.rules_digest, found.closed_at)
    database.close()
    closed = f"revision {found.revision}, closed {text(found.closed_at)} by {found.closed_because}"
    if as_decided:
        by = f"version {version}" if version else f"rules {found.rules_digest[:12]}, older than the history"
        return _head(study, f"{closed}; as decided by {by}"), routing_of_revision(found)
    return _head(study, f"{closed}; decided anew"), decide(configuration.rules, study, None, no_priors(configuration.rules, _PRIORS))


def _head(study: Study, origin: str) -> dict[str, str]:
    instances = sum(len(series.instances) for series in study.series)
    by = ", ".join(study.calling_ae_titles) or "nobody"
    about = f"{counted(instances, 'instance')} in {len(study.series)} series, sent by {by}; {origin}"
    return {"study_instance_uid": study.study_instance_uid, "about": about}


def _as_json(head: Mapping[str, str], routing: Routing, rules: Sequence[Rule]) -> dict[str, object]:
    about = {"held_by": routing.held_by, "quarantined_because": routing.quarantined_because, "traces": routing.traces}
    return {**head, **about, "kept": {rule.name: kept for rule in rules if (kept := kept_results(rule))}}


def _say_unread(read: FilesRead) -> None:
    for path, reason in read.unreadable:
        typer.echo(f"left out: {path}: {reason}", err=True)
    if read.own_results:
        typer.echo(f"left out: {read.own_results} of the node's own results", err=True)
