"""`models add SOURCE`: a draft is written, checked and verified, then put in place."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import typer

from dicom_node.cli.model_verification import Wanted, print_cases, verify_engines
from dicom_node.inference.bundle.verifying import verify_static
from dicom_node.inference.importing.placing import drafting, place, refuse_to_overwrite
from dicom_node.inference.importing.request import ImportFailedError, ImportRequest
from dicom_node.inference.importing.sources import write_draft
from dicom_node.inference.importing.trial import run_on_generated_inputs
from dicom_node.pipeline.model_engines import NodeEngines


def add_source(request: ImportRequest, models_dir: Path, shape: str, *, dry_run: bool) -> None:
    """Import a file or folder; nothing is left in models_dir unless all of it went well.

    Raises:
        ImportFailedError: it cannot be imported, is faulty, or fails its verification.
    """
    if not request.source.exists():
        raise ImportFailedError(f"there is no {request.source}")
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(TemporaryDirectory(prefix="dicom-node-")))
        folder = stack.enter_context(drafting(scratch if dry_run else models_dir, "model"))
        draft = write_draft(request, folder, _lengths(shape))
        refuse_to_overwrite(models_dir, draft.name)
        for note in draft.notes:
            typer.echo(note)
        verdict = verify_static(folder, datetime.now(UTC).astimezone().date())
        for fault in (*verdict.warnings, *verdict.faults):
            typer.echo(str(fault).replace(f"{folder}/", ""), err=True)
        if verdict.bundle is None or verdict.faults:
            raise ImportFailedError(f"{request.source.name}: {len(verdict.faults)} fault(s); nothing was written to {models_dir}")
        if dry_run:
            typer.echo((folder / "model.yaml").read_text("utf-8"))
            typer.echo(f"would write {models_dir / draft.name}")
            return
        if verdict.bundle.manifest.steps.python is None:
            typer.echo(run_on_generated_inputs(verdict.bundle))
        good, records = verify_engines(verdict.bundle, NodeEngines(scratch), Wanted(again=True), quiet=True)
        print_cases(records)
        if not good:
            raise ImportFailedError(f"{request.source.name}: an engine fails its verification; nothing was written to {models_dir}")
        placed = place(draft, models_dir)
    typer.echo(f"{placed} is in place. Answer the questions in its model.yaml, then: dicom-node models verify {draft.name}")


def _lengths(shape: str) -> tuple[int, ...]:
    try:
        return tuple(int(length) for length in shape.split("x")) if shape else ()
    except ValueError as error:
        raise ImportFailedError(f"--shape {shape!r} is no shape", hint="write it such as 1x1x96x96x96") from error
