"""The bundles of models_dir, read again only when a file of theirs has changed: their digests cover weights of gigabytes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from dicom_node.errors import ModelError
from dicom_node.inference import ModelBundle, find_bundles
from dicom_node.pipeline.closing import AvailableModel

_Signature = tuple[tuple[str, int, int], ...]


class BundleShelf:
    """Remembers what it read. Used from any thread; two that come at once may both read."""

    def __init__(self, models_dir: Path, bundles_dir: Path) -> None:
        """Read nothing yet.

        Args:
            models_dir: A folder or a zip for each bundle.
            bundles_dir: Where zips are unpacked to.
        """
        self._models_dir = models_dir
        self._bundles_dir = bundles_dir
        self._read: tuple[_Signature, Mapping[str, ModelBundle]] | None = None

    def bundles(self) -> Mapping[str, ModelBundle]:
        """Every bundle by name.

        Raises:
            ModelError: one is faulty.
        """
        signature = self._signature()
        if self._read is None or self._read[0] != signature:
            self._read = signature, find_bundles(self._models_dir, self._bundles_dir)
        return self._read[1]

    def bundle(self, name: str) -> ModelBundle:
        """One bundle.

        Raises:
            ModelError: there is none of that name, or a bundle is faulty.
        """
        found = self.bundles().get(name)
        if found is None:
            raise ModelError(f"no model bundle is named {name!r}", hint="see `dicom-node models list`")
        return found

    def available(self) -> dict[str, AvailableModel]:
        """What routing needs to know of each.

        Raises:
            ModelError: a bundle is faulty.
        """
        return {name: AvailableModel(bundle.manifest.version, bundle.digest) for name, bundle in self.bundles().items()}

    def _signature(self) -> _Signature:
        try:
            states = [(str(path), path.stat()) for path in sorted(self._models_dir.rglob("*")) if path.is_file()]
        except OSError as error:
            raise ModelError(f"{self._models_dir}: {error.strerror}") from error
        return tuple((name, state.st_mtime_ns, state.st_size) for name, state in states)
