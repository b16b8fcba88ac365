"""`rules apply` and `rules rollback`: other rules come into force, with author and comment on record."""

from __future__ import annotations

import os
import pwd
import shutil
import sys
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Annotated

import typer

from dicom_node.app import load_checked
from dicom_node.cli.options import DEFAULT_CONFIG, ConfigPath, open_database
from dicom_node.cli.rules import replay as replay_command
from dicom_node.cli.rules.versions import in_force, print_difference
from dicom_node.config import Configuration, RulesText, load_configuration, load_snapshot, restart_only_changes
from dicom_node.config.rules_diff import compare_rules
from dicom_node.errors import ConfigError, StorageError
from dicom_node.pipeline.running_node import SNAPSHOT, active_rules_digest, ask_for_reload, supervisor_pid
from dicom_node.storage import rule_versions
from dicom_node.storage.files import write_durably

NO_RULES = RulesText("no rules", "rules: []")
"""For reading node.yaml while the rules file has faults."""
_LONGEST_RELOAD_S = 15.0
_LOOK_EVERY_S = 0.1

Draft = Annotated[Path, typer.Argument(metavar="DRAFT", help="The new rules file.")]
Version = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="A number from `rules history`.")]
Comment = Annotated[str, typer.Option("--comment", help="Why, for the history.")]
Replay = Annotated[int | None, typer.Option("--replay", min=1, help="First show what would have changed in this many days.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Check and show the difference; change nothing.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def apply(  # noqa: PLR0913, PLR0917 - an option each
    draft: Draft, comment: Comment, config: ConfigPath = DEFAULT_CONFIG, replay: Replay = None, dry_run: DryRun = False, yes: Yes = False
) -> None:
    """Check a draft, show what it changes, put it in the place of the rules file, and reload the running node.

    The file that was there stays beside it with the suffix .old, and every version stays in `rules history`.
    """
    fresh = load_checked(config, draft)
    _show(fresh, str(draft))
    if replay is not None:
        replay_command.show(fresh, replay_command.Window(replay))
    if dry_run:
        typer.echo("Nothing was changed.")
        return
    if not yes and sys.stdin.isatty():
        typer.confirm("Apply?", abort=True)
    _bring_into_force(fresh, comment)


def rollback(version: Version, comment: Comment, config: ConfigPath = DEFAULT_CONFIG, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Bring the text of an earlier version back; it becomes a new version, the history stays as it is."""
    database = open_database(load_configuration(config, NO_RULES))
    with database.reading() as session:
        wanted = rule_versions.get(session, version)
    database.close()
    name = f"version {wanted.version}"
    fresh = load_checked(config, RulesText(name, wanted.content))
    _show(fresh, name)
    if dry_run:
        typer.echo("Nothing was changed.")
        return
    if not yes:
        if not sys.stdin.isatty():
            raise ConfigError("nobody can be asked here", hint="add --yes if you mean it")
        typer.confirm(f"Go back to version {version}?", abort=True)
    _bring_into_force(fresh, f"rollback to version {version}: {comment}")


def _show(fresh: Configuration, name: str) -> None:
    old = in_force(fresh)
    typer.echo(f"From {old.name} to {name}:")
    print_difference(compare_rules(old.rules, fresh.rules_file))


def _bring_into_force(fresh: Configuration, comment: str) -> None:
    pid = supervisor_pid(fresh.data_dir)
    if pid is not None:
        _check_reload(fresh)
    version = _record(fresh, comment)
    path = fresh.node.rules.resolve()
    if path.exists():
        shutil.copy2(path, path.with_name(path.name + ".old"))
    _write_in_place(path, fresh.rules_text)
    typer.echo(f"{path} is written." + (f" It is version {version}." if version else " The rules say what the last version says."))
    if pid is None:
        typer.echo("No node runs here: the rules come into force when it starts.")
        return
    ask_for_reload(pid)
    _wait_until_active(fresh)
    typer.echo(f"The node (process {pid}) has taken them over.")


def _check_reload(fresh: Configuration) -> None:
    try:
        running = load_snapshot((fresh.data_dir / "run" / SNAPSHOT).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise StorageError("cannot read what the node runs on", hint="run this as the node's user or as root") from error
    if changed := restart_only_changes(running, fresh):
        raise ConfigError(f"the node would refuse a reload: {', '.join(changed)} changed in node.yaml and need a restart")


def _record(fresh: Configuration, comment: str) -> int | None:
    try:
        database = open_database(fresh)
    except StorageError as error:
        typer.echo(f"Not recorded in the history: {error}.", err=True)
        return None
    new = rule_versions.NewVersion(fresh.rules_digest, login_name(), comment, fresh.rules_text)
    with database.transaction() as session:
        version = rule_versions.record(session, new, datetime.now(UTC))
    database.close()
    return version.version if version else None


def _write_in_place(path: Path, text: str) -> None:
    """Replace a file in one step; it keeps its owner and mode."""
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.touch(mode=0o600)
        if path.exists():
            state = path.stat()
            os.chown(partial, state.st_uid, state.st_gid)
            partial.chmod(state.st_mode & 0o7777)
        else:
            partial.chmod(0o644)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise StorageError(f"cannot write {path}: {error.strerror}", hint="run this as the file's owner or as root") from error
    write_durably(path, [text.encode()], partial=partial)


def _wait_until_active(fresh: Configuration) -> None:
    deadline = monotonic() + _LONGEST_RELOAD_S
    while active_rules_digest(fresh.data_dir) != fresh.rules_digest:
        if monotonic() > deadline:
            raise ConfigError("the node has not taken the rules over", hint="its log says why (reload_refused)")
        sleep(_LOOK_EVERY_S)


def login_name() -> str:
    """Name who runs this command; behind sudo, who called it."""
    if name := os.environ.get("SUDO_USER"):
        return name
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
