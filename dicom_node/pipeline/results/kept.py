"""`result-data.npz`: all that a run found, masks and maps included, so that further forms of its objects can be made later.

The file is one archive of NumPy arrays, read without pickle: `tree` holds the named fields as JSON, each other member one mask (packed
bits) or map, cut to the box outside of which it is empty.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dicom_node.domain.results import InferenceResult
from dicom_node.errors import ResultError
from dicom_node.pipeline.results.dataclass_json import from_json, to_json
from dicom_node.storage.files import write_durably

DATA_FILE = "result-data.npz"
_FORMAT = 1
_TREE = "tree"
_QUICK = 1
"""Level of compression: masks shrink to a hundredth at any, and a higher one takes ten times as long."""
_Refusal = Literal["refuse", "resample"]


@dataclass(frozen=True, slots=True)
class ReadAs:
    """How the input that results refer to was read.

    Attributes:
        uneven: As `GeometryPolicy` has it; of a volume.
        tilted: As `GeometryPolicy` has it; of a volume.
        only: Pairs of what `GeometryPolicy` has; of a volume.
    """

    kind: Literal["volume", "frames"]
    uneven: _Refusal = "refuse"
    tilted: _Refusal = "refuse"
    only: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class KeptResult:
    """What result objects were made from, beside the images.

    Attributes:
        read_as: None if the images could not be read, so that nothing was analysed.
        node_version: Of the node that ran the model.
    """

    result: InferenceResult
    read_as: ReadAs | None
    node_version: str
    kept_at: datetime


def keep_result(folder: Path, kept: KeptResult, limit_bytes: int) -> int:
    """Write what was found durably, readable by the owner only; a later attempt replaces what an earlier one left.

    Args:
        folder: Of the job's results; must exist.
        kept: What to write.
        limit_bytes: Masks and maps that take more before compression are not kept; 0 is no limit.

    Returns:
        Size of the file, bytes; 0 if it was not written because of the limit.

    Raises:
        StorageError: disk full or broken.
    """
    arrays: dict[str, NDArray[Any]] = {}

    def set_aside(array: NDArray[Any]) -> object:
        name = f"a{len(arrays)}"
        box = _box(array)
        cut = array[tuple(slice(low, high) for low, high in box)]
        arrays[name] = np.packbits(cut) if cut.dtype == np.bool_ else np.ascontiguousarray(cut)
        return {"array": name, "dtype": array.dtype.str, "shape": list(array.shape), "box": box}

    tree = json.dumps({"format": _FORMAT, "kept": to_json(kept, set_aside)}).encode()
    path = folder / DATA_FILE
    if limit_bytes and sum(array.nbytes for array in arrays.values()) > limit_bytes:
        path.unlink(missing_ok=True)
        return 0
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=_QUICK) as archive:
        for name, array in {_TREE: np.frombuffer(tree, np.uint8), **arrays}.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    write_private(path, buffer.getbuffer())
    return buffer.getbuffer().nbytes


def kept_result(folder: Path) -> KeptResult:
    """Read what `keep_result` wrote.

    Raises:
        ResultError: nothing was kept, or the file is damaged or of a later version.
    """
    path = folder / DATA_FILE
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as archive:
            tree = json.loads(bytes(archive[_TREE]))
            if tree["format"] != _FORMAT:
                raise ResultError(f"{path.name} has format {tree['format']}, this program reads {_FORMAT}")
            return from_json(KeptResult, tree["kept"], lambda entry: _whole(archive[entry["array"]], entry))
    except FileNotFoundError as error:
        hint = "the run was made by an earlier version, its masks were above results.data_limit, or results.keep removed it"
        raise ResultError("what the run found was not kept", hint=hint) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError, EOFError, zipfile.BadZipFile) as error:
        raise ResultError(f"{path.name} is damaged: {type(error).__name__}", hint="run the study again") from error


def write_private(path: Path, content: bytes | memoryview) -> None:
    """Write a file durably that only the owner can read.

    Raises:
        StorageError: disk full or broken.
    """
    partial = path.parent / f".{path.name}.partial"
    partial.unlink(missing_ok=True)
    partial.touch(mode=0o600)
    write_durably(path, [content], partial=partial)


def _box(array: NDArray[Any]) -> list[list[int]]:
    """Find the smallest box that holds every element with a bit set; a negative zero counts."""
    marked = array if array.dtype == np.bool_ else np.ascontiguousarray(array).view(f"u{array.dtype.itemsize}") != 0
    box = []
    for axis in range(array.ndim):
        found = np.flatnonzero(marked.any(axis=tuple(a for a in range(array.ndim) if a != axis)))
        low, high = (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 0)
        box.append([low, high])
        marked = marked[(slice(None),) * axis + (slice(low, high),)]  # the further axes are looked at within what is left
    return box


def _whole(kept: NDArray[Any], entry: Mapping[str, Any]) -> NDArray[Any]:
    dtype, box = np.dtype(entry["dtype"]), entry["box"]
    shape = tuple(high - low for low, high in box)
    cut = np.unpackbits(kept, count=int(np.prod(shape))).view(np.bool_) if dtype == np.bool_ else kept
    whole = np.zeros(entry["shape"], dtype)
    whole[tuple(slice(low, high) for low, high in box)] = cut.reshape(shape)
    return whole
