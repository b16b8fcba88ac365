"""`models add`: learned weights of a bundle, from the package that holds them; models from elsewhere are for `models_import`."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

import dicom_node
from dicom_node.cli.models_import import add_source
from dicom_node.cli.options import DEFAULT_CONFIG, ConfigPath
from dicom_node.config import load_configuration
from dicom_node.errors import ModelError
from dicom_node.inference import load_bundle
from dicom_node.inference.importing.request import ImportRequest, Task
from dicom_node.inference.programs.monai_runtime import METADATA
from dicom_node.inference.weights import RECIPE_FILE, load_recipe
from dicom_node.inference.weights.install import Installation
from dicom_node.storage.files import sync_folder

_NAME = r"[a-z0-9][a-z0-9-]{1,63}"


def add(  # noqa: PLR0913, PLR0917 - an option each
    source: Annotated[
        str, typer.Argument(metavar="NAME|SOURCE", help="Bundle whose networks are wanted, such as brain-extraction; or a file or folder.")
    ],
    config: ConfigPath = DEFAULT_CONFIG,
    models_dir: Annotated[Path | None, typer.Option("--models-dir", help="Folder of the bundles; node.yaml is not read then.")] = None,
    wheel: Annotated[Path | None, typer.Option("--wheel", help="Take this file, for hosts without a package index.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
    name: Annotated[str, typer.Option("--name", help="Of a file: name of the model; else made from the file's.")] = "",
    version: Annotated[str, typer.Option("--version", help="Of a file: version of the model.")] = "0.1",
    task: Annotated[Task | None, typer.Option("--task", help="Of a file: what the network answers.")] = None,
    trust_code: Annotated[bool, typer.Option("--trust-code", help="Load TorchScript and .pt2: this runs the code in them.")] = False,
    shape: Annotated[str, typer.Option("--shape", help="Of TorchScript: shape of its input, such as 1x1x96x96x96.")] = "",
) -> None:
    """Fetch a bundle's networks, or make a bundle of a network file, or install one that was delivered; checked before it is in place."""
    folder = models_dir or load_configuration(config).node.models_dir
    if "/" in source or Path(source).is_file() or any((Path(source) / file).is_file() for file in ("model.yaml", METADATA)):
        wanted = ImportRequest(Path(source), name, version, task, trust_code)
        add_source(wanted, folder, shape, dry_run=dry_run)
        return
    _fetch(source, folder, wheel, dry_run=dry_run)


def _fetch(name: str, folder: Path, wheel: Path | None, *, dry_run: bool) -> None:
    bundle = folder / name
    source = bundle if (bundle / RECIPE_FILE).is_file() else shipped_models() / name
    if not (source / RECIPE_FILE).is_file():
        raise ModelError(f"no bundle {name} with a {RECIPE_FILE} is in {folder}", hint=f"there are: {', '.join(_known(folder)) or 'none'}")
    recipe = load_recipe(source)
    if dry_run:
        lines = Installation(bundle, recipe).plan(wheel)
        for line in lines if source == bundle else [f"copy {source} to {bundle}", *lines]:
            typer.echo(line)
        return
    if source != bundle:
        _copy_bundle(source, bundle)
    console = Console(soft_wrap=True, highlight=False)
    with console.status(f"adding {name} ..."):
        Installation(bundle, recipe).run(console.print, wheel)
        loaded = load_bundle(bundle)
    console.print(
        f"{name} {loaded.manifest.version} is ready, digest {loaded.digest[:12]}; a running node takes it over at its next reload"
    )


def shipped_models() -> Path:
    """The bundles that come with the source tree."""
    return Path(dicom_node.__file__).parents[1] / "config" / "models"


def _known(folder: Path) -> list[str]:
    return sorted({path.parent.name for place in (folder, shipped_models()) for path in place.glob(f"*/{RECIPE_FILE}")})


def _copy_bundle(source: Path, bundle: Path) -> None:
    """Copy a shipped bundle under a name that no node looks at, then give it its own."""
    partial = bundle.parent / f".{bundle.name}.copying"
    try:
        shutil.rmtree(partial, ignore_errors=True)
        shutil.copytree(source, partial)
        partial.rename(bundle)
        sync_folder(bundle.parent)
    except OSError as error:
        raise ModelError(f"cannot write to {bundle.parent}: {error.strerror}", hint="run as the user who owns models_dir") from error
