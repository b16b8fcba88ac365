"""MONAI runs a MONAI bundle: its transforms, its inferer, its network. The one module that needs `monai`.

The configuration of such a bundle is a program: expressions in it are evaluated. It is run because an operator put it into models_dir.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.errors import EngineUnavailableError, ModelError

METADATA = Path("configs") / "metadata.json"
_CONFIGS = ("inference.json", "inference.yaml", "inference.yml")
_NETWORK_IDS = ("network_def", "network", "net")
_WRITERS = ("SaveImage", "SaveImaged")


class MonaiRuntime:
    """A bundle that is loaded."""

    def __init__(self, folder: Path) -> None:
        """Load configuration and weights.

        Raises:
            EngineUnavailableError: MONAI or torch is not installed.
            ModelError: the bundle lacks something, or MONAI refuses it.
        """
        if find_spec("monai") is None or find_spec("torch") is None:
            raise EngineUnavailableError("MONAI is not installed", hint="Install the extra `monai`: pip install 'dicom-node[monai]'")
        config = next((folder / "configs" / name for name in _CONFIGS if (folder / "configs" / name).is_file()), None)
        if config is None:
            raise ModelError(f"the MONAI bundle has no configs/{_CONFIGS[0]}")
        try:
            import torch  # noqa: PLC0415 - optional, and seconds to load
            from monai.bundle.config_parser import ConfigParser  # noqa: PLC0415

            self._torch = torch
            parser = ConfigParser()
            parser.read_config(config)
            parser.read_meta(folder / METADATA)
            for key, value in (("bundle_root", str(folder)), ("device", "$torch.device('cpu')")):
                parser[key] = value
            self._preprocessing = parser.get_parsed_content("preprocessing")
            self._inferer = parser.get_parsed_content("inferer")
            self._postprocessing = _without_writers(parser.get_parsed_content("postprocessing"))
            self._network = self._loaded(folder, parser)
        except ModelError:
            raise
        except Exception as error:  # what a foreign configuration makes MONAI raise is not listed anywhere
            raise ModelError(f"MONAI refuses the bundle: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error

    def prepare(self, files: Mapping[str, Path]) -> dict[str, Any]:
        """Load and transform images.

        Args:
            files: NIfTI files by key.

        Raises:
            ModelError: a transform fails.
        """
        return dict(self._told(lambda: self._preprocessing({key: str(path) for key, path in files.items()}), "preprocessing"))

    def infer(self, data: Mapping[str, Any], key: str) -> NDArray[np.generic]:
        """Run the network on one image, shape (channel, ...); gives the same without the batch axis."""

        def run() -> Any:
            with self._torch.no_grad():
                return self._inferer(inputs=data[key].as_tensor()[None], network=self._network)

        return np.asarray(self._told(run, "inferer")[0].cpu().numpy())

    def conclude(
        self, data: Mapping[str, Any], keys: tuple[str, str], raw: NDArray[np.generic], grid: tuple[NDArray[np.float64], tuple[int, ...]]
    ) -> NDArray[np.generic]:
        """Transform the network's answer and bring it to a grid.

        Args:
            data: As `prepare` gave it.
            keys: Of image and prediction.
            raw: As `infer` gave it.
            grid: Affine RAS and shape of the grid wanted, axes as in NIfTI.

        Returns:
            Shape (channel, *grid shape).
        """
        from monai.data.meta_tensor import MetaTensor  # noqa: PLC0415
        from monai.transforms.spatial.array import SpatialResample  # noqa: PLC0415

        image, prediction = keys
        affine, shape = grid

        def run() -> Any:
            seen = MetaTensor(self._torch.from_numpy(raw), meta=dict(data[image].meta))
            made = self._postprocessing({**data, prediction: seen})[prediction]
            made = made if made.ndim == 4 else made[None]
            place = made.affine if isinstance(made, MetaTensor) else data[image].affine
            if made.shape[1:] == shape and np.allclose(np.asarray(place), affine, atol=1e-3):
                return made
            fractions = made.dtype.is_floating_point and not bool((made == made.round()).all())
            moved = MetaTensor(made.as_tensor() if isinstance(made, MetaTensor) else made, affine=place)
            mode = "bilinear" if fractions else "nearest"
            return SpatialResample(mode=mode, padding_mode="zeros", align_corners=True)(
                moved, dst_affine=self._torch.from_numpy(affine), spatial_size=shape
            )

        return np.asarray(self._told(run, "postprocessing").cpu().numpy())

    def _loaded(self, folder: Path, parser: Any) -> Any:
        script, weights = folder / "models" / "model.ts", folder / "models" / "model.pt"
        if script.is_file():
            return self._torch.jit.load(script, map_location="cpu").eval()  # type: ignore[no-untyped-call]  # torch leaves it untyped
        if not weights.is_file():
            raise ModelError("the MONAI bundle has neither models/model.ts nor models/model.pt")
        name = next((name for name in _NETWORK_IDS if parser.config.get(name) is not None), None)
        if name is None:
            raise ModelError(f"the MONAI bundle defines no network: none of {', '.join(_NETWORK_IDS)} is in its configuration")
        network = parser.get_parsed_content(name)
        network.load_state_dict(self._torch.load(weights, map_location="cpu", weights_only=True))
        return network.eval()

    def _told(self, run: Any, part: str) -> Any:
        try:
            return run()
        except Exception as error:  # as above; the message may quote a file name, never pixels
            raise ModelError(f"the bundle's {part} fails in MONAI: {type(error).__name__}: {' '.join(str(error).split())[:300]}") from error


def _without_writers(transforms: Any) -> Any:
    """Leave out what writes files: results are written by the node."""
    if hasattr(transforms, "transforms"):
        transforms.transforms = tuple(t for t in transforms.transforms if type(t).__name__ not in _WRITERS)
    return transforms


def read_metadata(folder: Path) -> dict[str, Any]:
    """Read configs/metadata.json.

    Raises:
        ModelError: it is missing, or no JSON object.
    """
    try:
        told = json.loads((folder / METADATA).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{METADATA} of the MONAI bundle cannot be read: {type(error).__name__}") from error
    if not isinstance(told, dict):
        raise ModelError(f"{METADATA} of the MONAI bundle holds no object")
    return told
