"""`rules diff` and `rules history`: what differs between versions, and who brought them, when and why."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath, Limit, open_database, opened
from dicom_node.cli.output import print_json, print_table
from dicom_node.config import Configuration, load_configuration, load_draft
from dicom_node.config.loader import RulesText, load_past_rules
from dicom_node.config.rules_diff import RulesDiff, compare_rules
from dicom_node.config.rules_schema import RulesFile
from dicom_node.errors import ConfigError, StorageError
from dicom_node.pipeline.running_node import active_rules_digest
from dicom_node.storage import rule_versions

_EXAMPLE = "A number from `rules history`, or a file."
First = Annotated[str, typer.Argument(metavar="[A]", help=f"{_EXAMPLE} Default: the version in force.", show_default=False)]
Second = Annotated[str, typer.Argument(metavar="[B]", help=f"{_EXAMPLE} Default: the rules file as it is now.", show_default=False)]


@dataclass(frozen=True, slots=True)
class NamedRules:
    """Rules to be compared, and what to call them."""

    name: str
    rules: RulesFile


def diff(first: First = "", second: Second = "", config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Say in words how rules differ: which are new, gone or changed, option by option.

    Without arguments: what a reload would change. With one file: what it would change. With one number: what changed since.
    """
    configuration = load_configuration(config)
    if first and not second:
        old, new = (named(configuration, first), in_force(configuration)) if first.isdecimal() else (in_force(configuration), first)
    else:
        old, new = named(configuration, first) if first else in_force(configuration), second or str(configuration.node.rules)
    other = new if isinstance(new, NamedRules) else named(configuration, new)
    difference = compare_rules(old.rules, other.rules)
    if as_json:
        print_json({"from": old.name, "to": other.name, "difference": difference})
        return
    typer.echo(f"From {old.name} to {other.name}:")
    print_difference(difference)


def history(config: ConfigPath = DEFAULT_CONFIG, limit: Limit = 50, as_json: AsJson = False) -> None:
    """List the versions of the rules that were in force, newest first; a star stands by the one that the node runs on, or last ran on."""
    configuration, database = opened(config)
    with database.reading() as session:
        found = rule_versions.history(session, limit)
    database.close()
    if as_json:
        print_json(found)
        return
    active = active_rules_digest(configuration.data_dir)
    current = next((v.version for v in found if v.digest == active), None)
    rows = [(f"{v.version} *" if v.version == current else v.version, v.at, v.author, v.digest[:12], v.comment) for v in found]
    print_table(("version", "in force since", "author", "digest", "comment"), rows, nothing="No rules were in force yet.")


def print_difference(difference: RulesDiff) -> None:
    """Print a difference, or that there is none."""
    for line in difference.lines():
        typer.echo(f"  {line}")
    if not difference:
        typer.echo("  no difference")


def named(configuration: Configuration, name: str) -> NamedRules:
    """Return the rules of a version number or of a file.

    Raises:
        ConfigError: there is no such version, or the file has faults.
    """
    if not name.isdecimal():
        return NamedRules(name, load_draft(configuration, Path(name)).rules_file)
    database = open_database(configuration)
    with database.reading() as session:
        version = rule_versions.get(session, int(name))
    database.close()
    return _of_version(version)


def in_force(configuration: Configuration) -> NamedRules:
    """Return the last version; on a node that has none yet, what its rules file says, and nothing if that has faults."""
    version = _latest(configuration)
    if version is not None:
        return _of_version(version)
    path = configuration.node.rules
    try:
        return NamedRules(str(path), load_draft(configuration, path).rules_file)
    except ConfigError:
        return NamedRules("no rules", RulesFile(rules=()))


def _latest(configuration: Configuration) -> rule_versions.RuleVersion | None:
    try:
        database = open_database(configuration)
    except StorageError:
        return None
    with database.reading() as session:
        version = rule_versions.latest(session)
    database.close()
    return version


def _of_version(version: rule_versions.RuleVersion) -> NamedRules:
    name = f"version {version.version}"
    return NamedRules(name, load_past_rules(RulesText(name, version.content)))
