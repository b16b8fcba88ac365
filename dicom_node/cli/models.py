"""`models list`, `show`, `verify`, `schema`; `add`, `build` and `engines` have modules of their own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from dicom_node.cli.model_engines import build, engines
from dicom_node.cli.model_shelf import Serving, Shelf, serving_of
from dicom_node.cli.model_verification import Wanted, cases_as_json, print_cases, verify_engines
from dicom_node.cli.models_add import add
from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from dicom_node.cli.output import print_json, print_table
from dicom_node.config.models_dir import bundle_paths
from dicom_node.inference import Manifest, ModelBundle
from dicom_node.inference.bundle.json_schema import manifest_json_schema
from dicom_node.inference.bundle.loading import awaits_networks
from dicom_node.inference.bundle.tasks import tasks_of
from dicom_node.inference.bundle.verifying import Verdict, verify_static
from dicom_node.inference.facts_label import LabelSection, facts_label

app = typer.Typer(no_args_is_help=True, help="Model bundles.")

_INDENT = "  "
ModelsDir = Annotated[Path | None, typer.Option("--models-dir", help="Folder of the bundles; node.yaml is not read then.")]
app.command("add")(add)
app.command("build")(build)
app.command("engines")(engines)


@app.command("list")
def list_models(config: ConfigPath = DEFAULT_CONFIG, models_dir: ModelsDir = None, as_json: AsJson = False) -> None:
    """List the bundles of models_dir, faulty ones and those without networks too."""
    with Shelf(config, models_dir) as shelf:
        rows = [shelf.row(path) for path in bundle_paths(shelf.folder)]
    if as_json:
        print_json(rows)
        return
    columns = ("name", "version", "stage", "task", "digest", "engines", "state", "use")
    cells = [[", ".join(v) if isinstance(v := row[c], list) else v for c in columns] for row in rows]
    shown = [[*line[:4], str(line[4] or "")[:12], *line[5:]] for line in cells]
    print_table(("model", *columns[1:-1], "intended use"), shown, nothing="models_dir holds no bundle.")


@app.command()
def show(
    name: Annotated[str, typer.Argument(metavar="NAME|FOLDER", help="Name of a model, or a folder or zip.")],
    config: ConfigPath = DEFAULT_CONFIG,
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
) -> None:
    """Show a model's facts label: what it does, for which images, how well, and what to beware of."""
    with Shelf(config, models_dir) as shelf:
        manifest, bundle = shelf.opened(name)
        serving = serving_of(bundle, shelf.engines()) if bundle else Serving("", "its networks are not there yet")
    label = facts_label(manifest, bundle)
    if as_json:
        print_json({**_as_json(manifest, bundle, label), "serves": serving.engine, "fallback": serving.why})
        return
    typer.echo(f"{manifest.title} {manifest.version}, {manifest.manufacturer}")
    for section in label:
        typer.echo(f"\n{section.heading}")
        for line in section.lines:
            typer.echo(f"{_INDENT}{line}")
    if not serving.known:
        return
    typer.echo("\nEngine here")
    typer.echo(f"{_INDENT}Runs on {serving.engine}." if serving.engine else f"{_INDENT}None may serve.")
    if serving.why:
        typer.echo(f"{_INDENT}{serving.why[:1].upper()}{serving.why[1:]}.")


@app.command()
def verify(
    name: Annotated[str, typer.Argument(metavar="[NAME|FOLDER]", help="Name of a model, or a folder or zip; without, every model.")] = "",
    static: Annotated[bool, typer.Option("--static", help="Run nothing: look at model.yaml, files and networks only.")] = False,
    config: ConfigPath = DEFAULT_CONFIG,
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
) -> None:
    """Look for faults of a bundle, then run its verification cases on every engine that is here; exit status 1 if anything fails."""
    with Shelf(config, models_dir) as shelf:
        paths = [shelf.find(name)] if name else list(bundle_paths(shelf.folder))
        found = [_verified(path, shelf, static=static, as_json=as_json, skips=not name) for path in paths]
    if as_json:
        print_json([told for _, told in found])
    elif not paths:
        typer.echo("models_dir holds no bundle.")
    if not all(good for good, _ in found):
        raise typer.Exit(1)


def _verified(path: Path, shelf: Shelf, *, static: bool, as_json: bool, skips: bool) -> tuple[bool, dict[str, object]]:
    """Verify one bundle: whether it is good, and what was found; `skips` leaves out one whose networks are still to be fetched."""
    if skips and path.is_dir() and awaits_networks(path):
        reason = f"its networks are not there yet: dicom-node models add {path.name}"
        if not as_json:
            typer.echo(f"{path.name}: not verified, {reason}.")
        return True, {"name": None, "path": str(path), "digest": None, "faults": [], "warnings": [], "skipped": reason}
    verdict = verify_static(path, datetime.now(UTC).astimezone().date(), shelf.cache)
    if not as_json:
        _say(verdict)
    if static or verdict.faults or verdict.bundle is None:
        return not verdict.faults, _verdict(verdict)
    good, records = verify_engines(verdict.bundle, shelf.engines(), Wanted(again=True), quiet=as_json)
    if not as_json:
        print_cases(records)
    return good, {**_verdict(verdict), "cases": cases_as_json(records)}


@app.command()
def schema() -> None:
    """Print the JSON Schema of model.yaml."""
    print_json(manifest_json_schema())


def _as_json(manifest: Manifest, bundle: ModelBundle | None, label: Sequence[LabelSection]) -> dict[str, object]:
    return {
        "name": manifest.name,
        "digest": bundle.digest if bundle else None,
        "weights_sha256": bundle.weights_sha256 if bundle else None,
        "path": str(bundle.origin) if bundle else None,
        "tasks": list(tasks_of(manifest)),
        "label": {section.heading: list(section.lines) for section in label},
        "manifest": manifest.model_dump(mode="json", by_alias=True),
    }


def _verdict(verdict: Verdict) -> dict[str, object]:
    return {
        "name": verdict.bundle.manifest.name if verdict.bundle else None,
        "path": str(verdict.origin),
        "digest": verdict.bundle.digest if verdict.bundle else None,
        "faults": list(verdict.faults),
        "warnings": list(verdict.warnings),
    }


def _say(verdict: Verdict) -> None:
    for warning in verdict.warnings:
        typer.echo(str(warning).replace(": ", ": warning: ", 1), err=True)
    for fault in verdict.faults:
        typer.echo(str(fault), err=True)
    if verdict.bundle is None or verdict.faults:
        typer.echo(f"{verdict.origin}: {len(verdict.faults)} fault(s).")
        return
    m = verdict.bundle.manifest
    typer.echo(f"{m.name} {m.version}: no faults, {len(verdict.warnings)} warning(s), digest {verdict.bundle.digest[:12]}.")
