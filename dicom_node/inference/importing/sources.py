"""From a source to a draft of a bundle: one function for each kind of source."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np

from dicom_node.config.models_dir import MANIFEST_FILE
from dicom_node.inference.bundle import load_bundle
from dicom_node.inference.bundle.files import file_sha256
from dicom_node.inference.importing.monai_source import is_monai_bundle, monai_draft
from dicom_node.inference.importing.onnx_facts import install_onnx
from dicom_node.inference.importing.request import Draft, ImportFailedError, ImportRequest
from dicom_node.inference.importing.skeleton import NetworkFacts, skeleton
from dicom_node.inference.importing.torch_program import convert
from dicom_node.inference.session import Signature, TensorInfo

_TORCH = {".pt": "torchscript", ".pth": "torchscript", ".ts": "torchscript", ".pt2": "pt2"}


def write_draft(request: ImportRequest, folder: Path, shape: tuple[int, ...] = ()) -> Draft:
    """Write the bundle of a source into an empty folder.

    Args:
        request: What is wanted.
        folder: Empty.
        shape: Of the input of a TorchScript file.

    Raises:
        ImportFailedError: the source is of no kind that can be imported, or is faulty.
        BundleFaults: a delivered bundle is faulty; every fault.
    """
    source = request.source
    if (source.is_dir() or source.suffix.lower() == ".zip") and is_monai_bundle(source):
        return monai_draft(request, folder)
    if source.is_dir() or source.suffix.lower() == ".zip":
        return _bundle_draft(request, folder)
    if source.suffix.lower() == ".onnx":
        return _onnx_draft(request, folder)
    if source.suffix.lower() in _TORCH:
        return _torch_draft(request, folder, shape)
    raise ImportFailedError(
        f"{source.name} is none of: a bundle (folder or zip), .onnx, {', '.join(_TORCH)}", hint="see docs/importing-models.md"
    )


def _onnx_draft(request: ImportRequest, folder: Path) -> Draft:
    name, task, network = request.model_name, request.demand_task(), folder / "network.onnx"
    found, notes = install_onnx(request.source, network)
    sha256 = file_sha256(network)
    origin = f"Network {request.source.name}, SHA-256 {file_sha256(request.source)}."
    facts = NetworkFacts(network.name, "onnx", sha256, found.signature, found.repairs, found.activations, origin)
    (folder / MANIFEST_FILE).write_text(skeleton(name, request.version, task, facts), "utf-8")
    return Draft(folder, name, (f"network.onnx, SHA-256 {sha256}", *notes))


def _torch_draft(request: ImportRequest, folder: Path, shape: tuple[int, ...]) -> Draft:
    source, form = request.source, _TORCH[request.source.suffix.lower()]
    name, task = request.model_name, request.demand_task()
    if not request.trusted:
        raise ImportFailedError(
            f"{source.name} is a program: loading it runs whatever code is in it, as this user",
            hint="only if you trust who made it: --trust-code",
        )
    if form == "torchscript" and not shape:
        raise ImportFailedError(
            f"{source.name}: TorchScript does not say the shape of its input", hint="give --shape, such as 1x1x96x96x96"
        )
    target = folder / "network.onnx"
    seen = convert(source, target, shape)
    origin = f"{form} network {source.name}, SHA-256 {file_sha256(source)}"
    if seen["converted"]:
        found, notes = install_onnx(target, folder / "checked.onnx")
        (folder / "checked.onnx").replace(target)
        origin += f", converted to ONNX; largest difference on random input {seen['error']:.2g} of its largest value."
        facts = NetworkFacts(target.name, "onnx", file_sha256(target), found.signature, found.repairs, found.activations, origin)
        notes = (f"converted to ONNX, differs from the original by {seen['error']:.2g} at most", *notes)
    else:
        target.unlink(missing_ok=True)
        kept = folder / ("network.pt2" if form == "pt2" else "network.pt")
        shutil.copyfile(source, kept)
        signature = Signature(_infos(seen["inputs"]), _infos(seen["outputs"]))
        facts = NetworkFacts(kept.name, form, file_sha256(kept), signature, origin=origin + ", run by torch.")
        notes = (f"not converted ({seen['why']}); it is kept for the back end torch",)
    (folder / MANIFEST_FILE).write_text(skeleton(name, request.version, task, facts), "utf-8")
    return Draft(folder, name, notes)


def _bundle_draft(request: ImportRequest, folder: Path) -> Draft:
    """Check a delivered bundle, then copy it; its name is its own."""
    cache = folder.parent / f"{folder.name}-unpacked"
    try:
        bundle = load_bundle(request.source, cache)
        name = bundle.manifest.name
        if request.name and request.name != name:
            raise ImportFailedError(f"the bundle calls itself {name}, not {request.name}", hint="change name in its model.yaml")
        shutil.copytree(bundle.folder, folder, dirs_exist_ok=True, symlinks=False)
    finally:
        shutil.rmtree(cache, ignore_errors=True)
    if load_bundle(folder).digest != bundle.digest:
        raise ImportFailedError(f"{request.source} changed while it was copied", hint="try again when nobody writes to it")
    return Draft(folder, name, (f"bundle {name} {bundle.manifest.version}, digest {bundle.digest[:12]}",))


def _infos(told: dict[str, dict[str, object]]) -> dict[str, TensorInfo]:
    return {name: TensorInfo(np.dtype(str(info["dtype"])), tuple(info["shape"])) for name, info in told.items()}  # type: ignore[arg-type]
