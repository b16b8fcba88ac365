"""`models list`, `models add`."""

from __future__ import annotations

import typer

from dicom_node.cli.model_engines import build, engines
from dicom_node.cli.model_verification import ModelName, opened_model, verify_cases
from dicom_node.cli.models_add import add
from dicom_node.cli.options import DEFAULT_CONFIG, AsJson, ConfigPath
from dicom_node.cli.output import print_json, print_table
from dicom_node.config import load_configuration
from dicom_node.inference import find_bundles

app = typer.Typer(no_args_is_help=True, help="Model bundles.")
app.command("add")(add)
app.command("build")(build)
app.command("engines")(engines)


@app.command("list")
def list_models(config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """List the bundles of models_dir."""
    bundles = find_bundles(load_configuration(config).node.models_dir).values()
    rows = [
        {
            "name": b.manifest.name,
            "version": b.manifest.version,
            "stage": b.manifest.stage,
            "digest": b.digest,
            "use": b.manifest.intended_use.text,
        }
        for b in bundles
    ]
    if as_json:
        print_json(rows)
        return
    cells = [(r["name"], r["version"], r["stage"], r["digest"][:12], r["use"]) for r in rows]
    print_table(("model", "version", "stage", "digest", "intended use"), cells, nothing="models_dir holds no bundle.")


@app.command("verify")
def verify(name: ModelName, config: ConfigPath = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Run the verification cases of a model on every engine that is here; exit status 1 if one fails."""
    if not verify_cases(*opened_model(config, name), as_json=as_json):
        raise typer.Exit(1)
