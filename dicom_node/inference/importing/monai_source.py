"""A MONAI bundle, folder or zip, becomes a bundle of this node around it."""

from __future__ import annotations

import shutil
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from dicom_node.config.models_dir import MANIFEST_FILE
from dicom_node.errors import ArchiveError
from dicom_node.inference.bundle.files import digest_of, outside_links
from dicom_node.inference.bundle.zips import LIMITS, unpack
from dicom_node.inference.importing.request import Draft, ImportFailedError, ImportRequest
from dicom_node.inference.importing.skeleton import about, outputs_section, segments
from dicom_node.inference.programs.monai_runtime import METADATA, read_metadata

_FOLDER = "monai"


def is_monai_bundle(source: Path) -> bool:
    """Whether a folder or zip holds configs/metadata.json."""
    if source.is_dir():
        return (source / METADATA).is_file()
    try:
        with zipfile.ZipFile(source) as archive:
            return any(PurePosixPath(name).parts[-2:] == METADATA.parts for name in archive.namelist())
    except (OSError, zipfile.BadZipFile):
        return False


def monai_draft(request: ImportRequest, folder: Path) -> Draft:
    """Copy the bundle and write model.yaml around it.

    Raises:
        ImportFailedError: it was not said to be trusted, or is no bundle for volumes with segments.
    """
    if not request.trusted:
        raise ImportFailedError(
            f"{request.source.name} is a program: the configuration of a MONAI bundle is evaluated, as this user",
            hint="only if you trust who made it: --trust-code",
        )
    target = folder / _FOLDER
    _copy(request.source, target)
    told = read_metadata(target)
    name = request.model_name
    data = told.get("network_data_format", {})
    key, channels = _input(data), _channels(data)
    version = str(told.get("version", request.version))[:16]
    text = _one_line(str(told.get("description", "")))
    origin = f"MONAI bundle {told.get('name', name)} {version}, made with MONAI {told.get('monai_version', '?')}. {text}"
    labels = _gives_labels(target)
    places = [(f"label_value: {n}" if labels else f"channel: {n}", label) for n, label in channels]
    (folder / MANIFEST_FILE).write_text(
        "\n".join(
            [
                about(name, version, origin),
                f"inputs:\n  - {{name: images, kind: volume, uneven: refuse, tilted: refuse}}   # {_modality(data)}\n",
                f"network:\n  file: {_FOLDER}\n  format: monai\n  sha256: {digest_of(target)}\n  inputs:\n    {key}: images\n",
                "# Before and after the network run the bundle's own transforms, by MONAI.\n",
                outputs_section(segments(places)),
            ]
        ),
        "utf-8",
    )
    notes = f"MONAI bundle, digest {digest_of(target)[:12]}", f"segments from its channel_def: {', '.join(label for _, label in channels)}"
    return Draft(folder, name, notes)


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        if links := outside_links(source):
            raise ImportFailedError(f"{links[0]!r} is a link that leads out of the bundle", hint="copy what it leads to")
        shutil.copytree(source, target)
        return
    unpacked = target.with_name(f"{target.name}-unpacked")
    try:
        unpack(source, unpacked, LIMITS)
    except ArchiveError as error:
        raise ImportFailedError(f"the zip cannot be used: {error}", hint=error.hint) from error
    inner = next(path.parents[1] for path in sorted(unpacked.rglob("metadata.json")) if path.parent.name == "configs")
    inner.rename(target)
    shutil.rmtree(unpacked, ignore_errors=True)


def _input(data: dict[str, Any]) -> str:
    inputs = data.get("inputs", {})
    if len(inputs) != 1:
        raise ImportFailedError(f"the MONAI bundle has {len(inputs)} inputs, one is supported", hint="write model.yaml by hand for more")
    [(key, form)] = inputs.items()
    if len(form.get("spatial_shape", (0, 0, 0))) != 3:
        raise ImportFailedError("the MONAI bundle is for planes, only volumes are supported")
    return str(key)


def _channels(data: dict[str, Any]) -> list[tuple[int, str]]:
    outputs = data.get("outputs", {})
    if "pred" not in outputs or outputs["pred"].get("type") != "image":
        raise ImportFailedError("the MONAI bundle gives no image `pred`; only segmentation is supported")
    defined = outputs["pred"].get("channel_def", {})
    found = [(int(n), str(label)) for n, label in defined.items() if str(label).lower() != "background"]
    if not found:
        raise ImportFailedError("channel_def of the MONAI bundle names nothing but background")
    return found


def _gives_labels(folder: Path) -> bool:
    """Whether the postprocessing makes one label map of all channels; else each channel is a mask of its own."""
    configs = [path for path in sorted((folder / "configs").glob("inference.*")) if path.is_file()]
    text = "".join("".join(path.read_text("utf-8").split()) for path in configs)
    return '"argmax":true' in text or "argmax:true" in text.lower()


def _modality(data: dict[str, Any]) -> str:
    form = next(iter(data["inputs"].values()))
    return f"The bundle says: {form.get('format', '?')}, {form.get('modality', '?')}. Is that intended_use.match?"


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
