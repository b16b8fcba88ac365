"""`models list`, `show`, `verify` and `schema`; `add` stands in a module of its own."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from dicom_node.cli.models_add import add
from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from dicom_node.cli.output import print_json, print_table
from dicom_node.config import Configuration, load_configuration
from dicom_node.config.faults import known
from dicom_node.config.models_dir import BundleEntry, bundle_paths, find_models
from dicom_node.errors import ModelError
from dicom_node.inference import BundleFaults, Manifest, ModelBundle, load_bundle
from dicom_node.inference.bundle.json_schema import manifest_json_schema
from dicom_node.inference.bundle.loading import awaits_networks, read_manifest
from dicom_node.inference.bundle.tasks import tasks_of
from dicom_node.inference.bundle.verifying import Verdict, verify_static
from dicom_node.inference.facts_label import LabelSection, facts_label

app = typer.Typer(no_args_is_help=True, help="Model bundles.")
app.command("add")(add)

_INDENT = "  "
ModelsDir = Annotated[Path | None, typer.Option("--models-dir", help="Folder of the bundles; node.yaml is not read then.")]


@app.callback()
def models() -> None:
    """Group of commands."""


@app.command("list")
def list_models(config: ConfigPath = DEFAULT_CONFIG, models_dir: ModelsDir = None, as_json: AsJson = False) -> None:
    """List the bundles of models_dir, faulty ones and those without networks too."""
    with _Shelf(config, models_dir) as shelf:
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
    with _Shelf(config, models_dir) as shelf:
        manifest, bundle = shelf.opened(name)
    label = facts_label(manifest, bundle)
    if as_json:
        print_json(_as_json(manifest, bundle, label))
        return
    typer.echo(f"{manifest.title} {manifest.version}, {manifest.manufacturer}")
    for section in label:
        typer.echo(f"\n{section.heading}")
        for line in section.lines:
            typer.echo(f"{_INDENT}{line}")


@app.command()
def verify(
    name: Annotated[str, typer.Argument(metavar="[NAME|FOLDER]", help="Name of a model, or a folder or zip; without, every model.")] = "",
    config: ConfigPath = DEFAULT_CONFIG,
    models_dir: ModelsDir = None,
    as_json: AsJson = False,
) -> None:
    """Look at model.yaml, files and networks, without running them; exit status 1 with every fault and its line."""
    with _Shelf(config, models_dir) as shelf:
        paths = [shelf.find(name)] if name else list(bundle_paths(shelf.folder))
        verdicts = [verify_static(path, datetime.now(UTC).astimezone().date(), shelf.cache) for path in paths]
    if as_json:
        print_json([_verdict(verdict) for verdict in verdicts])
    else:
        _say(verdicts)
    if any(verdict.faults for verdict in verdicts):
        raise typer.Exit(1)


@app.command()
def schema() -> None:
    """Print the JSON Schema of model.yaml."""
    print_json(manifest_json_schema())


class _Shelf:
    """The bundles that a command is about; zips that are looked at without a node are unpacked for as long as it lasts."""

    def __init__(self, config: Path, models_dir: Path | None) -> None:
        self._config, self._models_dir = config, models_dir
        self._scratch = TemporaryDirectory(prefix="dicom-node-")
        self._configuration: Configuration | None = None

    def __enter__(self) -> _Shelf:
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.cleanup()

    @property
    def folder(self) -> Path:
        """models_dir."""
        return self._models_dir or self.configuration.node.models_dir

    @property
    def configuration(self) -> Configuration:
        """node.yaml, read when it is first needed."""
        if self._configuration is None:
            self._configuration = load_configuration(self._config)
        return self._configuration

    @property
    def cache(self) -> Path:
        """Where zips are unpacked to."""
        return self._configuration.bundles_dir if self._configuration is not None else Path(self._scratch.name)

    def find(self, name: str) -> Path:
        """Find a bundle by name, or by its path.

        Raises:
            ModelError: there is none.
        """
        path = Path(name)
        if path.exists() and ("/" in name or path.is_file() or (path / "model.yaml").exists()):
            return path
        found = find_models(self.folder)
        entry: BundleEntry | None = found.get(name)
        if entry is None:
            raise ModelError(f"no model is named {name!r} in {self.folder}, and it is no folder or zip", hint=known(name, list(found)))
        return entry.path

    def opened(self, name: str) -> tuple[Manifest, ModelBundle | None]:
        """Read a bundle; of one whose networks are still to be fetched only model.yaml.

        Raises:
            ModelError: there is none of that name, or it is faulty.
        """
        path = self.find(name)
        if path.is_dir() and awaits_networks(path) and (manifest := read_manifest(path).manifest) is not None:
            return manifest, None
        bundle = load_bundle(path, self.cache)
        return bundle.manifest, bundle

    def row(self, path: Path) -> dict[str, object]:
        """One line of the list."""
        try:
            bundle = load_bundle(path, self.cache)
        except BundleFaults as found:
            return {**_nameless(path), "state": _state(path, found)}
        m = bundle.manifest
        return {
            "name": m.name,
            "version": m.version,
            "stage": m.stage.value,
            "task": list(tasks_of(m)),
            "digest": bundle.digest,
            "engines": [b.value for b in m.engines.backends] if m.network.file else ["python"],
            "state": "ready",
            "use": m.intended_use.text,
            "path": str(path),
        }


def _nameless(path: Path) -> dict[str, object]:
    name = next((name for name, entry in find_models(path.parent).items() if entry.path == path), path.name)
    empty: dict[str, object] = dict.fromkeys(("version", "stage", "digest"))
    return {"name": name, **empty, "task": [], "engines": [], "use": "", "path": str(path)}


def _state(path: Path, found: BundleFaults) -> str:
    if path.is_dir() and awaits_networks(path):
        return "networks missing: `models add`"
    return f"{len(found.faults)} fault(s): `models verify`"


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


def _say(verdicts: Sequence[Verdict]) -> None:
    if not verdicts:
        typer.echo("models_dir holds no bundle.")
    for verdict in verdicts:
        for warning in verdict.warnings:
            typer.echo(str(warning).replace(": ", ": warning: ", 1), err=True)
        for fault in verdict.faults:
            typer.echo(str(fault), err=True)
        if verdict.bundle is None or verdict.faults:
            typer.echo(f"{verdict.origin}: {len(verdict.faults)} fault(s).")
            continue
        m = verdict.bundle.manifest
        typer.echo(f"{m.name} {m.version}: no faults, {len(verdict.warnings)} warning(s), digest {verdict.bundle.digest[:12]}.")
